"""Training of the public flow g: posterior samples to N(0, I), without any label."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from export.latents import Posteriors
from export.loop import Schedule, train
from privsdk.filters.couplings import PublicFlow
from privsdk.fitting.flows import CouplingFlow, FlowTraining, validation_loss
from privsdk.fitting.schedule import Schedule as FlowSchedule


@dataclass(frozen=True)
class Shape:
    """Size and regularisation of g.

    What keeps a wide flow from learning the training people by heart: ``noise`` in each standardised direction beside
    the posterior's own, and a strong ``weight_decay``.  With less noise the squared norm of g(z) exceeds its dimension
    on people it has not seen, with more it falls short of it.  The defaults are those for faces.
    """

    couplings: int = 10
    width: int = 192
    noise: float = 0.2
    weight_decay: float = 1.0


class ResumableFlow:
    """A flow's training under the names that the shared loop asks of what it checkpoints."""

    def __init__(self, training: FlowTraining) -> None:
        self.training = training

    def state_dict(self) -> dict[str, Any]:
        return self.training.state()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.training.load(state)


def train_flow(
    training: Posteriors,
    validation: Posteriors,
    folder: Path,
    steps: int = 1500,
    shape: Shape = Shape(),
    batch: int = 1024,
    seed: int = 0,
) -> tuple[PublicFlow, dict[str, float]]:
    """Train g on posterior samples of the training people; chosen by its likelihood for the validation people.

    Returns the flow and its figures on the validation people: the negative log-likelihood a dimension and the
    mean squared norm of g(z) as a share of its dimension (1 is right).
    """
    used = training.used
    mean, spread = (
        torch.from_numpy(training.mean[:, used]),
        torch.from_numpy(np.sqrt(training.variance[:, used])),
    )
    shift, whiten = standardiser(training)
    centre, turn = torch.from_numpy(shift), torch.from_numpy(whiten)
    held_out = (torch.from_numpy(posterior_sample(validation, seed=seed)[:, used]) - centre) @ turn

    torch.manual_seed(seed)
    flow = CouplingFlow(int(used.sum()), shape.couplings, shape.width, seed=seed)
    flow_training = FlowTraining(flow, FlowSchedule(steps, learning_rate=1e-3, weight_decay=shape.weight_decay))
    schedule = Schedule(len(mean), batch, steps, peak=1e-3, seed=seed)

    def step(number: int, rows: np.ndarray) -> dict[str, float]:
        z = mean[rows] + spread[rows] * torch.randn(len(rows), mean.shape[1])
        z = (z - centre) @ turn
        return {"loss": flow_training.take(z + shape.noise * torch.randn_like(z))}

    @torch.no_grad()
    def validate() -> dict[str, float]:
        code, _ = flow_training.averaged(held_out)
        norm = code.square().sum(1).mean().item() / code.shape[1]
        return {"loss": validation_loss(flow_training.averaged, held_out), "squared norm share": norm}

    figures = train(folder, schedule, {"flow": ResumableFlow(flow_training)}, {}, step, validate, every=250)
    print(f"public flow: valid loss {figures['loss']:.4f} a dimension", file=sys.stderr)
    public_flow = PublicFlow(used, shift, whiten, flow_training.averaged.to_numpy())
    return public_flow, figures


def standardiser(posteriors: Posteriors) -> tuple[np.ndarray, np.ndarray]:
    """Mean [U] and inverse square root of the covariance [U, U] of posterior samples, over the dimensions in use.

    All directions are brought to spread 1, not all dimensions: the noise of the training would otherwise drown the
    narrow ones, where draws of g would then be wider than people are.
    """
    mean = posteriors.mean[:, posteriors.used].astype(np.float64)
    covariance = np.cov(mean, rowvar=False) + np.diag(posteriors.variance[:, posteriors.used].mean(0))
    variance, directions = np.linalg.eigh(covariance)
    whiten = (directions / np.sqrt(variance)) @ directions.T
    return mean.mean(0).astype(np.float32), whiten.astype(np.float32)


def posterior_sample(posteriors: Posteriors, seed: int) -> np.ndarray:
    """One draw of each posterior: float32 [N, Z]."""
    noise = np.random.default_rng(seed).standard_normal(posteriors.mean.shape, np.float32)
    return posteriors.mean + np.sqrt(posteriors.variance) * noise
