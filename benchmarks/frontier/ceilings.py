"""What the labels of a task say, and what its unfiltered utility scores tell, to compare filters with."""

from __future__ import annotations

import numpy as np

from benchmarks.cells import Cell
from benchmarks.domains import Domain
from benchmarks.frontier.measure import READERS
from benchmarks.frontier.tasks import Task
from privsdk.auditing.ceilings import label_ceiling, zero_leakage_accuracy
from privsdk.auditing.metrics import Estimate
from privsdk.auditing.protocols import attack


def ceilings(domain: Domain, task: Task) -> Cell:
    """Of each private label, and of the combination of several; of each utility label of two classes."""

    def measure() -> Cell:
        test = domain.test
        utility = np.stack([domain.classes(label) for label in task.utility], axis=1)
        scores = domain.scores(task.utility)
        figures: dict[str, Estimate] = {}
        for label, classes in domain.sought(task.private).items():
            private = classes[test]
            drawn = label_ceiling(private, utility[test], domain.weights)
            figures[f"label ceiling {label}"] = Estimate(float(label_ceiling(private, utility[test])), drawn)
            strongest, *_ = attack(*domain.parts(scores, classes), READERS, 0, domain.threads, domain.protocols)
            figures[f"score ceiling {label}"] = strongest.estimate(domain.weights)
            together = domain.combined(task.utility)[test]
            right = np.zeros(len(test))
            for one in np.unique(together):
                rows = together == one
                right[rows] = private[rows] == np.bincount(private[rows]).argmax()
            drawn = domain.weights @ right / domain.weights.sum(axis=1)
            figures[f"accuracy of the true utility labels {label}"] = Estimate(float(right.mean()), drawn)
        for label in task.utility:
            if label not in domain.bundle.groups:
                told = zero_leakage_accuracy(domain.combined(task.private)[test], domain.classes(label)[test])
                figures[f"zero-leakage accuracy {label}"] = Estimate(told, np.empty(0))
        return Cell(figures)

    return domain.cells.cell(" ".join([*task.private, "hidden", *task.utility, "kept", "ceilings"]), measure)
