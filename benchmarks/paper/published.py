"""The figures of the paper (Chen, Navidi, Ermon, Rajagopal, 2019), as printed, and what each of them measures.

All are of classifiers with two fully connected layers, trained on what was released.  What the paper calls AUROC of
Adult is the area under the curve of hard decisions, which is balanced accuracy: a classifier on the raw rows gives its
VAE's .843 and .755 as balanced accuracies, beside true AUROCs of .93 and .90.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

ACCURACY, BALANCED, AUROC = "accuracy", "balanced accuracy", "AUROC"
MEASURES = (ACCURACY, BALANCED, AUROC)


@dataclass(frozen=True)
class Published:
    """A figure, and what the paper gives behind its plus-minus sign, of which it does not say what it is."""

    value: float
    spread: float | None = None

    def __str__(self) -> str:
        return f"{self.value:.3f}" + (f" ± {self.spread:.3f}" if self.spread is not None else "")


# A label of ours to what is published of it, by measure.
Row = Mapping[str, Mapping[str, Published]]


def _accuracies(**labels: float) -> Row:
    return {label.replace("_", " "): {ACCURACY: Published(value)} for label, value in labels.items()}


def _adult(sex: tuple[float, ...], income: tuple[float, ...]) -> Row:
    return {
        label: {ACCURACY: Published(*row[:2]), BALANCED: Published(*row[2:])}
        for label, row in (("Sex", sex), ("Income", income))
    }


# MNIST case 2: at least 5 private, odd or even useful, a circle in it named by nobody.
TABLE_1: Mapping[str, Row] = {
    "emb-raw": _accuracies(At_least_5=0.951, Even=0.952, Circle=0.951),
    "emb-g-filter": _accuracies(At_least_5=0.687, Even=0.899, Circle=0.9),
}

# UCI Adult: gender private, income useful.
TABLE_2: Mapping[str, Row] = {
    "VAE": _adult((0.850, 0.007, 0.843, 0.004), (0.837, 0.009, 0.755, 0.005)),
    "VFAE": _adult((0.802, 0.009, 0.703, 0.013), (0.851, 0.004, 0.761, 0.011)),
    "LMIFR": _adult((0.728, 0.014, 0.659, 0.012), (0.829, 0.009, 0.741, 0.013)),
    "generative filter": _adult((0.717, 0.006, 0.632, 0.011), (0.822, 0.005, 0.731, 0.015)),
}

# CelebA: accuracies of each hidden label by row, with Smiling kept.
TABLE_3: Mapping[str, Mapping[str, float]] = {
    label: dict(zip(("raw faces (Liu et al.)", "VAE-emb", "random guess", "VAE-g-filter"), row, strict=True))
    for label, row in {
        "Male": (0.98, 0.90, 0.51, 0.61),
        "Young": (0.87, 0.84, 0.76, 0.76),
        "Attractive": (0.81, 0.80, 0.54, 0.62),
        "High_Cheekbones": (0.87, 0.85, 0.54, 0.78),
        "Big_Lips": (0.68, 0.68, 0.67, 0.67),
        "Big_Nose": (0.78, 0.78, 0.77, 0.78),
        "Eyeglasses": (0.99, 0.98, 0.93, 0.93),
        "Wavy_Hair": (0.80, 0.78, 0.63, 0.66),
    }.items()
}
TABLE_3_SMILING = {"raw faces (Liu et al.)": 0.92, "VAE-emb": 0.86, "VAE-g-filter": 0.83}

# Two users of opposite wishes: of each, by his private and his utility label.
TABLE_4: Mapping[str, Row] = {
    "user 1": _accuracies(At_least_5=0.679, Even=0.896),
    "user 2": _accuracies(Even=0.651, At_least_5=0.855),
}

# What the text says of figure 7(b), which has no numbers of its own: from no budget to the largest.
FIGURE_7: Mapping[str, Row] = {
    "no budget": _accuracies(At_least_5=0.95),
    "the largest budget": _accuracies(At_least_5=0.65, Even=0.87),
}
