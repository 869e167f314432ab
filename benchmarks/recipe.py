"""What each part of the encoder's training gives: short trainings, each with one part left out, and the whole one.

    python -m benchmarks.recipe --out runs/faces [--epochs 2] [--seed 0]

``--out`` is a finished run of the central trainer on faces, whose teachers are used.  All variants train for the same
few epochs, so their figures compare with each other; beside them stand the finished networks before and after the
decoder was sharpened, sharpened for half a pass with and without the gradient penalty, and those from before trained on
with squared error and KL alone.  Each one's graphs are left in
``recipe-EPOCHS-SEED`` of the run's folder; `benchmarks.faces --plain` takes those in ``plain``.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression

from export.datasets.labelled import TRAIN, VALID, LabelledImages
from export.latents import Posteriors, encode
from export.losses import rate_of_change
from export.networks.vae import SIDE
from export.realism import frechet_distance, mean_gradient
from export.recipe import Settings
from export.sharpen import pooled_features, sharpen
from export.to_onnx import as_exported, decoder_graph, encoder_graph
from export.train import RECIPE, VAE, Weights, train_teachers, train_vae
from privsdk.codec import Codec

PLAIN = Weights(attributes=0.0, features=0.0, lipschitz=0.0)
VARIANTS = {
    "everything": RECIPE,
    "without attribute heads": Weights(attributes=0.0),
    "without feature matching": Weights(features=0.0),
    "without the gradient penalty": Weights(lipschitz=0.0),
    "a gradient penalty of 2 from 8 on": Weights(lipschitz=2.0, lipschitz_bound=8.0),
    "without the linear paths": RECIPE,
    "squared error and KL alone": PLAIN,
}


def untrained(images: LabelledImages, latent: int, linear: bool, seed: int) -> VAE:
    """A new VAE; without ``linear`` the paths beside the convolutions stay zero."""
    torch.manual_seed(seed)
    vae = VAE(latent, len(images.attributes))
    if not linear:
        for path in (vae.encoder.linear, vae.decoder.linear):
            for parameter in path.parameters():
                torch.nn.init.zeros_(parameter.requires_grad_(False))
        vae.decoder.convolutions[-1].reset_parameters()
    return vae


def finished(images: LabelledImages, latent: int, checkpoint: Path) -> VAE:
    """The VAE of a checkpoint."""
    vae = VAE(latent, len(images.attributes))
    vae.load_state_dict(torch.load(checkpoint, weights_only=True, map_location="cpu")["vae"])
    return vae.to(memory_format=torch.channels_last).eval()


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


def linear_accuracy(seen: Posteriors, unseen: Posteriors, images: LabelledImages, attribute: str) -> float:
    """Accuracy on the validation people of a fresh logistic regression on the training people's latent means."""
    column = images.attributes.index(attribute)
    model = LogisticRegression(max_iter=500).fit(seen.mean, images.part(TRAIN).labels[:, column])
    said = model.decision_function(unseen.mean)
    return float(((said > 0) == images.part(VALID).labels[:, column]).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="run of the central trainer with a finished teacher")
    parser.add_argument("--epochs", type=float, default=2.0)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    settings = Settings.load(arguments.out)
    images = settings.images(arguments.out)
    validation = images.part(VALID)
    teacher, taught = train_teachers(images, arguments.out / "teachers", settings.teacher_epochs, settings.seed)
    real = pooled_features(teacher, validation.pixels)

    def show(name: str, vae: VAE, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        codec = exported(vae, folder)
        seen, unseen = encode(codec, images.part(TRAIN).pixels), encode(codec, validation.pixels)
        made = codec.decode(unseen.mean)
        error = (((made.astype(np.float32) - validation.pixels) / 255) ** 2).sum(axis=(1, 2, 3)).mean()
        accuracies = [linear_accuracy(seen, unseen, images, label) for label in ("Male", "Smiling")]
        rates = mixed_rates(vae, Posteriors(unseen.mean[:512], unseen.variance[:512]))
        print(
            f"| {name} | {error:.1f} | {accuracies[0]:.3f} | {accuracies[1]:.3f} "
            f"| {mean_gradient(made) / mean_gradient(validation.pixels):.2f} "
            f"| {frechet_distance(real, pooled_features(teacher, made)):.0f} "
            f"| {rates.mean():.1f} / {np.quantile(rates, 0.95):.1f} |",
            flush=True,
        )

    def trained(vae: VAE, weights: Weights, folder: Path) -> VAE:
        return train_vae(images, teacher, taught, vae, folder, arguments.epochs, weights, seed=arguments.seed)

    print(f"{arguments.epochs:g} epochs, seed {arguments.seed}; measured on the valid partition\n")
    print("| variant | squared error | Male | Smiling | sharpness | Fréchet (teacher) | rate of change, mean / 95% |")
    print("|---|---|---|---|---|---|---|")
    kept = arguments.out / f"recipe-{arguments.epochs:g}-{arguments.seed}"
    for name, weights in VARIANTS.items():
        folder = kept / name.replace(" ", "-")
        vae = untrained(images, settings.latent, name != "without the linear paths", arguments.seed)
        show(name, trained(vae, weights, folder), folder)
    for name, part in (("the whole training", "vae"), ("the same, sharpened", "sharpen")):
        show(name, finished(images, settings.latent, arguments.out / part / "best.pt"), kept / part)
    penalised = {"half a pass of sharpening": RECIPE, "the same without the penalty": replace(RECIPE, lipschitz=0.0)}
    for name, weights in penalised.items():
        folder = kept / name.replace(" ", "-")
        vae = finished(images, settings.latent, arguments.out / "vae" / "best.pt")
        show(name, sharpen(images, teacher, vae, folder, 0.5, weights, seed=arguments.seed), folder)
    whole = finished(images, settings.latent, arguments.out / "vae" / "best.pt")
    show("the whole training, then squared error and KL alone", trained(whole, PLAIN, kept / "plain"), kept / "plain")


if __name__ == "__main__":
    main()
