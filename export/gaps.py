"""The gap of each attribute: how much more leaks on held-out real samples than on public latents.

On public latents the scores are sufficient by construction (their labels are drawn from them) and the flow is
exact (they are drawn from it), so attackers find less there than on real people.  A device sees public latents
alone; what it measures there is only believed after this gap, measured centrally, is added.
"""

from __future__ import annotations

import numpy as np

from export.latents import Posteriors
from privsdk.bundle import Bundle
from privsdk.fitting import fit
from privsdk.fitting.check import auroc, torch_attackers
from privsdk.privatizer import Privatizer


def partner(bundle: Bundle, attribute: str) -> str:
    """The utility label that an attribute's gap is measured with: the other attribute nearest to one in two."""
    others = [name for name in bundle.attributes if name != attribute]
    return min(others, key=lambda name: abs(bundle.base_rates[name] - 0.5))


def measure_gap(
    bundle: Bundle,
    attribute: str,
    training: Posteriors,
    held_out: Posteriors,
    labels: np.ndarray,
    truth: np.ndarray,
) -> float:
    """AUROC of the strongest attacker on releases of held-out samples, less that on public latents, at least 0.

    The filter is fitted as on a device, whose own check trains attackers on 3,000 samples.  Here they get all of them:
    what more data tells belongs to the gap.  Attackers are trained on releases of ``training`` with ``labels`` [N] and
    scored on releases of ``held_out`` with ``truth`` [M].
    """
    privatizer = fit(bundle, private=attribute, utility=partner(bundle, attribute))
    seen = released(privatizer, training, seed=1)
    unseen = released(privatizer, held_out, seed=2)
    found = [
        auroc(attacker(seen, labels.astype(np.float32), unseen), truth) for attacker in torch_attackers(seed=1).values()
    ]
    on_real = max(max(area, 1 - area) for area in found)
    on_public = privatizer.record["check"]["private"][attribute]["leakage"]
    return max(0.0, on_real - on_public)


def released(privatizer: Privatizer, posteriors: Posteriors, seed: int) -> np.ndarray:
    """Releases of posteriors with independent draws: float32 [N, Z]."""
    seeds = np.random.default_rng(seed).integers(0, 2**63, len(posteriors.mean), dtype=np.uint64)
    return privatizer.filter.perturb(posteriors.mean, posteriors.variance, seeds)
