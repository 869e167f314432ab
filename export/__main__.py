"""``python -m export``: the central trainer's command line."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from export import bernoulli, int8, processes, steps
from export.datasets import celeba, download
from export.datasets.labelled import VALID
from export.datasets.reading import digests
from export.gaps import add_gaps
from export.pack import check_target, sign, signing_key
from export.recipe import Settings, pack, train_networks, train_public_flow, write_graphs
from privsdk.errors import PrivsdkError, UsageError
from privsdk.progress import ProgressText

app = typer.Typer(help=__doc__, no_args_is_help=True, pretty_exceptions_enable=False)
train_app = typer.Typer(help="Train a part; a killed run goes on where it stopped.", no_args_is_help=True)
app.add_typer(train_app, name="train")
recipe_app = typer.Typer(help="Everything, from images to a bundle.", no_args_is_help=True)
app.add_typer(recipe_app, name="recipe")


def finite(value: float) -> float:
    """An option's value; nan passes a range."""
    if not math.isfinite(value):
        raise typer.BadParameter(f"{value} is no number of passes")
    return value


Data = Annotated[
    Path, typer.Option(resolve_path=True, help="Folder in the official CelebA layout, or a folder of images.")
]
Digits = Annotated[Path, typer.Option("--data", resolve_path=True, help="Folder of MNIST's four idx files (gzip).")]
Rows = Annotated[Path, typer.Option("--data", resolve_path=True, help="Folder of adult.data and adult.test.")]
Labels = Annotated[
    Path, typer.Option(resolve_path=True, help="CSV: file, optional partition and identity, a column an attribute.")
]
Out = Annotated[Path, typer.Option(resolve_path=True, help="Folder of the run: checkpoints, logs, curves.")]
Target = Annotated[
    Path, typer.Option("--bundle", resolve_path=True, help="Folder to write the bundle to; its name is the bundle's.")
]
Key = Annotated[Path, typer.Option(resolve_path=True, help="PEM file of an Ed25519 private key.")]
Of = Annotated[str, typer.Option(help="Attributes with commas between; all without it, half a minute each.")]
Latent = Annotated[int, typer.Option(min=1, help="Size of the latent.")]
TeacherEpochs = Annotated[int, typer.Option(min=0, help="Passes over the images for each of the two teachers.")]
Epochs = Annotated[float, typer.Option(min=0, callback=finite, help="Passes over the images for encoder and decoder.")]
SharpenEpochs = Annotated[
    float, typer.Option(min=0, callback=finite, help="Further passes for the decoder alone, against a critic.")
]
FlowSteps = Annotated[int, typer.Option(min=1, help="Steps for the public flow.")]
PublicLatents = Annotated[int, typer.Option(min=1000, help="How many public latents the bundle carries.")]
Seed = Annotated[int, typer.Option(min=0, max=2**32 - 1, help="The same seed repeats the run.")]
Network = Annotated[
    Literal["residual", "dense"],
    typer.Option(help="Encoder and decoder: ours, or the paper's own, which is twelve times as large and wants a GPU."),
]


@app.callback()
def one_process_but_for_networks(context: typer.Context) -> None:
    """Raises UsageError where torchrun has started several processes for what one does."""
    if context.invoked_subcommand != "train":
        check_alone()


def check_alone() -> None:
    """Raises UsageError where there are other processes, which would all do the same."""
    if processes.count() > 1:
        raise UsageError("several processes train networks alone (train faces, train folder): do this without torchrun")


@app.command("download")
def download_data(
    name: Annotated[Literal["mnist", "adult"], typer.Argument(help="The data set.")],
    data: Annotated[Path, typer.Option(resolve_path=True, help="Folder to put its files into.")],
) -> None:
    """MNIST or UCI Adult, from where it is published; a download that broke off goes on."""
    progress = ProgressText()
    try:
        print(*download.download(download.DATA_SETS[name], data, progress), sep="\n")
    finally:
        progress.close()


@train_app.command("faces")
def train_faces(
    data: Data,
    out: Out,
    latent: Latent = 50,
    teacher_epochs: TeacherEpochs = 11,
    epochs: Epochs = 24,
    sharpen_epochs: SharpenEpochs = 4,
    flow_steps: FlowSteps = 2000,
    public_latents: PublicLatents = 18_000,
    seed: Seed = 0,
    network: Network = "residual",
) -> None:
    """Teachers, encoder and decoder on images in the official CelebA layout."""
    lengths = latent, teacher_epochs, epochs, sharpen_epochs, flow_steps, public_latents, seed, network
    begin(Settings(str(data), "", digests(data / name for name in celeba.LISTS), *lengths), out)


@train_app.command("folder")
def train_folder(
    data: Data,
    labels: Labels,
    out: Out,
    latent: Latent = 50,
    teacher_epochs: TeacherEpochs = 11,
    epochs: Epochs = 24,
    sharpen_epochs: SharpenEpochs = 4,
    flow_steps: FlowSteps = 2000,
    public_latents: PublicLatents = 18_000,
    seed: Seed = 0,
    network: Network = "residual",
) -> None:
    """Teachers, encoder and decoder on a folder of anybody's images."""
    lengths = latent, teacher_epochs, epochs, sharpen_epochs, flow_steps, public_latents, seed, network
    begin(Settings(str(data), str(labels), digests([labels]), *lengths), out)


def begin(settings: Settings, out: Path) -> None:
    """Train the networks of a run in ``out``, or go on with one that was begun with these settings."""
    settings.check(out)
    if processes.is_first():
        settings.images(out)  # read, and kept for all
    processes.wait()
    train_networks(settings, settings.images(out), out)


