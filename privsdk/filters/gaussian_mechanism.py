"""The Gaussian mechanism: a clipped latent, and noise enough that nobody can tell whose latent it was."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from privsdk import noise
from privsdk.errors import PrivatizerError, UsageError
from privsdk.filters import posterior

Floats = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class GaussianMechanism:
    """z~ = clip(z) + sigma xi, xi ~ N(0, I): (epsilon, delta)-differentially private, (12)-(17) of the paper.

        clip(z) = centre + (z - centre) min(1, radius / ||z - centre||)

    z is a posterior sample.  Two latents in the ball lie at most 2 ``radius`` apart: that is the sensitivity of
    replacing one's latent by anybody else's, whatever either of them is, and :func:`delta_reached` says of which
    (epsilon, delta) a sigma is enough.  The guarantee is that of one release of one sample, towards whoever does not
    have the key that its seed is made with, and holds where ``centre`` and ``radius`` are public: chosen without that
    sample.  It hides everything alike, the utility label too.

    ``centre`` is float32 [Z], ``used`` bool [Z]; distances are those in the dimensions that are used.  The others are
    fresh noise.  Label-free.

    :raises PrivatizerError: shapes do not fit, or ``sigma`` is too small for ``epsilon`` and ``delta``.
    """

    kind: ClassVar[str] = "gaussian-mechanism"
    label_aware: ClassVar[bool] = False

    centre: Floats
    used: NDArray[np.bool_]
    radius: float
    sigma: float
    epsilon: float
    delta: float

    def __post_init__(self) -> None:
        if self.used.ndim != 1 or self.centre.shape != self.used.shape:
            raise PrivatizerError(
                f"the Gaussian mechanism's centre {self.centre.shape} does not fit latents of {self.used.shape}: "
                "fit the filter again"
            )
        numbers = (self.radius, self.sigma, self.epsilon, self.delta)
        promised = all(math.isfinite(number) and number > 0 for number in numbers) and self.delta < 1
        if not promised or delta_reached(self.sigma, self.epsilon, 2 * self.radius) > self.delta * (1 + 1e-6):
            raise PrivatizerError(
                f"noise of {self.sigma:g} in a ball of radius {self.radius:g} is not ({self.epsilon:g}, "
                f"{self.delta:g})-differentially private: fit the filter again"
            )

    def perturb(
        self,
        mean: Floats,
        variance: Floats,
        seeds: NDArray[np.uint64],
        private: NDArray[Any] | None = None,
    ) -> Floats:
        """The perturbed latents z~, float32 [N, Z].

        ``mean`` and ``variance`` are float32 [N, Z], ``seeds`` uint64 [N]; ``private`` is not looked at.  The same
        seed and latent give the same z~, whatever the other rows are.

        :raises UsageError: shapes do not fit.
        """
        z = posterior.sample(mean, variance, seeds, self.used)
        # In float64, where neither the square of a huge number nor the sum with the noise is rounded out of the ball.
        away = z[:, self.used].astype(np.float64) - self.centre[self.used]
        length = np.linalg.norm(away, axis=1, keepdims=True)
        inside = away * (self.radius / np.maximum(length, self.radius))
        xi = noise.normal(seeds, inside.shape[1], "Gaussian mechanism")
        z[:, self.used] = self.centre[self.used] + inside + self.sigma * xi.astype(np.float64)
        return z

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """The arrays by name, for :meth:`from_arrays`."""
        return {"centre": self.centre, "used": self.used.astype(np.uint8)}

    def settings(self) -> dict[str, Any]:
        """What is not an array, for :meth:`from_arrays`."""
        return {"radius": self.radius, "sigma": self.sigma, "epsilon": self.epsilon, "delta": self.delta}

    @classmethod
    def from_arrays(cls, settings: Mapping[str, Any], arrays: Mapping[str, NDArray[np.generic]]) -> GaussianMechanism:
        """The filter that gave these."""
        return cls(
            centre=np.asarray(arrays["centre"], np.float32),
            used=np.asarray(arrays["used"]).astype(bool),
            radius=float(settings["radius"]),
            sigma=float(settings["sigma"]),
            epsilon=float(settings["epsilon"]),
            delta=float(settings["delta"]),
        )


def theorem_sigma(epsilon: float, delta: float, sensitivity: float) -> float:
    """The noise of the paper's Theorem 6.1, sqrt(2 ln(1.25 / delta)) sensitivity / epsilon.

    It is enough for ``epsilon`` in (0, 1) alone and more than enough there (Dwork and Roth, "The algorithmic
    foundations of differential privacy", 2014, Theorem A.1).

    :raises UsageError: an argument is out of its range.
    """
    _check(epsilon, delta, sensitivity)
    if epsilon >= 1:
        raise UsageError(
            f"Theorem 6.1 holds for an epsilon below 1, not {epsilon:g}: take the analytic calibration instead"
        )
    return math.sqrt(2 * math.log(1.25 / delta)) * sensitivity / epsilon


def analytic_sigma(epsilon: float, delta: float, sensitivity: float) -> float:
    """The least noise that is (epsilon, delta)-differentially private, to 1 in 10^12 above it; any ``epsilon`` > 0.

    The sigma at which :func:`delta_reached`, which falls as sigma grows, is ``delta``; found by bisection (Balle and
    Wang, "Improving the Gaussian mechanism for differential privacy", 2018, Algorithm 1).

    :raises UsageError: an argument is out of its range.
    """
    _check(epsilon, delta, sensitivity)
    low = high = sensitivity
    while delta_reached(high, epsilon, sensitivity) > delta:
        high *= 2
    while delta_reached(low, epsilon, sensitivity) <= delta:
        low /= 2
    while high / low > 1 + 1e-12:
        middle = math.sqrt(low * high)
        if delta_reached(middle, epsilon, sensitivity) > delta:
            low = middle
        else:
            high = middle
    return high


def delta_reached(sigma: float, epsilon: float, sensitivity: float) -> float:
    """The least delta at which noise ``sigma`` is (epsilon, delta)-differentially private.

        Phi(D / (2 sigma) - epsilon sigma / D) - e^epsilon Phi(-D / (2 sigma) - epsilon sigma / D)

    D is the ``sensitivity``, Phi the distribution function of N(0, 1) (Balle and Wang 2018, Theorem 8): the
    hockey-stick divergence of two normals a distance D apart.
    """
    half, lag = sensitivity / (2 * sigma), epsilon * sigma / sensitivity
    # e^epsilon overflows, but (half + lag)^2 = (half - lag)^2 + 2 epsilon.
    other = math.exp(-((half - lag) ** 2) / 2) * _scaled_erfc((half + lag) / math.sqrt(2)) / 2
    return max(math.erfc((lag - half) / math.sqrt(2)) / 2 - other, 0.0)


def least_budget(sigma: float, variance: NDArray[np.floating]) -> NDArray[np.float64]:
    """The KL budget b that a sample's noise of ``sigma`` takes, in nats, float64 [N] (Proposition 1).

        b >= 1/2 sum_i [sigma^2 / s_i^2 - ln(1 + sigma^2 / s_i^2)]

    ``variance``, [N, Z] and positive, is s_i^2, that of the sample's posterior in the dimensions that are used.  A
    budget of that size admits the noise of the mechanism; a filter within it is not thereby differentially private.
    """
    widened = sigma**2 / variance.astype(np.float64)
    return np.sum(widened - np.log1p(widened), axis=1) / 2


def _check(epsilon: float, delta: float, sensitivity: float) -> None:
    if not 0 < epsilon < math.inf or not 0 < delta < 1 or not 0 < sensitivity < math.inf:
        raise UsageError(
            f"differential privacy takes an epsilon above 0, a delta between 0 and 1 and a sensitivity above 0, "
            f"not {epsilon:g}, {delta:g} and {sensitivity:g}"
        )


def _scaled_erfc(x: float) -> float:
    """exp(x^2) erfc(x), for x > 0."""
    if x < 25:
        return math.exp(x**2) * math.erfc(x)
    return (1 - 1 / (2 * x**2) + 3 / (4 * x**4)) / (x * math.sqrt(math.pi))
