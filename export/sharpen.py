"""Sharpening: the decoder alone, trained on against a critic while the encoder stays frozen.

Squared error makes soft faces: where a latent leaves detail open, the mean of all details is a blur.  A critic
asks for what real images have instead.  What the decoder then invents costs no privacy, since it comes from z
alone; and as the encoder is frozen, latents, scores and flows stay what they are.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from export import processes
from export.datasets.labelled import TRAIN, VALID, LabelledImages
from export.loop import Schedule, train
from export.losses import FeatureMatching, distance, hinge_for_critic, lipschitz_penalty, squared_error
from export.networks.blocks import to_input, to_stored
from export.networks.critic import Critic
from export.networks.teacher import Teacher
from export.processes import accelerator
from export.realism import frechet_distance, mean_gradient
from export.train import LIPSCHITZ_EVERY, RECIPE, VAE, Weights, lipschitz_rows, mirrored, mixed_precision

FEATURES_WEIGHT = 30.0
# The critic's two pulls on the image (patches, features), as shares of the pull of squared error and features together.
CRITIC_SHARES = (0.25, 0.3)


def sharpen(
    images: LabelledImages,
    teacher: Teacher,
    vae: VAE,
    folder: Path,
    epochs: float = 6,
    weights: Weights = RECIPE,
    batch: int = 96,
    seed: int = 0,
) -> VAE:
    """Train the decoder of ``vae`` on; returns the VAE with the decoder that looks most real on the valid partition.

    "Most real" is the least Fréchet distance between real and reconstructed images in the teacher's features.  Of
    ``weights`` the gradient penalty goes on here: what the critic asks for would else make the decoder steeper.
    The encoder of ``vae`` stays frozen, and so do layers of the decoder with weights of their own for each pixel.
    """
    training, validation = images.part(TRAIN), images.part(VALID)
    batch = min(batch, len(training))
    torch.manual_seed(seed)
    device = accelerator()
    vae = vae.to(device)
    vae.encoder.eval().requires_grad_(False)
    # Asked for texture, layers with weights of their own for each pixel answer with a lattice of dots.
    for layer in vae.decoder.per_pixel():
        layer.requires_grad_(False)
    schedule = Schedule(
        len(training), batch, max(1, int(epochs * (len(training) // batch))), peak=4e-4, warmup=0.05, seed=seed
    )
    decoder_optimizer = torch.optim.AdamW(vae.decoder.parameters(), betas=(0.5, 0.99), weight_decay=0.0)
    pixels = torch.from_numpy(training.pixels).to(device)
    matching = FeatureMatching(teacher, to_input(pixels[:512]))
    critic = Critic([len(spread) for spread in matching.spreads]).to(device, memory_format=torch.channels_last)
    critic_optimizer = torch.optim.AdamW(critic.parameters(), betas=(0.5, 0.99), weight_decay=0.0)
    real_features = pooled_features(teacher, validation.pixels)
    real_gradient = mean_gradient(validation.pixels)

    def step(number: int, rows: np.ndarray) -> dict[str, float]:
        vae.decoder.train()
        x = mirrored(to_input(pixels[processes.share(rows)]))
        with mixed_precision():
            with torch.no_grad():
                mean, log_variance = vae.encoder(x)
                noise = processes.drawn(torch.randn, *mean.shape, device=device)
                z = mean + (0.5 * log_variance).exp() * noise
            made = vae.decoder(z).float()
            image = made.detach().requires_grad_()
            # Half of the rows are enough for the features, which cost most of a step.
            half = len(x) // 2
            with torch.no_grad():
                wanted = matching.features(x[:half])
            got = matching.features(image[:half])
            scores = critic(x, wanted), critic(made.detach(), [stage.detach() for stage in got])
        judged = torch.stack([hinge_for_critic(real, fake) for real, fake in zip(*scores, strict=True)]).sum()
        critic_optimizer.zero_grad()
        judged.backward()
        processes.average_gradients(critic)
        critic_optimizer.step()

        with mixed_precision():
            error, features = squared_error(x, image), distance(wanted, got)
            fooled = [-score.mean() for score in critic(image, got)]
        (pull,) = torch.autograd.grad(error + FEATURES_WEIGHT * features, image, retain_graph=True)
        likeness = processes.norm(pull)
        for share, loss in zip(CRITIC_SHARES, fooled, strict=True):
            (towards_real,) = torch.autograd.grad(loss, image, retain_graph=True)
            pull = pull + share * likeness / processes.norm(towards_real).clamp_min(1e-12) * towards_real
        decoder_optimizer.zero_grad()
        made.backward(pull)
        terms = {"squared error": error, "features": features, "critic": judged}
        if weights.lipschitz and number % LIPSCHITZ_EVERY == 0:
            terms["lipschitz"] = lipschitz_penalty(vae.decoder, z[: lipschitz_rows()], weights.lipschitz_bound)
            (LIPSCHITZ_EVERY * weights.lipschitz * terms["lipschitz"]).backward()
        processes.average_gradients(vae.decoder)
        nn.utils.clip_grad_norm_(vae.decoder.parameters(), 200.0)
        decoder_optimizer.step()
        return {name: term.item() for name, term in terms.items()}

    def validate() -> dict[str, float]:
        made = reconstructions(vae, validation.pixels)
        error = ((made.astype(np.float32) - validation.pixels) / 255) ** 2
        return {
            "loss": frechet_distance(real_features, pooled_features(teacher, made)),
            "squared error": float(error.sum(axis=(1, 2, 3)).mean()),
            "gradient share": mean_gradient(made) / real_gradient,
        }

    train(
        folder,
        schedule,
        {"vae": vae, "critic": critic},
        {"decoder optimizer": decoder_optimizer, "critic optimizer": critic_optimizer},
        step,
        validate,
        every=92,
    )
    return vae.eval()


@torch.no_grad()
def reconstructions(vae: VAE, pixels: np.ndarray, batch: int = 256) -> np.ndarray:
    """Each image encoded and its posterior mean decoded; uint8 [N, 64, 64, 3] to the same."""
    vae.eval()

    def made(own: np.ndarray) -> Tensor:
        parts = []
        for begin in range(0, len(own), batch):
            with mixed_precision():
                mean, _ = vae.encoder(to_input(torch.from_numpy(own[begin : begin + batch]).to(accelerator())))
                parts.append(to_stored(vae.decoder(mean).float()).contiguous().cpu())
        return torch.cat(parts)

    return processes.shared_out(made, pixels).numpy()


@torch.no_grad()
def pooled_features(teacher: Teacher, pixels: np.ndarray, batch: int = 256) -> np.ndarray:
    """The teacher's last features, averaged over the image: float32 [N, channels] for uint8 [N, H, W, 3]."""
    teacher.eval()

    def features(own: np.ndarray) -> Tensor:
        parts = []
        for begin in range(0, len(own), batch):
            with mixed_precision():
                part = to_input(torch.from_numpy(own[begin : begin + batch]).to(accelerator()))
                last = teacher.features(part, len(teacher.stages))[-1]
            parts.append(last.float().mean(dim=(2, 3)).cpu())
        return torch.cat(parts)

    return processes.shared_out(features, pixels).numpy()
