"""Training of the teacher and of the VAE, each as one resumable run."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from export import processes
from export.datasets.labelled import TRAIN, VALID, LabelledImages
from export.loop import Schedule, train
from export.losses import (
    FeatureMatching,
    attribute_loss,
    divergence_from_prior,
    lipschitz_penalty,
    squared_error,
)
from export.networks.blocks import to_input, to_stored
from export.networks.dense import DenseDecoder, DenseEncoder
from export.networks.teacher import Teacher
from export.networks.vae import SIDE, Decoder, Encoder
from export.processes import accelerator
from privsdk.errors import TrainingDataError


def mixed_precision() -> torch.autocast:
    """bfloat16 where it is safe: on a GPU, and three times as fast on a CPU that has the instructions.

    On one that has not it is emulated, ten times as slowly as float32, which is used there.
    """
    device = accelerator().type
    has_instructions = device == "cuda" or torch.backends.cpu.get_cpu_capability() not in ("DEFAULT", "AVX2")
    return torch.autocast(device, dtype=torch.bfloat16, enabled=has_instructions)


def jittered(x: Tensor) -> Tensor:
    """Mirrored at random, shifted by up to 3 pixels, brightness and colours changed; x float [N, 3, H, W]."""
    x = shifted(mirrored(x), most=3)
    light, colour, offset = (
        processes.drawn(torch.rand, len(x), each, 1, 1, device=x.device) - 0.5 for each in (1, 3, 1)
    )
    return (x * (1 + 0.3 * light + 0.1 * colour) + 0.2 * offset).clamp(0, 1)


def shifted(x: Tensor, most: int) -> Tensor:
    """x, float [N, 3, H, W], moved by up to ``most`` pixels, all by the same; edges are repeated."""
    side = x.shape[-1]
    down, right = torch.randint(0, 2 * most + 1, (2,)).tolist()
    padded = F.pad(x, (most, most, most, most), mode="replicate")
    return padded[:, :, down : down + side, right : right + side]


def mirrored(x: Tensor) -> Tensor:
    """Each image of x, float [N, 3, H, W], left as it is or mirrored, at random."""
    return torch.where(processes.drawn(torch.rand, len(x), 1, 1, 1, device=x.device) < 0.5, x, x.flip(3))


def halves(images: LabelledImages, seed: int = 0) -> np.ndarray:
    """Which half of the people each image belongs to: bool [N], all images of one person in one half.

    Raises TrainingDataError if only one person is shown.
    """
    people, number = np.unique(images.identity, return_inverse=True)
    if len(people) < 2:
        raise TrainingDataError("the train partition shows one person; training needs images of two at least")
    return (np.random.default_rng(seed).permutation(len(people)) < len(people) // 2)[number]


def train_teachers(images: LabelledImages, folder: Path, epochs: int = 11, seed: int = 0) -> tuple[Teacher, Tensor]:
    """Trains two teachers, each on half of the training people, and asks each about the half that it has not seen.

    Gives one of them, to compare reconstructions in, and what both said, float32 [N, attributes], probabilities for the
    training images.  What a network knows of people by heart it does not say of strangers, so an encoder that is taught
    by strangers' answers treats its own training people like anybody else.
    """
    training, validation = images.part(TRAIN), images.part(VALID)
    half = halves(training, seed)
    first = train_teacher(training[half], validation, folder / "first", epochs, seed=seed)
    second = train_teacher(training[~half], validation, folder / "second", epochs, seed=seed)
    taught = torch.empty(training.labels.shape)
    for teacher, unseen in ((first, ~half), (second, half)):
        pixels = training.pixels[unseen]
        logits = attribute_logits(teacher, pixels) + attribute_logits(teacher, pixels[:, :, ::-1].copy())
        taught[torch.from_numpy(unseen)] = torch.sigmoid(logits / 2)
    return first, taught


def train_teacher(
    training: LabelledImages,
    validation: LabelledImages,
    folder: Path,
    epochs: int = 11,
    batch: int = 128,
    seed: int = 0,
) -> Teacher:
    """Train one attribute network on pixels; returns it in evaluation mode."""
    batch = min(batch, len(training))
    torch.manual_seed(seed)
    device = accelerator()
    teacher = Teacher(len(training.attributes)).to(device, memory_format=torch.channels_last)
    steps = max(1, epochs * (len(training) // batch))
    schedule = Schedule(len(training), batch, steps, peak=2e-3, warmup=0.25, seed=seed)
    optimizer = torch.optim.AdamW(teacher.parameters(), weight_decay=0.02)
    pixels, labels = (torch.from_numpy(one).to(device) for one in (training.pixels, training.labels))

    def step(number: int, rows: np.ndarray) -> dict[str, float]:
        teacher.train()
        own = processes.share(rows)
        with mixed_precision():
            logits = teacher(jittered(to_input(pixels[own])))
        loss = F.binary_cross_entropy_with_logits(logits.float(), labels[own].float())
        optimizer.zero_grad()
        loss.backward()
        processes.average_gradients(teacher)
        nn.utils.clip_grad_norm_(teacher.parameters(), 5.0)
        optimizer.step()
        return {"loss": loss.item()}

    def validate() -> dict[str, float]:
        logits = attribute_logits(teacher, validation.pixels)
        truth = torch.from_numpy(validation.labels).float()
        accuracy = ((logits > 0) == (truth > 0)).float().mean().item()
        return {"loss": F.binary_cross_entropy_with_logits(logits, truth).item(), "accuracy": accuracy}

    figures = train(folder, schedule, {"teacher": teacher}, {"optimizer": optimizer}, step, validate, every=138)
    if processes.is_first():
        print(f"teacher: valid loss {figures['loss']:.4f}, mean accuracy {figures['accuracy']:.4f}", file=sys.stderr)
    return teacher.eval()


@torch.no_grad()
def attribute_logits(teacher: Teacher, pixels: np.ndarray, batch: int = 256) -> Tensor:
    """The teacher's logits, float32 [N, attributes], for uint8 [N, H, W, 3]."""
    teacher.eval()

    def logits(own: np.ndarray) -> Tensor:
        parts = []
        for begin in range(0, len(own), batch):
            with mixed_precision():
                part = torch.from_numpy(own[begin : begin + batch]).to(accelerator())
                parts.append(teacher(to_input(part)).float().cpu())
        return torch.cat(parts)

    return processes.shared_out(logits, pixels)


