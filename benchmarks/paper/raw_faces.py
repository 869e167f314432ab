"""Classifiers of faces as they are: what can be told of each label before anything is hidden.

The network is the central trainer's teacher, trained on all labels of the training partition at once.  On a processor
that takes a quarter of an hour a seed, on a GPU half a minute.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks.cells import Cell
from benchmarks.domains import Domain
from benchmarks.paper.measure import CLASSIFIER, called, estimate
from benchmarks.paper.published import MEASURES
from export.datasets.labelled import TEST, TRAIN, VALID
from export.train import attribute_logits, train_teacher

BATCH = 128
EPOCHS, QUICK_EPOCHS = 11, 1


def told(domain: Domain, labels: Sequence[str], folder: Path, quick: bool, seed: int) -> Cell:
    """How well each label is told on the test partition; the training resumes in ``folder``."""
    images = domain.images
    training, test = images.part(TRAIN), images.part(TEST)
    epochs = QUICK_EPOCHS if quick else EPOCHS
    network = train_teacher(training, images.part(VALID), folder, epochs, BATCH, seed)
    logits = attribute_logits(network, test.pixels).numpy()
    figures = {}
    for label in labels:
        column = images.attributes.index(label)
        for measure in MEASURES:
            scores, truth = logits[:, column].astype(float), test.labels[:, column].astype(int)
            figures[called(label, measure, CLASSIFIER)] = estimate(measure, truth, scores, domain.weights)
    return Cell(figures)
