"""The paper's autoencoder: a VAE that knows no label, trained by (1), the negative ELBO, alone."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from benchmarks.domains import Data
from export.bernoulli import PLANS, train_vae
from export.datasets.labelled import TRAIN, VALID, LabelledSamples
from export.networks.bernoulli import BernoulliVAE
from privsdk.codec import Latents

BATCH = 1000


def latents_without_labels(kind: str, data: Data, folder: Path, epochs: float, seed: int = 0) -> Latents:
    """Posteriors of every sample of ``data`` by a VAE trained on its training partition, or by the one in ``folder``.

    ``kind`` is "digits" or "table": networks and sizes are those of the bundles, without the attribute heads.
    """
    stored = folder / "latents.npz"
    if not stored.exists():
        samples = LabelledSamples(data.samples, data.labels, data.attributes, {}, data.partition)
        plan = replace(PLANS[kind], heads=0.0)
        folder.mkdir(parents=True, exist_ok=True)
        vae = train_vae(plan, samples.part(TRAIN), samples.part(VALID), folder / "vae", epochs, seed)
        latents = encoded(vae, data.samples)
        temporary = stored.with_suffix(".part.npz")
        np.savez(temporary, mean=latents.mean, variance=latents.variance)
        os.replace(temporary, stored)
    with np.load(stored) as arrays:
        return Latents(arrays["mean"], arrays["variance"])


@torch.no_grad()
def encoded(vae: BernoulliVAE, samples: np.ndarray) -> Latents:
    """q(z|x) of uint8 [N, *shape]."""
    parts = [vae.encoder(vae.to_input(part)) for part in torch.from_numpy(samples).split(BATCH)]
    mean, log_variance = (torch.cat(part) for part in zip(*parts, strict=True))
    return Latents(mean.numpy(), log_variance.exp().numpy())