@dataclass(frozen=True)
class Weights:
    """How much each term of the VAE's loss counts; 0 leaves a term out.

    ``divergence`` holds for the first half of a training, ``last_divergence`` for the rest: begun with the small
    one, the latents do not spread out evenly; ended with the large one, the images stay coarse.  ``lipschitz`` counts
    what the decoder's rate of change exceeds ``lipschitz_bound`` by.
    """

    divergence: float = 0.25
    last_divergence: float = 0.1
    lipschitz: float = 0.5
    lipschitz_bound: float = 16.0
    attributes: float = 8.0
    features: float = 10.0


RECIPE = Weights()
LIPSCHITZ_EVERY = 8
LIPSCHITZ_ROWS = 16


def lipschitz_rows() -> int:
    """How many of the :data:`LIPSCHITZ_ROWS` are this process's."""
    return max(1, LIPSCHITZ_ROWS // processes.count())


NETWORKS: Mapping[str, tuple[type[Encoder | DenseEncoder], type[Decoder | DenseDecoder]]] = {
    "residual": (Encoder, Decoder),
    "dense": (DenseEncoder, DenseDecoder),
}


class VAE(nn.Module):
    """Encoder, decoder and the linear attribute heads that shape the latent mean while training.

    ``network`` is one of NETWORKS: "residual", our own, or "dense", the paper's.
    """

    sample_shape: tuple[int, ...] = (SIDE, SIDE, 3)
    to_input = staticmethod(to_input)
    to_samples = staticmethod(to_stored)

    def __init__(self, latent: int, attributes: int, network: str = "residual") -> None:
        super().__init__()
        encoder, decoder = NETWORKS[network]
        self.encoder, self.decoder = encoder(latent), decoder(latent)
        self.heads = nn.Linear(latent, attributes)


def train_vae(
    images: LabelledImages,
    teacher: Teacher | None,
    taught: Tensor | None,
    vae: VAE,
    folder: Path,
    epochs: float = 24,
    weights: Weights = RECIPE,
    batch: int = 96,
    seed: int = 0,
) -> VAE:
    """Train encoder and decoder together; returns the best on the valid partition, in evaluation mode.

    ``taught`` is float32 [N, attributes], what the attribute heads are to say of the N training images; ``teacher``
    is where reconstructions are compared.  Each is None where ``weights`` has nothing for it.
    """
    device = accelerator()
    training, validation = images.part(TRAIN), images.part(VALID)
    batch = min(batch, len(training))
    vae = vae.to(device, memory_format=torch.channels_last)
    schedule = Schedule(
        len(training), batch, max(1, int(epochs * (len(training) // batch))), peak=2e-3, warmup=0.03, seed=seed
    )
    optimizer = torch.optim.AdamW(vae.parameters(), weight_decay=0.01)
    pixels = torch.from_numpy(training.pixels).to(device)
    matching = FeatureMatching(teacher, to_input(pixels[:512])) if teacher is not None else None
    answers = taught.to(device) if taught is not None else None

    def step(number: int, rows: np.ndarray) -> dict[str, float]:
        vae.train()
        own = processes.share(rows)
        x = shifted(mirrored(to_input(pixels[own])), most=2)
        with mixed_precision():
            mean, log_variance = vae.encoder(x)
            noise = processes.drawn(torch.randn, *mean.shape, device=device)
            z = mean + (0.5 * log_variance).exp() * noise
            reconstructed = vae.decoder(z).float()
            # Half of the rows are enough for the features, which cost a third of a step.
            half = len(x) // 2
            features = matching(x[:half], reconstructed[:half]) if matching is not None and weights.features else None
        terms = {
            "squared error": squared_error(x, reconstructed),
            "divergence": divergence_from_prior(mean, log_variance),
        }
        early = number < 0.5 * schedule.steps
        divergence = weights.divergence if early else weights.last_divergence
        loss = terms["squared error"] + divergence * terms["divergence"]
        if answers is not None:
            terms["attributes"] = attribute_loss(vae.heads(mean), answers[own])
            loss = loss + weights.attributes * terms["attributes"]
        if features is not None:
            terms["features"] = features
            loss = loss + weights.features * features
        if weights.lipschitz and number % LIPSCHITZ_EVERY == 0:
            # The penalty costs three passes, so it is taken on some rows of some steps and weighs the more.
            terms["lipschitz"] = lipschitz_penalty(vae.decoder, z[: lipschitz_rows()], weights.lipschitz_bound)
            loss = loss + LIPSCHITZ_EVERY * weights.lipschitz * terms["lipschitz"]
        optimizer.zero_grad()
        loss.backward()
        processes.average_gradients(vae)
        nn.utils.clip_grad_norm_(vae.parameters(), 200.0)
        optimizer.step()
        return {name: term.item() for name, term in terms.items()}

    @torch.no_grad()
    def validate() -> dict[str, float]:
        vae.eval()
        error = divergence = cross_entropy = correct = 0.0
        seen, labels = processes.share(validation.pixels), processes.share(validation.labels)
        for begin in range(0, len(seen), 256):
            x = to_input(torch.from_numpy(seen[begin : begin + 256]).to(device))
            truth = torch.from_numpy(labels[begin : begin + 256]).to(device).float()
            with mixed_precision():
                mean, log_variance = vae.encoder(x)
                reconstructed = vae.decoder(mean).float().clamp(0, 1)
            logits = vae.heads(mean)
            share = len(x) / len(validation)
            error += share * squared_error(x, reconstructed).item()
            divergence += share * divergence_from_prior(mean, log_variance).item()
            cross_entropy += share * F.binary_cross_entropy_with_logits(logits, truth).item() * truth.shape[1]
            correct += share * ((logits > 0) == (truth > 0)).float().mean().item()
        loss = error + weights.last_divergence * divergence + weights.attributes * cross_entropy
        return processes.summed_figures(
            {"loss": loss, "squared error": error, "divergence": divergence, "accuracy": correct}
        )

    train(folder, schedule, {"vae": vae}, {"optimizer": optimizer}, step, validate, every=92)
    return vae.eval()