@train_app.command("flow")
def train_flow(out: Out) -> None:
    """The public flow, on posterior samples of the training people of a finished run."""
    check_alone()
    settings = Settings.load(out)
    train_public_flow(settings, settings.images(out), out)


@app.command("onnx")
def onnx(out: Out) -> None:
    """encoder.onnx and decoder.onnx of a finished run, compared with torch on 1,000 of its valid images."""
    settings = Settings.load(out)
    _, compared = write_graphs(settings, settings.images(out), out)
    for what, value in compared.items():
        print(f"{what}: {value:.2g}")


@app.command("int8")
def int8_bundle(
    data: Data,
    bundle: Annotated[Path, typer.Option(resolve_path=True, help="The bundle that it is made of.")],
    target: Annotated[
        Path, typer.Option("--output", resolve_path=True, help="Folder to write the other to; its name is its own.")
    ],
) -> None:
    """A bundle whose encoder computes in whole numbers, calibrated on CelebA's valid partition."""
    check_target(target)
    images = celeba.load(data)
    int8.write_int8(bundle, images.pixels[images.partition == VALID], target)
    before, after = ((folder / "encoder.onnx").stat().st_size for folder in (bundle, target))
    print(f"{target}: an encoder of {after:,} bytes for one of {before:,}")


@app.command("pack")
def pack_bundle(
    out: Out,
    bundle: Target,
    key: Annotated[
        Path | None, typer.Option("--sign", resolve_path=True, help="Sign it with the Ed25519 key in this PEM file.")
    ] = None,
) -> None:
    """A bundle of a finished run; `gaps` completes it, and leaves it to be signed again."""
    private_key = None if key is None else signing_key(key)
    settings = Settings.load(out)
    pack(settings, settings.images(out), out, bundle)
    if private_key is not None:
        print(sign(bundle, private_key))


@app.command("steps")
def training_steps(
    folder: Annotated[
        Path,
        typer.Option(
            exists=True,
            file_okay=False,
            resolve_path=True,
            help="Where they go; files there of those names are replaced.",
        ),
    ] = Path("privsdk/fitting/engines/steps"),
) -> None:
    """Training steps as graphs, by which devices without torch fit; they are a part of privsdk, not of a bundle."""
    for path in steps.write(folder):
        print(f"{path}: {path.stat().st_size:,} bytes")


@app.command("sign")
def sign_bundle_or_file(
    signed: Annotated[
        str, typer.Argument(metavar="BUNDLE|PRIVATIZER", help="A bundle's folder, or a privatizer file.")
    ],
    key: Key,
) -> None:
    """Sign a bundle, or a privatizer, for `privsdk verify --public-key`."""
    print(sign(signed, signing_key(key)))


@app.command("gaps")
def measure_gaps(out: Out, bundle: Target, of: Of = "") -> None:
    """Measure how much more leaks on held-out real images than on public latents, and write it into the bundle."""
    data = bernoulli.Settings.load(out).samples() if is_of_rows(out) else Settings.load(out).images(out)
    add_gaps(data, bundle, [name for name in of.split(",") if name])


def is_of_rows(out: Path) -> bool:
    """Whether the run there is one of digits or of rows of a table."""
    try:
        return "kind" in json.loads((out / "settings.json").read_bytes())
    except (OSError, ValueError):
        return False  # what is wrong with it the other kind of run says


@recipe_app.command("faces")
def recipe_faces(data: Data, out: Out, bundle: Target = Path("models/faces")) -> None:
    """Train on the official CelebA layout and pack the bundle."""
    check_target(bundle)
    train_faces(data, out)
    pack_bundle(out, bundle)
    measure_gaps(out, bundle)


@recipe_app.command("folder")
def recipe_folder(data: Data, labels: Labels, out: Out, bundle: Target) -> None:
    """Train on a folder of images and pack the bundle."""
    check_target(bundle)
    train_folder(data, labels, out)
    pack_bundle(out, bundle)
    measure_gaps(out, bundle)


@recipe_app.command("digits")
def recipe_digits(
    data: Digits,
    out: Out,
    bundle: Target = Path("models/mnist"),
    epochs: Epochs = 24,
    flow_steps: FlowSteps = 4000,
    public_latents: PublicLatents = 12_000,
    seed: Seed = 0,
) -> None:
    """Train on MNIST and pack the bundle."""
    small_recipe("digits", data, out, bundle, epochs, flow_steps, public_latents, seed)


@recipe_app.command("table")
def recipe_table(
    data: Rows,
    out: Out,
    bundle: Target = Path("models/adult"),
    epochs: Epochs = 20,
    flow_steps: FlowSteps = 4000,
    public_latents: PublicLatents = 12_000,
    seed: Seed = 0,
) -> None:
    """Train on UCI Adult and pack the bundle."""
    small_recipe("table", data, out, bundle, epochs, flow_steps, public_latents, seed)


def small_recipe(
    kind: str, data: Path, out: Path, bundle: Path, epochs: float, flow_steps: int, public_latents: int, seed: int
) -> None:
    """A bundle of digits or rows, and what its scores tell on the test partition."""
    settings = bernoulli.Settings.of(kind, data, epochs, flow_steps, public_latents, seed)
    for what, value in bernoulli.run(settings, out, bundle).items():
        print(f"{what}: {value:.4f}")
    measure_gaps(out, bundle)


def main() -> None:
    """Run a command; what it cannot use is one line on stderr, and an exit code."""
    try:
        app()
    except PrivsdkError as error:
        print(f"export: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except OSError as error:
        print(f"export: {error}; change the permissions, make room, or give another path", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
