"""The whole recipe, part by part; each part is a resumable run in the output folder.

``settings.json`` in that folder says once what is trained on what; every later command reads it there.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch

from export.datasets import celeba, folder
from export.datasets.labelled import PARTITIONS, TRAIN, VALID, LabelledImages
from export.flow import train_flow
from export.latents import Posteriors, encode, encode_views
from export.networks.blocks import multiply_adds
from export.networks.vae import SIDE
from export.pack import (
    Attribute,
    Origin,
    check_target,
    check_writable,
    write_bundle,
)
from export.public_latents import draw, memorisation
from export.realism import mean_gradient
from export.sharpen import sharpen
from export.to_onnx import as_exported, decoder_graph, differences, encoder_graph
from export.train import VAE, halves, train_teachers, train_vae
from privsdk.arrays import pack as pack_arrays
from privsdk.arrays import unpack as unpack_arrays
from privsdk.auditing.metrics import calibration_error
from privsdk.bundle import UNKNOWN_GAP
from privsdk.codec import Codec
from privsdk.errors import TrainingDataError
from privsdk.filters.code import Moments
from privsdk.filters.couplings import PublicFlow
from privsdk.filters.joint_scores import JointScores
from privsdk.filters.scores import ScoreNetwork, clipped
from privsdk.fitting.classifiers import train_scores
from privsdk.store.folder import write_atomically

LABEL_SEED = 20_261_123
MOMENT_DRAWS = 4
VIEWS = 5
HALVED = ("weight_1", "weight_2", "weight_3")

CELEBA_TERMS = (
    "research use only: trained on CelebA, whose images are for non-commercial research and may not be redistributed"
)
OWN_TERMS = "as the terms of the images that it was trained on allow"


@dataclass(frozen=True)
class Settings:
    """What is trained on what.  ``labels`` is empty for the CelebA layout.

    ``digests`` are those of the label files by their names: the images that a run keeps have the labels of its begin.
    """

    data: str
    labels: str
    digests: dict[str, str]
    latent: int
    teacher_epochs: int
    epochs: float
    sharpen_epochs: float
    flow_steps: int
    public_latents: int
    seed: int
    network: str = "residual"

    def check(self, out: Path) -> None:
        """Looks whether a run with these settings can begin in ``out``, or go on there.

        Raises TrainingDataError if it holds a run with other settings, or one whose labels were edited since, which is
        not mixed with this one; UsageError if it cannot be written.
        """
        check_writable(out)
        path = out / "settings.json"
        if not path.exists():
            if (out / "images.npz").exists():
                raise TrainingDataError(f"{out} holds images without {path}, of another version: give another --out")
            return
        begun = Settings.load(out)
        if replace(self, digests=begun.digests) != begun:
            raise TrainingDataError(
                f"{out} holds a run with other settings ({path}); give another --out, or the same settings to resume"
            )
        edited = {name for name, _ in self.digests.items() ^ begun.digests.items()}
        if edited:
            raise TrainingDataError(
                f"{', '.join(sorted(edited))} changed since the run in {out} was begun, which keeps the labels as they "
                "were; give another --out"
            )

    def save(self, out: Path) -> None:
        """Write ``settings.json``."""
        out.mkdir(parents=True, exist_ok=True)
        write_atomically(out / "settings.json", json.dumps(asdict(self), indent=1).encode() + b"\n")

    @classmethod
    def load(cls, out: Path) -> Settings:
        """The settings of the run in ``out``."""
        path = out / "settings.json"
        if not path.is_file():
            raise TrainingDataError(f"{path} is missing: run `python -m export train faces --out {out}` first")
        try:
            settings = cls(**json.loads(path.read_text()))
            dict(settings.digests)  # raises where it is none
            return settings
        except (TypeError, ValueError) as error:
            raise TrainingDataError(f"{path} is of another version, or damaged: give another --out") from error

    def images(self, out: Path) -> LabelledImages:
        """The images: read once, and then kept in ``out`` as the samples that they became, beside these settings."""
        kept = out / "images.npz"
        if not kept.is_file():
            data = Path(self.data)
            images = folder.load(data, Path(self.labels)) if self.labels else celeba.load(data)
            for partition in PARTITIONS.values():
                images.part(partition)
            # What cannot be trained on is refused before anything is kept.
            halves(images.part(TRAIN))
            shown = images.part(VALID).pixels
            if len(shown) < 2 or not mean_gradient(shown):
                raise TrainingDataError(
                    "the valid partition holds one image, or images of one flat colour alone, which nothing can be "
                    "compared with; put two images into it at least, and some that show something"
                )
            self.save(out)  # first, so that no images are ever there without what they were made of
            images.save(kept)
        return LabelledImages.load(kept)


def train_networks(settings: Settings, images: LabelledImages, out: Path) -> VAE:
    """Teachers, VAE and sharpened decoder; each resumes, or is loaded where it is finished."""
    teacher, taught = train_teachers(images, out / "teachers", settings.teacher_epochs, seed=settings.seed)
    torch.manual_seed(settings.seed)
    vae = VAE(settings.latent, len(images.attributes), settings.network)
    vae = train_vae(images, teacher, taught, vae, out / "vae", settings.epochs, seed=settings.seed)
    return sharpen(images, teacher, vae, out / "sharpen", settings.sharpen_epochs, seed=settings.seed)


def trained(settings: Settings, images: LabelledImages, out: Path) -> VAE:
    """The finished VAE of the run in ``out``, its weights rounded as the graphs carry them."""
    best = out / "sharpen" / "best.pt"
    if not best.is_file():
        raise TrainingDataError(f"{best} is missing: run `python -m export train faces --out {out}` first")
    vae = VAE(settings.latent, len(images.attributes), settings.network)
    vae.load_state_dict(torch.load(best, weights_only=True, map_location="cpu")["vae"])
    return as_exported(vae)


def write_graphs(settings: Settings, images: LabelledImages, out: Path) -> tuple[dict[str, bytes], dict[str, float]]:
    """``encoder.onnx`` and ``decoder.onnx`` in ``out``, and how far they are from torch on 1,000 images."""
    vae = trained(settings, images, out)
    graphs = {"encoder.onnx": encoder_graph(vae), "decoder.onnx": decoder_graph(vae)}
    compared = differences(vae, graphs, images.part(VALID).pixels[:1000])
    for name, graph in graphs.items():
        (out / name).write_bytes(graph)
    return graphs, compared


def train_public_flow(settings: Settings, images: LabelledImages, out: Path) -> None:
    """``flow.safetensors``: g, on latents of the training photos as they are and slightly moved."""
    codec = graphs_codec(settings, images, out)
    training = training_views(settings, images, out)
    validation = encode(codec, images.part(VALID).pixels)
    flow, figures = train_flow(training, validation, out / "flow", settings.flow_steps, seed=settings.seed)
    keep_flow(flow, figures, out / "flow.safetensors")


def keep_flow(flow: PublicFlow, figures: Mapping[str, float], path: Path) -> None:
    """Write the public flow as a bundle carries it, most of its weights in half precision.

    All that follows is learned behind the weights as they are read from there.
    """
    arrays = {name: array.astype(np.float16) if name in HALVED else array for name, array in flow.arrays().items()}
    write_atomically(path, pack_arrays(arrays, figures))


def training_views(settings: Settings, images: LabelledImages, out: Path) -> Posteriors:
    """Latents of the training photos as they are and ``VIEWS`` times slightly moved; kept in ``views.npz``."""
    kept = out / "views.npz"
    if not kept.is_file():
        codec = graphs_codec(settings, images, out)
        views = encode_views(codec, images.part(TRAIN).pixels, VIEWS, seed=settings.seed)
        partial = kept.with_suffix(".partial.npz")
        np.savez(partial, mean=views.mean, variance=views.variance)
        os.replace(partial, kept)
    with np.load(kept) as stored:
        return Posteriors(stored["mean"], stored["variance"])


def public_flow(settings: Settings, images: LabelledImages, out: Path) -> tuple[PublicFlow, dict[str, float]]:
    """The public flow of the run in ``out`` and its figures on the valid partition; trained if it is not there yet."""
    stored = out / "flow.safetensors"
    if not stored.is_file():
        train_public_flow(settings, images, out)
    arrays, figures = unpack_arrays(stored.read_bytes())
    return PublicFlow.from_arrays(arrays), figures


def graphs_codec(settings: Settings, images: LabelledImages, out: Path) -> Codec:
    """The exported graphs of the run in ``out``, written if they are not there yet."""
    names = ("encoder.onnx", "decoder.onnx")
    if not all((out / name).is_file() for name in names):
        write_graphs(settings, images, out)
    encoder, decoder = ((out / name).read_bytes() for name in names)
    return Codec(encoder, decoder, VAE.sample_shape, settings.latent, threads=2)


def pack(settings: Settings, images: LabelledImages, out: Path, bundle: Path) -> None:
    """Write the bundle: graphs, scores, public flow and public latents; its gaps are not known yet."""
    check_target(bundle)
    vae = trained(settings, images, out)
    graphs, compared = write_graphs(settings, images, out)
    flow, flow_figures = public_flow(settings, images, out)
    training, validation = images.part(TRAIN), images.part(VALID)
    codec = graphs_codec(settings, images, out)
    seen, unseen = encode(codec, training.pixels), encode(codec, validation.pixels)
    views = training_views(settings, images, out)
    repeated = np.tile(training.labels, (1 + VIEWS, 1))
    scores = train_scores(views.mean, repeated, unseen.mean, validation.labels, flow.used, seed=settings.seed)
    public = draw(codec, flow, settings.public_latents, seed=settings.seed)
    files = {
        **graphs,
        "flow.safetensors": (out / "flow.safetensors").read_bytes(),
        **fitted_files(scores, flow, seen, public, seed=settings.seed),
    }
    said = scores.scores(unseen.mean)
    made = codec.decode(unseen.mean)
    error = ((made.astype(np.float32) - validation.pixels) / 255) ** 2
    quality = {
        "encoder multiply-adds": multiply_adds(vae.encoder, torch.zeros(1, 3, SIDE, SIDE)),
        "decoder multiply-adds": multiply_adds(vae.decoder, torch.zeros(1, settings.latent)),
        "squared error of a reconstruction": float(error.sum(axis=(1, 2, 3)).mean()),
        "pixel gradient against real images": mean_gradient(made) / mean_gradient(validation.pixels),
        "mean attribute accuracy": float(((said > 0) == validation.labels).mean()),
        "squared norm of g(z) over its dimension": flow_figures["squared norm share"],
        **compared,
        **{f"memorisation: {k}": v for k, v in memorisation(seen.mean, unseen.mean, public.mean).items()},
    }
    write_bundle(
        bundle,
        bundle.name,
        "images" if settings.labels else "faces",
        vae.sample_shape,
        settings.latent,
        attributes_of(images.attributes, training.labels, validation.labels, said),
        {},
        Origin(
            data="a folder of images" if settings.labels else "CelebA (faces found and aligned anew, 64x64)",
            terms=OWN_TERMS if settings.labels else CELEBA_TERMS,
            samples=len(training),
            people=len(np.unique(training.identity)),
        ),
        quality,
        files,
    )


def fitted_files(
    scores: ScoreNetwork, flow: PublicFlow, people: Posteriors, public: Posteriors, seed: int
) -> dict[str, bytes]:
    """The files of scores, public latents, and averages over the training ``people``, by name."""
    moments = moments_of(people, flow, scores, seed)
    joint_scores = JointScores.of(clipped(scores.scores(people.mean)))
    latents = {"mean": public.mean.astype(np.float16), "log_variance": np.log(public.variance).astype(np.float16)}
    return {
        "scores.safetensors": pack_arrays(scores.arrays(), {}),
        "moments.safetensors": pack_arrays(moments.arrays(), {}),
        "joint_scores.safetensors": pack_arrays(joint_scores.arrays(), {}),
        "public_latents.safetensors": pack_arrays(latents, {"seed": LABEL_SEED}),
    }


def attributes_of(names: Sequence[str], seen: np.ndarray, unseen: np.ndarray, said: np.ndarray) -> list[Attribute]:
    """What the manifest says of attributes with labels ``seen`` in the train partition, ``unseen`` in the valid one.

    ``said`` are the scores of the latter, float32 [N, A].  No gap is known yet.
    """
    return [
        Attribute(
            name,
            base_rate=float(seen[:, i].mean()),
            accuracy=float(((said[:, i] > 0) == unseen[:, i]).mean()),
            calibration_error=calibration_error(unseen[:, i], said[:, i]),
            gap=UNKNOWN_GAP,
            gap_measured=False,
        )
        for i, name in enumerate(names)
    ]


def moments_of(people: Posteriors, flow: PublicFlow, scores: ScoreNetwork, seed: int) -> Moments:
    """The moments of posterior samples of ``people``."""
    rng = np.random.default_rng(seed)
    spread = np.sqrt(people.variance)
    drawn = [
        flow.forward(people.mean + spread * rng.standard_normal(spread.shape, np.float32)) for _ in range(MOMENT_DRAWS)
    ]
    return Moments.of(np.concatenate(drawn), np.tile(clipped(scores.scores(people.mean)), (MOMENT_DRAWS, 1)))
