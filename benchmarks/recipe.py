"""What each part of the encoder's training gives: short trainings, each with one part left out.

    PRIVSDK_DATA=... python -m benchmarks.recipe --out runs/faces [--epochs 2] [--seed 0]

``--out`` is a run of the central trainer, whose teacher is used.  All variants train for the same few epochs, so
their figures compare with each other and not with the shipped encoder's.  The graphs of each variant are left in its
folder; `benchmarks.faces --plain` takes those of "squared error and KL alone".
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression

from export.datasets import celeba
from export.datasets.labelled import TRAIN, VALID, LabelledImages
from export.latents import Posteriors, encode
from export.losses import rate_of_change
from export.networks.teacher import Teacher
from export.networks.vae import SIDE
from export.realism import frechet_distance, mean_gradient
from export.sharpen import pooled_features
from export.to_onnx import as_exported, decoder_graph, encoder_graph
from export.train import VAE, Weights, train_vae
from privsdk.codec import Codec

VARIANTS = {
    "everything": Weights(),
    "without attribute heads": Weights(attributes=0.0),
    "without feature matching": Weights(features=0.0),
    "without the gradient penalty": Weights(lipschitz=0.0),
    "squared error and KL alone": Weights(attributes=0.0, features=0.0, lipschitz=0.0),
}


def exported(vae: VAE, folder: Path) -> Codec:
    """The VAE as a device would run it; its graphs are left in ``folder``."""
    rounded = as_exported(vae)
    graphs = {"encoder.onnx": encoder_graph(rounded), "decoder.onnx": decoder_graph(rounded)}
    for name, graph in graphs.items():
        (folder / name).write_bytes(graph)
    return Codec(*graphs.values(), (SIDE, SIDE, 3), vae.heads.in_features, threads=2)


def mixed_rates(vae: VAE, posteriors: Posteriors, repeats: int = 4) -> np.ndarray:
    """||J^T v|| at z_mix for N posteriors, as the gradient penalty sees it: [N * repeats]."""
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    rates = []
    for _ in range(repeats):
        for begin in range(0, len(posteriors.mean), 64):
            mean = torch.from_numpy(posteriors.mean[begin : begin + 64])
            spread = torch.from_numpy(posteriors.variance[begin : begin + 64]).sqrt()
            z = mean + spread * torch.randn(mean.shape, generator=generator)
            eps = torch.rand(len(z), 1, generator=generator)
            z_mix = (eps * z + (1 - eps) * torch.randn(z.shape, generator=generator)).requires_grad_()
            rates.append(rate_of_change(vae.decoder, z_mix).detach().numpy())
    return np.concatenate(rates)


def linear_accuracy(codec: Codec, images: LabelledImages, attribute: str) -> float:
    """Accuracy on the validation people of a fresh logistic regression on the training people's latent means."""
    training, validation = images.part(TRAIN), images.part(VALID)
    column = images.attributes.index(attribute)
    model = LogisticRegression(max_iter=500).fit(encode(codec, training.pixels).mean, training.labels[:, column])
    said = model.decision_function(encode(codec, validation.pixels).mean)
    return float(((said > 0) == validation.labels[:, column]).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="run of the central trainer with a finished teacher")
    parser.add_argument("--epochs", type=float, default=2.0)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    images = celeba.load(Path(os.environ["PRIVSDK_DATA"]) / "celeba")
    validation = images.part(VALID)
    teacher = Teacher(len(images.attributes)).to(memory_format=torch.channels_last)
    state = torch.load(arguments.out / "teacher" / "best.pt", weights_only=True)
    teacher.load_state_dict(state["teacher"])
    real = pooled_features(teacher, validation.pixels)
    print(f"{arguments.epochs:g} epochs, seed {arguments.seed}; measured on the valid partition\n")
    print("| variant | squared error | Male | Smiling | sharpness | Fréchet (teacher) | rate of change, mean / 95% |")
    print("|---|---|---|---|---|---|---|")
    for name, weights in VARIANTS.items():
        folder = arguments.out / "recipe" / name.replace(" ", "-")
        vae = train_vae(images, teacher, folder, arguments.epochs, weights=weights, seed=arguments.seed)
        codec = exported(vae, folder)
        made = codec.decode(encode(codec, validation.pixels).mean)
        error = (((made.astype(np.float32) - validation.pixels) / 255) ** 2).sum(axis=(1, 2, 3)).mean()
        accuracies = [linear_accuracy(codec, images, label) for label in ("Male", "Smiling")]
        rates = mixed_rates(vae, encode(codec, validation.pixels[:512]))
        print(
            f"| {name} | {error:.1f} | {accuracies[0]:.3f} | {accuracies[1]:.3f} "
            f"| {mean_gradient(made) / mean_gradient(validation.pixels):.2f} "
            f"| {frechet_distance(real, pooled_features(teacher, made)):.1f} "
            f"| {rates.mean():.1f} / {np.quantile(rates, 0.95):.1f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
