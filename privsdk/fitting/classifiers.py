"""Classifiers on latents in torch: the score network for all attributes, and adversaries."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from privsdk.filters.scores import ScoreNetwork

Floats = NDArray[np.float32]


class LatentClassifier(nn.Module):
    """A linear map plus one hidden layer of ELUs, on standardised latents, for A attributes at once.

    ``mean`` and ``spread`` are those of the latents, float32 [Z]; a dimension with ``used`` False is not
    looked at.  The logits are not calibrated; :meth:`to_numpy` gives the calibrated scores.
    """

    def __init__(
        self,
        mean: Tensor,
        spread: Tensor,
        used: Tensor,
        attributes: int,
        hidden: int,
        dropout: float,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.register_buffer("shift", mean)
        self.register_buffer("inverse_scale", torch.where(used, 1 / spread.clamp(min=1e-6), 0.0))
        self.register_buffer("temperature", torch.ones(attributes))
        self.shift: Tensor
        self.inverse_scale: Tensor
        self.temperature: Tensor
        self.skip = nn.Linear(len(mean), attributes, bias=False)
        self.hidden = nn.Linear(len(mean), hidden)
        self.out = nn.Linear(hidden, attributes)
        self.dropout = dropout
        self._generator = generator
        with torch.no_grad():
            for layer in (self.hidden, self.out):
                layer.weight.normal_(0, layer.in_features**-0.5, generator=generator)
                layer.bias.zero_()
            self.skip.weight.zero_()

    def forward(self, z: Tensor, noise: float = 0.0) -> Tensor:
        """Logits [N, A] of latents [N, Z]; in training with dropout and noise."""
        x = (z - self.shift) * self.inverse_scale
        if self.training and noise > 0:
            x = x + noise * torch.randn(x.shape, generator=self._generator)
        after = nn.functional.elu(self.hidden(x))
        if self.training and self.dropout > 0:
            kept = torch.rand(after.shape, generator=self._generator) >= self.dropout
            after = after * kept / (1 - self.dropout)
        logits: Tensor = self.skip(x) + self.out(after)
        return logits

    def to_numpy(self) -> ScoreNetwork:
        """The calibrated scores, applied with NumPy."""
        tensors = (
            self.shift,
            self.inverse_scale,
            self.skip.weight.T,
            self.hidden.weight.T,
            self.hidden.bias,
            self.out.weight.T,
            self.out.bias,
            self.temperature,
        )
        return ScoreNetwork(*(np.ascontiguousarray(tensor.detach().numpy(), np.float32) for tensor in tensors))


@dataclass(frozen=True)
class Recipe:
    """How a latent classifier is trained.  ``noise`` is a share of each latent dimension's spread."""

    hidden: int = 512
    dropout: float = 0.5
    noise: float = 0.1
    weight_decay: float = 1e-3
    learning_rate: float = 3e-3
    batch: int = 1024
    epochs: int = 30
    patience: int = 6


