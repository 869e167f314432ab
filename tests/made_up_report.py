"""Made-up reports of audits, with every field filled: what a page must be able to show."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from privsdk.auditing.report import (
    Attacked,
    Attribute,
    Fidelity,
    Frontier,
    Information,
    Kept,
    Linked,
    Map,
    Pictures,
    Report,
    Several,
    Subgroup,
    Told,
    WrongLabel,
)

ATTACKERS = ("gradient-boosted trees", "MLP, standardised", "RBF-SVM", "quadratic discriminant", "random forest")
FORMS = ("latents", "code", "pixels encoded again", "pixels")
PROTOCOLS = ("released training partition", "five folds of the released test partition")
ATTRIBUTES = (
    *("Male", "Smiling", "Young", "Attractive", "High_Cheekbones", "Big_Lips", "Big_Nose", "Eyeglasses", "Wavy_Hair"),
    *("Wearing_Lipstick", "Heavy_Makeup", "No_Beard", "5_o_Clock_Shadow", "Arched_Eyebrows", "Bags_Under_Eyes", "Bald"),
    *("Mouth_Slightly_Open", "Narrow_Eyes", "Wearing_Necktie"),
)
NAUGHTY = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "{{ 7 * 7 }}",
    "A_" + "very_" * 12 + "long_name",
)
"""Names of labels that a page must show as they are."""


def made_up_report() -> Report:
    """Male hidden and Smiling kept, of 2,500 public latents."""
    rng = np.random.default_rng(0)
    return Report(
        subject="a privatizer that hides Male and keeps Smiling",
        bundle="faces",
        digest="5b0c" * 16,
        method="flow",
        measured_on="public latents",
        samples=2500,
        people=2500,
        seeds=(0, 1),
        quick=False,
        seconds=1234.5,
        doubt=None,
        private={"Male": told()},
        utility={"Smiling": Kept(0.894, 0.503, 0.899, 0.005, (-0.003, 0.012))},
        attributes=tuple(_attribute(name, place) for place, name in enumerate(ATTRIBUTES)),
        several=(
            Several("Male", "one sample, choices keyed", "latents", 100, 300, 0.583, (0.512, 0.641), None),
            Several("Male", "one sample, choices redrawn", "latents", 100, 300, 0.591, (0.521, 0.660), None),
            Several("Male", "burst", "pixels encoded again", 10, 300, 0.604, (0.531, 0.672), None),
            Several("Male", "album", "latents", 3, 240, 0.652, (0.588, 0.714), 0.631),
            Several("Male", "album", "latents", 10, 180, 0.721, (0.662, 0.779), 0.684),
        ),
        wrong_labels=(WrongLabel("Male", 0.512, 0.583),),
        linked=(
            Linked("cosine distance of latents", "the original", 1000, 0.634, 0.001, 1),
            Linked("distance of pixels", "the original", 1000, 0.412, 0.001, 3),
            Linked("cosine distance of latents", "another photo of the person", 1000, 0.083, 0.004, 96),
        ),
        fidelity=Fidelity(500, 0.712, 20.4, 0.998, 1.0),
        frontier=Frontier(
            "Male",
            "Smiling",
            tuple(np.linspace(0.5, 0.597, 20).tolist()),
            tuple((1 - 0.11 * np.linspace(1, 0, 20) ** 1.3).tolist()),
            0.031,
            0.094,
        ),
        notes=(
            "Public latents are of nobody: drawn from the bundle's public flow, with labels drawn from its scores.",
            "Attackers learned from releases of three quarters of them and were scored on the quarter that no choice "
            "of the fit has seen.",
        ),
        limits=(
            "On public latents a label is what the bundle's score of it says, so attackers cannot find what the score "
            "misses: on real people more may leak. The gap that was measured for this bundle is added.",
            "An attacker with more data, more time or a cleverer model may find more.",
        ),
        pictures=Pictures(_faces(rng, 12), _faces(rng, 12)),
        map=_map(rng, ("not Male", "Male")),
    )


def with_several_labels() -> Report:
    """Two private labels and their combination, two kept ones."""
    report = made_up_report()
    both = told(("not Male, not Young", "not Male, Young", "Male, not Young", "Male, Young"), leakage=0.611)
    return replace(
        report,
        subject="a privatizer that hides Male and Young and keeps Smiling and Attractive",
        private={"Male": told(), "Young": told(("not Young", "Young"), leakage=0.564), "Male and Young": both},
        utility={**report.utility, "Attractive": Kept(0.786, 0.514, 0.801, 0.015, (0.004, 0.026))},
        several=(*report.several, Several("Young", "album", "latents", 10, 180, 0.612, (0.541, 0.688), 0.566)),
        map=_map(np.random.default_rng(1), both.classes),
    )


def of_many_classes() -> Report:
    """A digit hidden, of ten, parity kept."""
    digits = tuple(f"digit {number}" for number in range(10))
    return replace(
        made_up_report(),
        subject="a privatizer that hides digit and keeps circle",
        private={"digit": replace(told(digits), accuracy=0.217, accuracy_interval=(0.198, 0.236), base_rate=0.113)},
        utility={"circle": Kept(0.990, 0.502, 0.994, 0.004, (0.001, 0.007))},
        attributes=(Attribute("circle", 0.999, 0.998), Attribute("at_least_5", 0.997, 0.574)),
        several=(),
        wrong_labels=(),
        linked=(),
        fidelity=Fidelity(500, 0.512, 14.2, None, None),
        frontier=None,
        map=_map(np.random.default_rng(2), digits),
    )


def without_originals() -> Report:
    """What another tool released, and nothing of what it was made of."""
    report = made_up_report()
    rng = np.random.default_rng(3)
    return replace(
        report,
        subject="what another tool released",
        bundle=None,
        digest=None,
        method=None,
        measured_on="the releases given",
        people=249,
        private={"Male": replace(told(), on_real_samples=told().leakage)},
        utility={"Smiling": Kept(0.894, 0.503, None, None, None)},
        attributes=tuple(replace(one, before=None) for one in report.attributes),
        several=(),
        wrong_labels=(),
        linked=(),
        fidelity=None,
        pictures=Pictures(None, _faces(rng, 7)),
        map=replace(_map(rng, ("not Male", "Male")), before=None),
    )


def inconclusive() -> Report:
    """A quick audit of so few releases that nothing can be said, and with nothing that could be left out."""
    short = replace(
        told(),
        leakage=0.734,
        interval=(0.5, 0.942),
        on_real_samples=1.0,
        true_positive_rates={"0.01": None, "0.001": None},
        subgroups=(),
    )
    return replace(
        made_up_report(),
        samples=41,
        people=41,
        seeds=(0,),
        quick=True,
        seconds=8.2,
        private={"Male": short},
        attributes=(),
        several=(),
        wrong_labels=(),
        linked=(),
        fidelity=None,
        frontier=None,
        notes=(),
        pictures=None,
        map=None,
    )


def in_doubt() -> Report:
    """Labels that seem to be those of other samples."""
    return replace(
        made_up_report(), doubt="no attribute can be read from the originals either, so the labels may be others'"
    )


def with_naughty_names() -> Report:
    """Names that are markup, code of the template, and one too long for a line, wherever a name can be."""
    report = made_up_report()
    script, image, template, long = NAUGHTY
    renamed = {"Male": script, "Smiling": image, "Young": template, "Attractive": long}
    naughty = replace(
        told((template, long)),
        subgroups=tuple(Subgroup(name, 300, 0.6, (0.5, 0.7)) for name in NAUGHTY),
        attacks=tuple(Attacked(name, name, name, 900, 0.58, (0.5, 0.7), 0.5, 0.5, 0.5) for name in NAUGHTY),
    )
    drawn = _map(np.random.default_rng(4), (script, image, template, long))
    return replace(
        report,
        subject=script,
        bundle=image,
        digest=long,
        method=template,
        measured_on=script,
        private={script: naughty},
        utility={image: report.utility["Smiling"]},
        attributes=tuple(replace(one, name=renamed.get(one.name, one.name)) for one in report.attributes),
        several=tuple(replace(one, label=script, kind=image, form=long) for one in report.several),
        wrong_labels=(replace(report.wrong_labels[0], label=script),),
        linked=(replace(report.linked[0], by=script, to=long),),
        frontier=replace(report.frontier, private=script, utility=image) if report.frontier else None,
        notes=NAUGHTY,
        limits=NAUGHTY,
        map=replace(drawn, label=script),
    )


def told(classes: tuple[str, ...] = ("not Male", "Male"), leakage: float = 0.583) -> Told:
    """What attackers tell of a label: a little."""
    attacks = [
        Attacked(
            attacker,
            form,
            protocol,
            7500,
            round(max(0.5, leakage - 0.004 * place), 4),
            (round(max(0.5, leakage - 0.004 * place - 0.028), 4), round(max(0.52, leakage - 0.003 * place + 0.027), 4)),
            round(0.604 - 0.002 * place, 4),
            round(0.551 - 0.002 * place, 4),
            round(0.558 - 0.002 * place, 4),
        )
        for place, (attacker, form, protocol) in enumerate(
            (attacker, form, protocol) for form in FORMS for attacker in ATTACKERS for protocol in PROTOCOLS
        )
    ]
    rng = np.random.default_rng(len(classes))
    confusion = rng.integers(20, 120, (len(classes), len(classes))) + 300 * np.eye(len(classes), dtype=int)
    return Told(
        classes=classes,
        leakage=leakage,
        interval=(round(leakage - 0.024, 4), round(leakage + 0.029, 4)),
        on_real_samples=round(leakage + 0.061, 4),
        ceiling=0.597,
        accuracy=0.604,
        accuracy_interval=(0.585, 0.623),
        either_way=0.604,
        balanced_accuracy=0.551,
        best_balanced_accuracy=0.558,
        base_rate=0.581,
        true_positive_rates={"0.01": 0.021, "0.001": None},
        confusion=tuple(tuple(int(count) for count in row) for row in confusion),
        surest=0.68,
        surest_interval=(0.501, 0.829),
        subgroups=(
            Subgroup("Bald", 61, 0.642, (0.5, 0.741)),
            Subgroup("not Young", 570, 0.611, (0.521, 0.702)),
            Subgroup("cluster 3 of the releases", 402, 0.601, (0.503, 0.699)),
            Subgroup("Smiling", 1244, 0.574, (0.511, 0.637)),
        ),
        information=Information(0.679, 0.011, 0.014, 0.009, 0.391, 0.003),
        attacks=tuple(attacks),
    )


def _attribute(name: str, place: int) -> Attribute:
    after = {"Male": 0.583, "Smiling": 0.957}.get(name, round(0.93 - 0.012 * place, 3))
    return Attribute(name, round(min(0.998, 0.94 + 0.003 * place), 3), after)


def _faces(rng: np.random.Generator, count: int) -> np.ndarray:
    """Discs of some colour on a ground of another: uint8 [N, 64, 64, 3]."""
    y, x = np.mgrid[:64, :64] / 64 - 0.5
    disc = np.clip((0.16 - (x**2 + 0.7 * y**2)) * 20, 0, 1)[None, :, :, None]
    skin, ground = rng.uniform(120, 240, (2, count, 1, 1, 3))
    shaded = (disc * skin + (1 - disc) * ground * 0.6) * (1 - 0.3 * x[None, :, :, None])
    return np.clip(shaded + rng.normal(0, 4, (count, 64, 64, 3)), 0, 255).astype(np.uint8)


def _map(rng: np.random.Generator, names: tuple[str, ...], count: int = 1500) -> Map:
    """Classes in clouds of their own before, mixed after."""
    classes = rng.integers(0, len(names), count)
    turn = 2 * np.pi * classes / len(names)
    centres = 4 * np.stack([np.cos(turn), np.sin(turn)], axis=1)
    before = centres + rng.normal(0, 1.3, (count, 2))
    after = rng.normal(0, 2.6, (count, 2))
    return Map("Male", names, classes.astype(np.int64), before.astype(np.float32), after.astype(np.float32))
