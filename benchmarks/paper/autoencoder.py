"""The paper's autoencoder: a VAE that knows no label, trained by its loss alone: (1), the negative ELBO; (6) of images.

    PRIVSDK_DATA=... python -m benchmarks.paper.autoencoder [--network dense] [--epochs 24] [--divergence 1]

trains that of faces, ahead of the experiments or in another way, and prints how often the paper's classifier is right
about labels on the valid partition.  On a processor it takes hours, on a GPU minutes.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from benchmarks.domains import Data, Domain
from benchmarks.paper.classifier import PapersClassifier
from benchmarks.paper.published import TABLE_3
from export.bernoulli import PLANS
from export.bernoulli import train_vae as train_bernoulli
from export.datasets.labelled import TRAIN, VALID, LabelledImages, LabelledSamples
from export.networks.bernoulli import BernoulliVAE
from export.train import NETWORKS, VAE, Weights, train_vae
from privsdk.auditing import metrics
from privsdk.codec import Latents

BATCH = 1000
FACE_LATENT = 50
WITHOUT_LABELS = Weights(attributes=0.0, features=0.0)  # (6): squared error, divergence, gradient penalty


def latents_without_labels(kind: str, data: Data, folder: Path, epochs: float, seed: int = 0) -> Latents:
    """Posteriors of every sample of ``data`` by a VAE trained on its training partition, or by the one in ``folder``.

    ``kind`` is "digits" or "table": networks and sizes are those of the bundles, without the attribute heads.
    """

    def train() -> BernoulliVAE:
        samples = LabelledSamples(data.samples, data.labels, data.attributes, {}, data.partition)
        plan = replace(PLANS[kind], heads=0.0)
        return train_bernoulli(plan, samples.part(TRAIN), samples.part(VALID), folder / "vae", epochs, seed)

    return encoded(train, data.samples, folder)


def face_latents_without_labels(
    images: LabelledImages, folder: Path, epochs: float, network: str, weights: Weights = WITHOUT_LABELS
) -> Latents:
    """The same of faces; ``network`` is one of ``export.train``'s."""

    def train() -> VAE:
        torch.manual_seed(0)
        vae = VAE(FACE_LATENT, len(images.attributes), network)
        return train_vae(images, None, None, vae, folder / "vae", epochs, weights)

    return encoded(train, images.pixels, folder)


def encoded(train: Callable[[], BernoulliVAE | VAE], samples: np.ndarray, folder: Path) -> Latents:
    """q(z|x) of uint8 [N, *shape] by what ``train`` gives; kept in ``folder``."""
    stored = folder / "latents.npz"
    if not stored.exists():
        folder.mkdir(parents=True, exist_ok=True)
        vae = train()
        device = next(vae.parameters()).device
        with torch.no_grad():
            parts = [vae.encoder(vae.to_input(part.to(device))) for part in torch.from_numpy(samples).split(BATCH)]
        mean, log_variance = (torch.cat(part).cpu() for part in zip(*parts, strict=True))
        temporary = stored.with_suffix(".part.npz")
        np.savez(temporary, mean=mean.numpy(), variance=log_variance.exp().numpy())
        os.replace(temporary, stored)
    with np.load(stored) as arrays:
        return Latents(arrays["mean"], arrays["variance"])


def face_folder(runs: Path, epochs: float, network: str) -> Path:
    """Where that of faces is kept."""
    return runs / f"paper-faces-{network}-{epochs:g}-epochs"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.paper.autoencoder", description=__doc__.splitlines()[0])
    parser.add_argument("--network", choices=list(NETWORKS), default="residual")
    parser.add_argument("--epochs", type=float, default=24.0)
    parser.add_argument("--divergence", type=float, help="weight of the KL term, throughout")
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    asked = parser.parse_args()
    if not (data := os.environ.get("PRIVSDK_DATA")):
        parser.error("PRIVSDK_DATA is not set: it names the folder that holds celeba/")
    domain = Domain("faces", "faces", Path(data), asked.runs, threads=2)
    folder, weights = face_folder(asked.runs, asked.epochs, asked.network), WITHOUT_LABELS
    if asked.divergence is not None:
        folder = folder.with_name(f"{folder.name}-divergence-{asked.divergence:g}")
        weights = replace(weights, divergence=asked.divergence, last_divergence=asked.divergence)
    latents = face_latents_without_labels(domain.images, folder, asked.epochs, asked.network, weights)
    for label in (*TABLE_3, "Smiling"):
        train, valid, _ = domain.parts(latents.mean, domain.classes(label))
        scores = PapersClassifier(0).fit(train.z, train.labels).score(valid.z)
        print(f"{label}: {metrics.accuracy(valid.labels, scores):.3f}")


if __name__ == "__main__":
    main()