def train_scores(
    z: Floats,
    labels: Floats,
    validation_z: Floats,
    validation_labels: Floats,
    used: NDArray[np.bool_],
    recipe: Recipe = Recipe(),
    seed: int = 0,
    on_progress: Callable[[str, int, int], None] | None = None,
) -> ScoreNetwork:
    """A calibrated score network for latents ``z`` [N, Z] and labels [N, A] (0 and 1, or probabilities).

    Stops when the cross-entropy on the validation latents has not fallen for ``patience`` epochs, goes back
    to the best, and calibrates one temperature for each attribute there.
    """
    generator = torch.Generator().manual_seed(seed)
    latents, targets = torch.from_numpy(z), torch.from_numpy(labels.astype(np.float32))
    held_out, held_out_targets = (
        torch.from_numpy(validation_z),
        torch.from_numpy(validation_labels.astype(np.float32)),
    )
    model = LatentClassifier(
        latents.mean(0),
        latents.std(0),
        torch.from_numpy(used.copy()),
        targets.shape[1],
        recipe.hidden,
        recipe.dropout,
        generator,
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, recipe.epochs, recipe.learning_rate / 50)
    best, best_loss, best_epoch = copy.deepcopy(model.state_dict()), float("inf"), 0
    for epoch in range(recipe.epochs):
        model.train()
        for rows in torch.randperm(len(latents), generator=generator).split(recipe.batch):
            loss = nn.functional.binary_cross_entropy_with_logits(model(latents[rows], recipe.noise), targets[rows])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
        schedule.step()
        model.eval()
        with torch.no_grad():
            loss_now = float(nn.functional.binary_cross_entropy_with_logits(model(held_out), held_out_targets))
        if loss_now < best_loss - 1e-5:
            best, best_loss, best_epoch = copy.deepcopy(model.state_dict()), loss_now, epoch
        if on_progress is not None:
            on_progress("scores", epoch + 1, recipe.epochs)
        if epoch - best_epoch >= recipe.patience:
            break
    model.load_state_dict(best)
    model.eval()
    with torch.no_grad():
        logits = model(held_out).numpy()
    model.temperature.copy_(torch.from_numpy(temperatures(logits, held_out_targets.numpy())))
    return model.to_numpy()


def temperatures(logits: Floats, labels: Floats) -> Floats:
    """For each attribute the temperature, of a grid from 1/4 to 4, with the least cross-entropy: [A]."""
    grid = np.geomspace(0.25, 4, 121)
    losses = [
        (np.logaddexp(0, logits / value) - labels * logits / value).mean(axis=0, dtype=np.float64) for value in grid
    ]
    return grid[np.argmin(losses, axis=0)].astype(np.float32)


def train_logistic(z: Tensor, labels: Tensor, classes: int, decay: float = 1e-3) -> nn.Module:
    """A logistic regression of ``labels`` [N], in 0..``classes`` - 1, on ``z`` [N, D], to convergence: [M, classes]."""
    model = _linear(z.shape[1], classes)
    nn.init.zeros_(model.weight)
    nn.init.zeros_(model.bias)
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=60, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        # Of two classes each has half of the difference between them, and so half of what its size costs.
        loss = nn.functional.cross_entropy(model(z), labels) + 2 * decay * model.weight.square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    return model


def train_mlp(z: Tensor, labels: Tensor, classes: int, seed: int, width: int = 64, epochs: int = 30) -> nn.Module:
    """Two hidden layers of ELUs for ``labels`` [N], in 0..``classes`` - 1, of ``z`` [N, D]: [M, classes].

    A fifth of the rows says when to stop.
    """
    generator = torch.Generator().manual_seed(seed)
    first, second, last = _linear(z.shape[1], width), _linear(width, width), _linear(width, classes)
    model = nn.Sequential(first, nn.ELU(), second, nn.ELU(), last)
    with torch.no_grad():
        for layer in model:
            if isinstance(layer, nn.Linear):
                layer.weight.normal_(0, layer.in_features**-0.5, generator=generator)
                layer.bias.zero_()
    order = torch.randperm(len(z), generator=generator)
    held_out, fitted = order[: len(z) // 5], order[len(z) // 5 :]
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=1e-2, fused=True)
    best, best_loss, best_epoch = copy.deepcopy(model.state_dict()), float("inf"), 0
    for epoch in range(epochs):
        for rows in fitted[torch.randperm(len(fitted), generator=generator)].split(256):
            loss = nn.functional.cross_entropy(model(z[rows]), labels[rows])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
        with torch.no_grad():
            loss_now = float(nn.functional.cross_entropy(model(z[held_out]), labels[held_out]))
        if loss_now < best_loss:
            best, best_loss, best_epoch = copy.deepcopy(model.state_dict()), loss_now, epoch
        if epoch - best_epoch >= 4:
            break
    model.load_state_dict(best)
    return model


def _linear(inputs: int, outputs: int) -> nn.Linear:
    """A layer without weights yet: drawing some would advance the random state of the whole process."""
    layer: nn.Linear = nn.utils.skip_init(nn.Linear, inputs, outputs)
    return layer
