"""The terms of the VAE's loss.

Equation (6) of Chen, Navidi, Ermon, Rajagopal (2019): reconstruction norm + beta * KL(q(z|x) || N(0, I)) +
gamma * gradient penalty.  Beside it stand two terms of our own: attribute heads on the latent mean, and feature
matching.  Images are float [N, 3, H, W] in [0, 1]; each function returns a scalar, averaged over N.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from export.networks.teacher import Teacher


def squared_error(images: Tensor, reconstructions: Tensor) -> Tensor:
    """||x - D(z)||^2, summed over pixels and colours."""
    return (images - reconstructions).square().sum(dim=(1, 2, 3)).mean()


def cross_entropy(samples: Tensor, logits: Tensor) -> Tensor:
    """-log p(x|z) of (1) in nats, Bernoulli: float [N, *shape] in [0, 1] and logits of that shape; summed over it."""
    return F.binary_cross_entropy_with_logits(logits, samples, reduction="none").flatten(1).sum(dim=1).mean()


def divergence_from_prior(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL(N(mean, diag(exp(log_variance))) || N(0, I)) in nats; both arguments [N, latent]."""
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(dim=1).mean()


def attribute_loss(logits: Tensor, probabilities: Tensor) -> Tensor:
    """Cross-entropy with these ``probabilities``, summed over the attributes; both arguments [N, attributes]."""
    return F.binary_cross_entropy_with_logits(logits, probabilities, reduction="none").sum(dim=1).mean()


def rate_of_change(decoder: torch.nn.Module, z: Tensor) -> Tensor:
    """||J^T v|| of each row, [N]: the gradient of <v, D(z)> with respect to the whole batch z, [N, latent].

    v has independent signs, so the squared norm has ||J||_F^2 of the decoder's Jacobian J as its expectation.
    Differentiable once more, for the penalty.
    """
    images = decoder(z)
    signs = torch.randint_like(images, 0, 2) * 2 - 1
    (gradient,) = torch.autograd.grad((signs * images).sum(), z, create_graph=torch.is_grad_enabled())
    return gradient.norm(dim=1)


def lipschitz_penalty(decoder: torch.nn.Module, z: Tensor, bound: float) -> Tensor:
    """The gradient penalty of (6) at z_mix = eps z + (1 - eps) z', eps ~ U[0, 1], z' ~ N(0, I).

    The paper's text leaves the penalty's form open.  Our reading: only what exceeds ``bound`` is penalised,
    squared; a decoder that does not change at all would be no decoder.  The decoder is taken in evaluation mode, as it
    is used: batch normalisation would let a row's rate depend on the others, and learn its means from mixtures.
    """
    eps = torch.rand(len(z), 1, device=z.device)
    z_mix = (eps * z + (1 - eps) * torch.randn_like(z)).detach().requires_grad_()
    was_training = decoder.training
    rates = rate_of_change(decoder.eval(), z_mix)
    decoder.train(was_training)
    return F.relu(rates - bound).square().mean()


class FeatureMatching:
    """Mean squared difference in the teacher's first stages, each channel divided by its spread on real images."""

    def __init__(self, teacher: Teacher, examples: Tensor, stages: int = 3) -> None:
        self.teacher = teacher.eval().requires_grad_(False)
        self.stages = stages
        with torch.no_grad():
            features = teacher.features(examples, stages)
        self.spreads = [f.float().std(dim=(0, 2, 3)).clamp_min(1e-3)[:, None, None] for f in features]

    def features(self, images: Tensor) -> list[Tensor]:
        """The stages' outputs for float [N, 3, H, W], float32 [N, channels, height, width] each, in these units."""
        stages = self.teacher.features(images, self.stages)
        return [stage.float() / spread for stage, spread in zip(stages, self.spreads, strict=True)]

    def __call__(self, images: Tensor, reconstructions: Tensor) -> Tensor:
        with torch.no_grad():
            wanted = self.features(images)
        return distance(wanted, self.features(reconstructions))


def distance(wanted: Sequence[Tensor], got: Sequence[Tensor]) -> Tensor:
    """Mean squared difference of each stage's features, summed over the stages."""
    return torch.stack([(a - b).square().mean() for a, b in zip(wanted, got, strict=True)]).sum()


def hinge_for_critic(real: Tensor, made: Tensor) -> Tensor:
    """The critic's hinge loss over its patch scores."""
    return F.relu(1 - real).mean() + F.relu(1 + made).mean()
