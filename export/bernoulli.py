"""The recipe for digits and for rows of a table: a small VAE of Bernoulli variables, and a bundle of it.

Like that of faces, without teachers, critic and moved copies.  Each training is a resumable run in the output folder;
``settings.json`` there says what is trained on what.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import nn

from export.datasets import adult, mnist
from export.datasets.labelled import TEST, TRAIN, VALID, LabelledSamples
from export.datasets.reading import digests
from export.flow import Shape, posterior_sample, train_flow
from export.latents import Posteriors, encode
from export.loop import Schedule, train
from export.losses import attribute_loss, cross_entropy, divergence_from_prior
from export.networks.bernoulli import BernoulliVAE, DigitVAE, TableVAE
from export.networks.blocks import multiply_adds
from export.pack import Origin, check_target, check_writable, write_bundle
from export.public_latents import draw_samples, memorisation, separability
from export.recipe import attributes_of, fitted_files, keep_flow
from export.to_onnx import as_exported, decoder_graph, differences, encoder_graph
from privsdk.arrays import unpack
from privsdk.auditing.metrics import auroc
from privsdk.codec import Codec
from privsdk.errors import TrainingDataError
from privsdk.filters.couplings import PublicFlow
from privsdk.fitting.classifiers import train_scores
from privsdk.store.folder import write_atomically


@dataclass(frozen=True)
class Plan:
    """How one kind of sample is trained on.

    ``network`` is called with the sizes of the latent and of the attributes.  ``divergence`` and ``heads`` weigh the KL
    divergence and the attribute heads against the reconstruction.  ``people`` is how many the training samples come
    from, None where each is of somebody else.
    """

    load: Callable[[Path], LabelledSamples]
    files: tuple[str, ...]
    network: Callable[[int, int], BernoulliVAE]
    latent: int
    batch: int
    divergence: float
    heads: float
    flow: Shape
    data: str
    terms: str
    people: int | None


PLANS: Mapping[str, Plan] = {
    "digits": Plan(
        load=mnist.load,
        files=mnist.FILES,
        network=DigitVAE,
        latent=10,
        batch=128,
        divergence=1.0,
        heads=12.0,
        flow=Shape(couplings=12, width=128, noise=0.04, weight_decay=0.3),
        data="MNIST",
        terms="CC BY-SA 3.0: trained on MNIST (Y. LeCun, C. Cortes, C. Burges)",
        people=250,  # about as many wrote the training file
    ),
    "table": Plan(
        load=adult.load,
        files=adult.FILES,
        network=partial(TableVAE, sizes=adult.SIZES),
        latent=30,
        batch=128,
        divergence=0.25,
        heads=5.0,
        flow=Shape(couplings=12, width=128, noise=0.04, weight_decay=0.3),
        data="UCI Adult",
        terms="CC BY 4.0: trained on UCI Adult (B. Becker, R. Kohavi)",
        people=None,
    ),
}


@dataclass(frozen=True)
class Settings:
    """What is trained on what.  ``digests`` are those of the data set's files by their names."""

    kind: str
    data: str
    digests: dict[str, str]
    epochs: float
    flow_steps: int
    public_latents: int
    seed: int

    @classmethod
    def of(cls, kind: str, data: Path, epochs: float, flow_steps: int, public_latents: int, seed: int) -> Settings:
        """Settings for the data set in the folder ``data`` as it is now."""
        files = digests(data / name for name in PLANS[kind].files)
        return cls(kind, str(data), files, epochs, flow_steps, public_latents, seed)

    @classmethod
    def load(cls, out: Path) -> Settings:
        """The settings of the run in ``out``; raises TrainingDataError where they are of another kind or damaged."""
        try:
            return cls(**json.loads((out / "settings.json").read_bytes()))
        except (ValueError, TypeError) as error:
            raise TrainingDataError(f"{out} holds no run of digits or rows: give its --out") from error

    def samples(self) -> LabelledSamples:
        """The data set as it is now; raises TrainingDataError where it is another than the run was begun with."""
        plan = PLANS[self.kind]
        if digests(Path(self.data) / name for name in plan.files) != self.digests:
            raise TrainingDataError(f"{self.data} changed since the run was begun: get the same files again")
        return plan.load(Path(self.data))

    def begin(self, out: Path) -> None:
        """Begins a run in ``out``, or finds the one that was begun there with these settings.

        Raises TrainingDataError if it holds another run, which is not mixed with this one; UsageError if it cannot be
        written.
        """
        check_writable(out)
        out.mkdir(parents=True, exist_ok=True)
        path, own = out / "settings.json", json.dumps(asdict(self), indent=1).encode() + b"\n"
        if not path.exists():
            write_atomically(path, own)
        elif path.read_bytes() != own:
            raise TrainingDataError(
                f"{out} holds a run with other settings or data ({path}); give another --out, or the same to resume"
            )


