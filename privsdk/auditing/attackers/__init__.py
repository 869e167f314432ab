"""Attackers: classifiers trained afresh on what was released to find a label.

They differ in what they can see: means, steps, curved and chequered boundaries, spreads, neighbourhoods.  A new one is
a class in a file here (see :class:`Attacker`) and a line below: docs/auditing.md shows it.
"""

from __future__ import annotations

from collections.abc import Mapping

from privsdk.auditing.attackers.attacker import Attacker
from privsdk.auditing.attackers.bit_planes import BitPlanes
from privsdk.auditing.attackers.convolutional import ConvolutionalNetwork
from privsdk.auditing.attackers.gaussians import GaussianMixtures, QuadraticDiscriminant
from privsdk.auditing.attackers.kernels import SupportVectorMachine
from privsdk.auditing.attackers.last_digits import LastDigits
from privsdk.auditing.attackers.linear import LogisticRegression
from privsdk.auditing.attackers.neighbours import NearestNeighbours
from privsdk.auditing.attackers.patches import Patches
from privsdk.auditing.attackers.perceptrons import (
    MultilayerPerceptron,
    SmallPerceptron,
    SmallStandardisedPerceptron,
    StandardisedPerceptron,
)
from privsdk.auditing.attackers.trees import HistGradientBoosting, RandomForest
from privsdk.auditing.forms import CODE, COLUMNS, ENCODED, LATENTS, LIKELIHOODS, PIXELS

__all__ = [
    "ATTACKERS",
    "BY_FORM",
    "QUICK",
    "Attacker",
    "BitPlanes",
    "ConvolutionalNetwork",
    "GaussianMixtures",
    "HistGradientBoosting",
    "LastDigits",
    "LogisticRegression",
    "MultilayerPerceptron",
    "NearestNeighbours",
    "Patches",
    "QuadraticDiscriminant",
    "RandomForest",
    "SmallPerceptron",
    "SmallStandardisedPerceptron",
    "StandardisedPerceptron",
    "SupportVectorMachine",
]

# On vectors: latents, codes, columns of a table.  What benchmarks and gaps were measured with.
ATTACKERS: tuple[type[Attacker], ...] = (
    LogisticRegression,
    HistGradientBoosting,
    MultilayerPerceptron,
    StandardisedPerceptron,
    NearestNeighbours,
    RandomForest,
    SupportVectorMachine,
    QuadraticDiscriminant,
)

# What an audit sends at each form of the releases.
BY_FORM: Mapping[str, tuple[type[Attacker], ...]] = {
    LATENTS: (*ATTACKERS, SmallPerceptron, SmallStandardisedPerceptron),
    CODE: (LogisticRegression, HistGradientBoosting, StandardisedPerceptron, GaussianMixtures),
    LIKELIHOODS: (LogisticRegression,),
    ENCODED: (LogisticRegression, HistGradientBoosting, StandardisedPerceptron),
    PIXELS: (ConvolutionalNetwork, BitPlanes, Patches),
    COLUMNS: (*ATTACKERS, SmallPerceptron, SmallStandardisedPerceptron, LastDigits),
}
# What a quick one does with.
QUICK: Mapping[str, tuple[type[Attacker], ...]] = {
    LATENTS: (LogisticRegression, StandardisedPerceptron),
    ENCODED: (LogisticRegression, StandardisedPerceptron),
    PIXELS: (BitPlanes,),
    COLUMNS: (LogisticRegression, HistGradientBoosting),
}
