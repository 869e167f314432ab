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
        {},
        {"accuracy At least 5": Goal(0.715), "accuracy Even": at_least(0.965), "accuracy Circle": at_least(0.96)},
        own=20_000,
    ),
    "male": Task("faces", ("Male",), ("Smiling",), {}, {"leakage Male": Goal(0.585), "lost Smiling": Goal(0.005)}),
    "male, rho": Task(
        "faces",
        ("Male",),
        ("Smiling",),
        {"fairness": 0.05, "rho": 0.7},
        {"leakage Male": Goal(0.545), "lost Smiling": Goal(0.015)},
    ),
    "male and young": Task(
        "faces",
        ("Male", "Young"),
        ("Smiling", "Eyeglasses"),
        {},
        {"lost Smiling": Goal(0.01), "lost Eyeglasses": Goal(0.01)},
    ),
}
