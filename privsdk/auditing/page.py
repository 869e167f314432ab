"""A report as one HTML page: no network, no other file, no script.

What stands in the page is put together here as figures and tables; ``page.html.j2`` sets it.  Whatever comes from a
report is shown as text: the template escapes all of it.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from importlib.util import find_spec

from privsdk.auditing import figures
from privsdk.auditing.figures import Bar
from privsdk.auditing.report import Information, Interval, Linked, Report, Told
from privsdk.errors import MissingExtraError
from privsdk.samples import images

ATTACKS_SHOWN = 10  # of a label; the others are there to be unfolded
LARGEST_PICTURE = 128  # pixels of a side: larger ones are shown smaller


@dataclass(frozen=True)
class Head:
    """The first cell of a row: a name, what it means, and a mark that stands out."""

    name: str
    meaning: str = ""
    mark: str = ""


@dataclass(frozen=True)
class Words:
    """A cell of words, which may go on in the next line; one of figures does not."""

    text: str


Cell = str | Words | Bar


@dataclass(frozen=True)
class Table:
    """Rows with their heads; the first ``shown`` are seen at once.  A column without a name holds bars.

    One of more columns than a phone has room for is ``stacked`` there: each row becomes a block.
    """

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Head, tuple[Cell, ...]], ...]
    shown: int = 1000

    @property
    def stacked(self) -> bool:
        return len(self.columns) > 3


def page(report: Report) -> str:
    """The page of a report, HTML with everything in it.

    :raises MissingExtraError: Jinja is not there.
    """
    if find_spec("jinja2") is None:
        raise MissingExtraError("the page of a report needs Jinja: pip install 'privsdk[audit]', or take its JSON")
    from jinja2 import Environment, StrictUndefined

    house = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    house.filters |= {
        "figure": figure,
        "interval": interval,
        "count": count,
        "of_hundred": of_hundred,
        "duration": duration,
        "told_apart": told_apart,
    }
    template = house.from_string(files("privsdk.auditing").joinpath("page.html.j2").read_text(encoding="utf-8"))
    return template.render(
        report=report,
        hidden=_hidden(report),
        kept=tuple(report.utility),
        told={
            label: {
                "of": one,
                "leakage": figures.leakage_lines(one),
                "accuracy": figures.accuracy_lines(one),
                "numbers": _numbers(label, one),
                "subgroups": _subgroups(label, one),
                "information": _information(label, one.information),
                "attacks": _attacks(label, one),
            }
            for label, one in report.private.items()
        },
        attributes=_attributes(report),
        kept_table=_kept(report),
        tradeoff=None if report.frontier is None else figures.tradeoff(report, report.frontier),
        panels=() if report.map is None else figures.panels(report.map),
        pictures=_pictures(report),
        several=_several(report),
        wrong_labels=_wrong_labels(report),
        linked=_linked(report),
        recognised=_recognised(report.linked),
        fidelity=_fidelity(report),
    )


def _hidden(report: Report) -> list[str]:
    """The private labels, without the combination of several of them."""
    names = list(report.private)
    return [one for one in names if one != " and ".join(other for other in names if other != one)]


# --------------------------------------------------------------------------------------------- numbers as text


def figure(value: float) -> str:
    """Three digits, as an AUROC or an accuracy is known."""
    return f"{value:.3f}"


def interval(ends: Interval) -> str:
    return f"{ends[0]:.3f} to {ends[1]:.3f}"


def count(number: float) -> str:
    """With a comma for the thousands, and a fraction only where there is one."""
    return f"{number:,.1f}".removesuffix(".0")


def of_hundred(share: float) -> str:
    """How many of a hundred a share is: whole ones, of less than ten two digits."""
    return f"{100 * share:.0f}" if share >= 0.0995 else f"{100 * share:.2g}"


def duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def told_apart(told: Told) -> str:
    """What an AUROC says, of two classes or of more."""
    pair = "one of each class" if len(told.classes) == 2 else "one of the class that is told best and one of any other"
    return (
        f"Given two releases, {pair}, the strongest attacker says which is which rightly {of_hundred(told.leakage)} "
        "times in 100; a coin, 50 times."
    )


# -------------------------------------------------------------------------------------------------------- tables


def _numbers(label: str, told: Told) -> Table:
    rates = [
        (
            Head(f"Found at {100 * float(rate):g}% false alarms", "True-positive rate of the strongest attacker."),
            (Words("too few releases to say") if found is None else figure(found), ""),
        )
        for rate, found in told.true_positive_rates.items()
    ]
    either_way = figure(told.either_way)
    return Table(
        f"{label}: all numbers",
        ("Value", "95% interval"),
        (
            (
                Head("Leakage", "AUROC of the strongest attacker, or 1 less it; corrected for having looked for it."),
                (figure(told.leakage), interval(told.interval)),
            ),
            (
                Head("Leakage on real samples, up to", "With the gap to real people that was measured before."),
                (Words("not known") if told.on_real_samples >= 1 > told.leakage else figure(told.on_real_samples), ""),
            ),
            (
                Head("Ceiling", "AUROC of the true kept labels: whoever keeps them perfectly tells so much."),
                (figure(told.ceiling), ""),
            ),
            (
                Head("Accuracy", "Of the most accurate attacker."),
                (figure(told.accuracy), interval(told.accuracy_interval)),
            ),
            (Head("Accuracy either way", "An attacker that is nearly always wrong is informed too."), (either_way, "")),
            (Head("Base rate", "Accuracy of always saying the commonest class."), (figure(told.base_rate), "")),
            (
                Head("Balanced accuracy", "Mean over the classes, at the attacker's own threshold."),
                (figure(told.balanced_accuracy), ""),
            ),
            (
                Head("Best balanced accuracy", "At the threshold that was best on other releases."),
                (figure(told.best_balanced_accuracy), ""),
            ),
            (
                Head("Right among the surest 2%", "Where an attacker is surest: is anybody told outright?"),
                (figure(told.surest), interval(told.surest_interval)),
            ),
            *rates,
        ),
    )


def _subgroups(label: str, told: Told) -> Table:
    return Table(
        f"{label}: where most is told",
        ("Releases", "", "Leakage", "95% interval"),
        tuple(
            (
                Head(one.name),
                (
                    count(one.samples),
                    figures.interval_bar(one.leakage, one.interval),
                    figure(one.leakage),
                    interval(one.interval),
                ),
            )
            for one in told.subgroups
        ),
    )


def _information(label: str, found: Information) -> Table:
    def row(name: str, meaning: str, nats: float) -> tuple[Head, tuple[Cell, ...]]:
        return Head(name, meaning), (figure(nats), f"{100 * max(0.0, nats / found.entropy):.1f}%")

    return Table(
        f"{label}: information, in nats",
        ("Nats", "Of all there is"),
        (
            row("All there is to tell", "Entropy of the label.", found.entropy),
            row("Told, by cross-entropy", "A lower bound, from the strongest attacker.", found.cross_entropy),
            row("Told, by neighbours (KSG)", "Kraskov et al. 2004, Ross 2014.", found.ksg),
            row("Told, by local density", "Gao et al. 2015.", found.local),
            row("Told at least", "Fano's bound, from the most accurate attacker.", found.at_least),
        ),
    )


def _attacks(label: str, told: Told) -> Table:
    return Table(
        f"{label}: {len(told.attacks)} attacks, the strongest first",
        ("Sees", "Learned from", "", "Leakage", "95% interval", "Accuracy", "Balanced", "Best balanced"),
        tuple(
            (
                Head(one.attacker),
                (
                    Words(one.form),
                    Words(f"{one.protocol} ({count(one.samples)})"),
                    figures.interval_bar(one.leakage, one.interval),
                    figure(one.leakage),
                    interval(one.interval),
                    figure(one.accuracy),
                    figure(one.balanced_accuracy),
                    figure(one.best_balanced_accuracy),
                ),
            )
            for one in told.attacks
        ),
        ATTACKS_SHOWN,
    )


def _attributes(report: Report) -> Table:
    """The hidden and kept ones, then the others, that which is told best first."""
    marks = dict.fromkeys(report.private, "hidden") | dict.fromkeys(report.utility, "kept")
    order = {"hidden": 0, "kept": 1}
    ranked = sorted(report.attributes, key=lambda one: (order.get(marks.get(one.name, ""), 2), -one.after))
    before = any(one.before is not None for one in ranked)
    return Table(
        "How well each attribute is inferred (AUROC)",
        ("", "Before", "After") if before else ("", "After"),
        tuple(
            (
                Head(one.name, mark=marks.get(one.name, "")),
                (
                    figures.change_bar(one.before, one.after),
                    *((_or_not_known(one.before),) if before else ()),
                    figure(one.after),
                ),
            )
            for one in ranked
        ),
    )


def _kept(report: Report) -> Table:
    before = any(one.accuracy_unfiltered is not None for one in report.utility.values())
    return Table(
        "How often a kept label is named rightly",
        ("Base rate", "Unfiltered", "Released", "Lost", "95% interval") if before else ("Base rate", "Released"),
        tuple(
            (
                Head(label),
                (
                    figure(one.base_rate),
                    *((_or_not_known(one.accuracy_unfiltered),) if before else ()),
                    figure(one.accuracy),
                    *(
                        (_or_not_known(one.lost), Words("") if one.interval is None else interval(one.interval))
                        if before
                        else ()
                    ),
                ),
            )
            for label, one in report.utility.items()
        ),
    )


def _several(report: Report) -> Table:
    return Table(
        "What several releases tell together",
        ("What", "Form", "Together", "Groups", "", "Leakage", "95% interval", "Ceiling"),
        tuple(
            (
                Head(one.label),
                (
                    Words(one.kind),
                    Words(one.form),
                    count(one.count),
                    count(one.groups),
                    figures.interval_bar(one.leakage, one.interval),
                    figure(one.leakage),
                    interval(one.interval),
                    "" if one.ceiling is None else figure(one.ceiling),
                ),
            )
            for one in report.several
        ),
    )


def _wrong_labels(report: Report) -> Table:
    return Table(
        "The true label of samples released with a wrong one",
        ("Leakage", "Accuracy"),
        tuple((Head(one.label), (figure(one.leakage), figure(one.accuracy))) for one in report.wrong_labels),
    )


def _linked(report: Report) -> Table:
    return Table(
        "Finding a person among originals",
        ("Sought", "Originals", "Found first", "By chance", "Median place"),
        tuple(
            (
                Head(one.by),
                (Words(one.to), count(one.crowd), _percent(one.first), _percent(one.chance), count(one.median_rank)),
            )
            for one in report.linked
        ),
    )


def _recognised(linked: Sequence[Linked]) -> Linked | None:
    """The way in which a person is found best."""
    return max(linked, key=lambda one: one.first, default=None)


def _fidelity(report: Report) -> Table | None:
    found = report.fidelity
    if found is None:
        return None
    faces = (("Releases with a face in them", found.faces), ("Originals with a face in them", found.faces_before))
    return Table(
        f"Likeness to the originals, means over {count(found.samples)}",
        ("Value",),
        (
            (
                Head("Structural similarity (SSIM)", "1 for the same image, 0 for nothing alike."),
                (figure(found.similarity),),
            ),
            (
                Head("Signal to noise (PSNR)", "In decibels: more for what is more alike."),
                (f"{found.signal_to_noise:.1f} dB",),
            ),
            *(
                (Head(name, "As a detector finds them."), (_percent(share),))
                for name, share in faces
                if share is not None
            ),
        ),
    )


def _or_not_known(value: float | None) -> Cell:
    return Words("not known") if value is None else figure(value)


def _percent(share: float) -> str:
    return f"{100 * share:.1f}%"


# ------------------------------------------------------------------------------------------------------ pictures


def _pictures(report: Report) -> list[dict[str, str]]:
    """For each sample its pictures after and, where it is there, before, as data: addresses."""
    shown = report.pictures
    if shown is None:
        return []
    times = {"before": shown.before, "after": shown.after}
    return [
        {time: _address(pixels[place]) for time, pixels in times.items() if pixels is not None}
        for place in range(len(shown.after))
    ]


def _address(pixels: images.Pixels) -> str:
    height, width = pixels.shape[:2]
    if (larger := max(height, width)) > LARGEST_PICTURE:
        scale = LARGEST_PICTURE / larger
        pixels = images.resize(pixels, max(1, round(width * scale)), max(1, round(height * scale)))
    return f"data:image/png;base64,{b64encode(images.to_bytes(pixels, 'png')).decode('ascii')}"
