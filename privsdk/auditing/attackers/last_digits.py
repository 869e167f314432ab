"""How the numbers of a table are rounded: a label that is hidden in their digits shows in no size."""

from __future__ import annotations

from typing import Self

import numpy as np
from numpy.typing import NDArray
from sklearn import ensemble

from privsdk.auditing.attackers.attacker import Attacker

DECIMALS = 6
PLACES = 9  # whose digits the trees see: from the last decimal to the hundreds
DIGITS, FEATURES = PLACES + 1, PLACES + 5  # of each column
POWERS = 10 ** np.arange(13, dtype=np.int64)
LARGEST = 9e12  # in absolute value: with its decimals it just fits an int64


class LastDigits(Attacker):
    """Gradient-boosted trees on the digits of float64 ``[N, K]``.

    Of each column they see the digits from the hundreds to the sixth decimal; the last digit that is not 0, and how
    many 0s follow it, which says how many decimals there are or to which power of ten it was rounded; what is left
    modulo 10 and modulo 1; and how many of the last binary digits are 0, which tells numbers of 32 bits from those of
    64.  They do not see how large a number is.
    """

    name = "trees on last digits"
    limit = 8000

    def __init__(self, seed: int = 0, threads: int = 1, setting: int = 0) -> None:
        self._seed = seed

    def fit(self, x: NDArray, y: NDArray) -> Self:
        # Two values have no digits to look at, and a wide table's columns are often such.
        several = [len(np.unique(column)) > 2 for column in x.T]
        self._columns = np.flatnonzero(several) if any(several) else np.arange(1)
        digits = np.repeat(np.arange(FEATURES) < DIGITS, len(self._columns))
        self._model = ensemble.HistGradientBoostingClassifier(
            max_iter=100,
            max_leaf_nodes=15,
            l2_regularization=1.0,
            categorical_features=digits,  # so that odd and even, or 0 and 5, are one step
            early_stopping=False,
            random_state=self._seed,
        )
        return super().fit(_digits(x[:, self._columns]), y)

    def score(self, x: NDArray) -> NDArray[np.float64]:
        return super().score(_digits(x[:, self._columns]))


def _digits(x: NDArray) -> NDArray[np.float64]:
    """What the trees see of float64 ``[N, K]``, digits first: ``[N, FEATURES * K]``."""
    size = np.minimum(np.abs(x.astype(np.float64)), LARGEST)
    whole = np.rint(size * 10**DECIMALS).astype(np.int64)
    places = [whole // power % 10 for power in POWERS[:PLACES]]
    zeros = sum((whole % power == 0).astype(np.int64) for power in POWERS[1:])
    last = whole // POWERS[zeros] % 10
    mantissa = np.ldexp(np.frexp(size)[0], 53).astype(np.int64)
    binary_zeros = np.log2(np.maximum(mantissa & -mantissa, 1))
    return np.concatenate([*places, last, zeros, size % 10, size % 1, binary_zeros], axis=1, dtype=np.float64)