def run(settings: Settings, out: Path, bundle: Path) -> dict[str, float]:
    """Train what is not trained yet in ``out``, and write the bundle.

    Returns how well its scores tell each attribute on the test partition, where nothing was chosen.
    """
    check_target(bundle)
    plan = PLANS[settings.kind]
    samples = settings.samples()
    settings.begin(out)
    training, validation, test = (samples.part(partition) for partition in (TRAIN, VALID, TEST))
    vae = as_exported(train_vae(plan, training, validation, out / "vae", settings.epochs, settings.seed))
    graphs = {"encoder.onnx": encoder_graph(vae), "decoder.onnx": decoder_graph(vae)}
    compared = differences(vae, graphs, validation.samples[:1000])
    codec = Codec(graphs["encoder.onnx"], graphs["decoder.onnx"], vae.sample_shape, plan.latent, threads=1)
    seen, unseen = encode(codec, training.samples), encode(codec, validation.samples)
    if seen.used.sum() < 2:
        raise TrainingDataError(
            f"the encoder uses {seen.used.sum()} latent dimensions, too few for a public flow; give more --epochs"
        )
    flow, flow_figures = public_flow(plan, seen, unseen, out, settings)
    scores = train_scores(seen.mean, training.labels, unseen.mean, validation.labels, flow.used, seed=settings.seed)
    generator = torch.Generator().manual_seed(settings.seed)

    @torch.no_grad()
    def decode(z: np.ndarray) -> np.ndarray:
        return vae.drawn(vae.decoder(torch.from_numpy(z)), generator).numpy()

    public = draw_samples(codec, decode, flow, settings.public_latents, seed=settings.seed)
    said = scores.scores(unseen.mean)
    real, made = posterior_sample(unseen, seed=1), posterior_sample(public, seed=2)
    apart = separability(real[:, flow.used], made[:, flow.used], seed=settings.seed)
    quality = {
        "encoder multiply-adds": multiply_adds(vae.encoder, torch.zeros(1, *vae.sample_shape)),
        "decoder multiply-adds": multiply_adds(vae.decoder, torch.zeros(1, plan.latent)),
        "used dimensions": int(flow.used.sum()),
        "mean attribute accuracy": float(((said > 0) == validation.labels).mean()),
        "squared norm of g(z) over its dimension": flow_figures["squared norm share"],
        **{f"AUROC, public latents against people's: {k}": v for k, v in apart.items()},
        **compared,
        **{f"memorisation: {k}": v for k, v in memorisation(seen.mean, unseen.mean, public.mean).items()},
    }
    write_bundle(
        bundle,
        bundle.name,
        settings.kind,
        vae.sample_shape,
        plan.latent,
        attributes_of(samples.attributes, training.labels, validation.labels, said),
        samples.groups,
        Origin(plan.data, plan.terms, samples=len(training), people=plan.people or len(training)),
        quality,
        {
            **graphs,
            "flow.safetensors": (out / "flow.safetensors").read_bytes(),
            **fitted_files(scores, flow, seen, public, seed=settings.seed),
        },
        samples.table,
    )
    told = scores.scores(encode(codec, test.samples).mean)
    figures: dict[str, float] = {}
    for name, score, truth in zip(samples.attributes, told.T, test.labels.T, strict=True):
        figures[f"{name}, accuracy"] = float(((score > 0) == truth).mean())
        figures[f"{name}, AUROC"] = float(auroc(truth, score))
    for group, members in samples.groups.items():
        columns = [samples.attributes.index(name) for name in members]
        figures[f"{group}, accuracy"] = float((told[:, columns].argmax(1) == test.labels[:, columns].argmax(1)).mean())
    return figures


def train_vae(
    plan: Plan, training: LabelledSamples, validation: LabelledSamples, folder: Path, epochs: float, seed: int
) -> BernoulliVAE:
    """Train encoder, decoder and heads together; returns the best on the valid partition, in evaluation mode."""
    torch.manual_seed(seed)
    vae = plan.network(plan.latent, len(training.attributes))
    batch = min(plan.batch, len(training))
    steps = max(1, int(epochs * (len(training) // batch)))
    schedule = Schedule(len(training), batch, steps, peak=2e-3, warmup=0.03, seed=seed)
    optimizer = torch.optim.AdamW(vae.parameters(), weight_decay=0.01)
    samples, labels = torch.from_numpy(training.samples), torch.from_numpy(training.labels).float()

    def step(number: int, rows: np.ndarray) -> dict[str, float]:
        x = vae.to_input(samples[rows])
        mean, log_variance = vae.encoder(x)
        z = mean + (0.5 * log_variance).exp() * torch.randn_like(mean)
        terms = {
            "cross-entropy": cross_entropy(x, vae.decoder(z)),
            "divergence": divergence_from_prior(mean, log_variance),
            "attributes": attribute_loss(vae.heads(mean), labels[rows]),
        }
        loss = terms["cross-entropy"] + plan.divergence * terms["divergence"] + plan.heads * terms["attributes"]
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(vae.parameters(), 100.0)
        optimizer.step()
        return {name: term.item() for name, term in terms.items()}

    @torch.no_grad()
    def validate() -> dict[str, float]:
        x = vae.to_input(torch.from_numpy(validation.samples))
        truth = torch.from_numpy(validation.labels).float()
        mean, log_variance = vae.encoder(x)
        reconstruction = cross_entropy(x, vae.decoder(mean)).item()
        divergence = divergence_from_prior(mean, log_variance).item()
        logits = vae.heads(mean)
        loss = reconstruction + plan.divergence * divergence + plan.heads * attribute_loss(logits, truth).item()
        accuracy = ((logits > 0) == (truth > 0)).float().mean().item()
        return {"loss": loss, "cross-entropy": reconstruction, "divergence": divergence, "accuracy": accuracy}

    train(folder, schedule, {"vae": vae}, {"optimizer": optimizer}, step, validate, every=len(training) // batch)
    return vae.eval()


def public_flow(
    plan: Plan, seen: Posteriors, unseen: Posteriors, out: Path, settings: Settings
) -> tuple[PublicFlow, dict[str, float]]:
    """g and its figures on the valid partition; trained where ``out`` has none yet."""
    path = out / "flow.safetensors"
    if not path.is_file():
        keep_flow(*train_flow(seen, unseen, out / "flow", settings.flow_steps, plan.flow, seed=settings.seed), path)
    arrays, figures = unpack(path.read_bytes())
    return PublicFlow.from_arrays(arrays), figures
