"""The terms of the VAE's loss.

Equation (6) of Chen, Navidi, Ermon, Rajagopal (2019): reconstruction norm + beta * KL(q(z|x) || N(0, I)) +
gamma * gradient penalty.  Beside it stand two terms of our own: attribute heads on the latent mean, and feature
matching.  Images are float [N, 3, H, W] in [0, 1]; each function returns a scalar, averaged over N.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from export.networks.teacher import Teacher


def squared_error(images: Tensor, reconstructions: Tensor) -> Tensor:
    """||x - D(z)||^2, summed over pixels and colours."""
    return (images - reconstructions).square().sum(dim=(1, 2, 3)).mean()


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
    squared; a decoder that does not change at all would be no decoder.
    """
    eps = torch.rand(len(z), 1)
    z_mix = (eps * z + (1 - eps) * torch.randn_like(z)).detach().requires_grad_()
    return F.relu(rate_of_change(decoder, z_mix) - bound).square().mean()


class FeatureMatching:
    """Mean squared difference in the teacher's first stages, each channel divided by its spread on real images."""

    def __init__(self, teacher: Teacher, examples: Tensor, stages: int = 3) -> None:
        self.teacher = teacher.eval().requires_grad_(False)
        self.stages = stages
        with torch.no_grad():
            features = teacher.features(examples, stages)
        self.spreads = [f.float().std(dim=(0, 2, 3)).clamp_min(1e-3)[:, None, None] for f in features]

    def __call__(self, images: Tensor, reconstructions: Tensor) -> Tensor:
        with torch.no_grad():
            wanted = self.teacher.features(images, self.stages)
        got = self.teacher.features(reconstructions, self.stages)
        terms = [
            ((a.float() - b.float()) / s).square().mean() for a, b, s in zip(wanted, got, self.spreads, strict=True)
        ]
        return torch.stack(terms).sum()


def hinge_for_critic(real: Tensor, made: Tensor) -> Tensor:
    """The critic's hinge loss over its patch scores."""
    return F.relu(1 - real).mean() + F.relu(1 + made).mean()
