"""The fair score's tiny network, trained in torch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from privsdk.filters.code import context
from privsdk.fitting.closed_form import Candidate, candidate, on_scale
from privsdk.fitting.material import Part

Floats = NDArray[np.float32]

HIDDEN = 32
ROWS = 6000
QUANTILES = 64
FIRST_STEPS = 150
STEPS = 100
SHARPNESS = 3.0
WRONG = 4.0
ENTROPY = 0.02


def candidates(train: Part, validation: Part, private: int, fairness: Sequence[float], seed: int) -> list[Candidate]:
    """A fair score for each lambda in ``fairness``, which rises; each starts from the one before it.

        loss = 4 P(t and the utility label differ in sign) + .02 cross-entropy(utility, t)
               + lambda * 10 * mean over 64 quantiles of (q_0 - q_1)^2

    with q the quantiles of tanh(t / 3) within the private groups, and the sign of t softened to sigmoid(3 t).
    With the cross-entropy alone (to which a shift far from the threshold costs as much as one across it) the
    utility label loses twice as much accuracy for the same leakage.
    """
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randperm(len(train), generator=generator)[:ROWS].numpy()
    part = train[rows]
    scores = torch.from_numpy(part.scores)
    belief = torch.from_numpy(part.belief)
    about = torch.from_numpy(context(part.scores))
    wanted = belief[:, private:]
    groups = group_weights(belief[:, :private])
    hidden = nn.Linear(about.shape[1], HIDDEN)
    out = nn.Linear(HIDDEN, scores.shape[1] - private)
    with torch.no_grad():
        hidden.weight.normal_(0, 1, generator=generator)
        hidden.bias.uniform_(-1, 1, generator=generator)
        out.weight.zero_()
        out.bias.zero_()
    parameters = [*hidden.parameters(), *out.parameters()]
    found: list[Candidate] = []
    for weight in fairness:
        optimizer = torch.optim.Adam(parameters, lr=0.02)
        steps = STEPS if found else FIRST_STEPS
        for step in range(steps):
            optimizer.param_groups[0]["lr"] = 0.02 * (1 - 0.9 * step / steps)
            fair = scores[:, private:] + out(nn.functional.elu(hidden(about)))
            said = torch.sigmoid(SHARPNESS * fair)
            wrong = (wanted * (1 - said) + (1 - wanted) * said).mean()
            loss = WRONG * wrong + ENTROPY * nn.functional.binary_cross_entropy_with_logits(fair, wanted)
            loss = loss + weight * 10 * quantile_gap(torch.tanh(fair / 3), groups)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
        weights = [parameter.detach().numpy().copy() for parameter in parameters]
        score = on_scale(weights[0].T.copy(), weights[1], weights[2].T.copy(), weights[3], train.scores)
        found.append(candidate(weight, score, validation, private))
    return found


def group_weights(belief: Tensor) -> Tensor:
    """How much each row belongs to each combination of the P private labels, empty ones left out: [G, N]."""
    groups = torch.ones(1, len(belief))
    for column in belief.T:
        groups = torch.cat([groups * (1 - column), groups * column])
    return groups[groups.sum(1) >= QUANTILES]


def quantile_gap(values: Tensor, groups: Tensor) -> Tensor:
    """The mean squared difference of 64 quantiles of ``values`` [N, V] between any two ``groups`` [G, N]."""
    ranks = (torch.arange(QUANTILES) + 0.5) / QUANTILES
    gap = values.new_zeros(())
    for column in values.T:
        ordered, order = column.sort()
        reached = groups[:, order].cumsum(1)
        rows = torch.searchsorted(reached, ranks * reached[:, -1:]).clamp(max=len(column) - 1)
        quantiles = ordered[rows]
        difference = quantiles[:, None] - quantiles[None]
        pairs = len(groups) * (len(groups) - 1)
        gap = gap + difference.square().mean(2).sum() / max(pairs, 1)
    return gap / values.shape[1]
