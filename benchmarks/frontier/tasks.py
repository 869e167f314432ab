"""The tasks: what is hidden and kept, how the default filter is set for it, and what it should reach."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from benchmarks.table import Goal


@dataclass(frozen=True)
class Task:
    """One line of what the default filter must reach.

    ``settings`` are arguments of ``privsdk.fit``; ``goals`` bound figures of ``benchmarks.frontier.measure``.  Filters
    are fitted from the bundle alone, or on that and as many labelled latents of the training partition as ``own`` says.
    """

    domain: str
    private: tuple[str, ...]
    utility: tuple[str, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)
    goals: Mapping[str, Goal] = field(default_factory=dict)
    own: int = 0


# Drawn once from the 40 attributes of CelebA: numpy.random.default_rng(10).permutation of their names, two at a time.
RANDOM_PAIRS = (
    ("Heavy_Makeup", "Young"),
    ("Pointy_Nose", "Blond_Hair"),
    ("Narrow_Eyes", "Receding_Hairline"),
    ("Wearing_Lipstick", "Bangs"),
    ("Eyeglasses", "Rosy_Cheeks"),
    ("Chubby", "Wearing_Necktie"),
    ("Sideburns", "Oval_Face"),
    ("Straight_Hair", "Bald"),
    ("Smiling", "Attractive"),
    ("Big_Nose", "Big_Lips"),
)


def at_least(limit: float) -> Goal:
    return Goal(limit, at_most=False)


TASKS: Mapping[str, Task] = {
    "adult, little lost": Task(
        "table",
        ("Sex",),
        ("Income",),
        {"fairness": 0.05},
        {
            "leakage Sex": Goal(0.57),
            "balanced accuracy Sex": Goal(0.54),
            "accuracy Income": at_least(0.833),
            "AUROC Income": at_least(0.865),
        },
    ),
    "adult, zero leakage": Task(
        "table",
        ("Sex",),
        ("Income",),
        {"fairness": 1.0},
        {"leakage Sex": Goal(0.535), "accuracy Income": at_least(0.82), "AUROC Income": at_least(0.85)},
    ),
    "digit, circle": Task(
        "digits",
        ("Digit",),
        ("Circle",),
        {},
        {"accuracy Digit": Goal(0.225), "accuracy Circle": at_least(0.97)},
        own=20_000,
    ),
    "at least 5, parity": Task(
        "digits",
        ("At least 5",),
        ("Even",),
        {},
        {"accuracy At least 5": Goal(0.605), "accuracy Even": at_least(0.965)},
        own=20_000,
    ),
    "at least 5, parity and circle": Task(
        "digits",
        ("At least 5",),
        ("Even", "Circle"),
        {"fairness": 0.005},
        {"accuracy At least 5": Goal(0.715), "accuracy Even": at_least(0.965), "accuracy Circle": at_least(0.96)},
        own=20_000,
    ),
    "male": Task("faces", ("Male",), ("Smiling",), {}, {"leakage Male": Goal(0.585), "lost Smiling": Goal(0.005)}),
    "male, lambda .02, rho .9": Task(
        "faces",
        ("Male",),
        ("Smiling",),
        {"fairness": 0.02, "rho": 0.9},
        {"leakage Male": Goal(0.585), "lost Smiling": Goal(0.005)},
    ),
    "male, lambda .1, rho .7": Task(
        "faces",
        ("Male",),
        ("Smiling",),
        {"fairness": 0.1, "rho": 0.7},
        {"leakage Male": Goal(0.545), "lost Smiling": Goal(0.015), "albums Male": Goal(0.60)},
    ),
    "albums": Task(
        "faces",
        ("Male",),
        ("Smiling",),
        {"fairness": 1.0, "rho": 0.9},
        {"albums Male": Goal(0.60), "lost Smiling": Goal(0.03)},
    ),
    "male and young": Task(
        "faces",
        ("Male", "Young"),
        ("Smiling", "Eyeglasses"),
        {},
        {"lost Smiling": Goal(0.01), "lost Eyeglasses": Goal(0.01)},
    ),
    **{
        f"{label}, smiling": Task(
            "faces",
            (label,),
            ("Smiling",),
            # The device's own lambda, but for one label, of which that is .04 and loses too much of Smiling.
            {"fairness": 0.02} if label == "Attractive" else {},
            {f"beyond the fair score {label}": Goal(0.015), "lost Smiling": Goal(0.005)},
        )
        for label in ("Young", "Attractive", "High_Cheekbones", "Big_Lips", "Big_Nose", "Eyeglasses", "Wavy_Hair")
    },
    **{
        f"{private}, {utility}": Task(
            "faces",
            (private,),
            (utility,),
            {},
            {f"beyond the fair score {private}": Goal(0.03), f"lost {utility}": Goal(0.005)},
        )
        for private, utility in RANDOM_PAIRS
    },
}
