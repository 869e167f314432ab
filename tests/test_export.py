"""The central trainer: what it reads and refuses, and that graphs equal torch."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image
from squares import FEW, write_squares

torch = pytest.importorskip("torch", reason="the central trainer needs the extra 'export'")

from export import losses, public_latents, realism, to_onnx  # noqa: E402
from export.__main__ import main  # noqa: E402
from export.datasets import celeba, folder  # noqa: E402
from export.datasets.labelled import TEST, TRAIN, VALID, LabelledImages, check_names  # noqa: E402
from export.datasets.reading import digests  # noqa: E402
from export.networks.blocks import multiply_adds  # noqa: E402
from export.networks.vae import Decoder, Encoder  # noqa: E402
from export.pack import Origin, check_replaceable, check_writable, write_bundle  # noqa: E402
from export.recipe import Settings  # noqa: E402
from export.train import VAE, halves  # noqa: E402
from privsdk.bundle import _are_attributes  # noqa: E402
from privsdk.codec import Codec  # noqa: E402
from privsdk.errors import OutputExistsError, TrainingDataError, UsageError  # noqa: E402
from privsdk.runtime import session  # noqa: E402
from privsdk.samples.faces import read_faces  # noqa: E402

ROOT = Path(__file__).parent.parent


@pytest.fixture
def refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """What ``python -m export`` says on stderr when it refuses these arguments, with exit code 2."""

    def run(*arguments: object) -> str:
        monkeypatch.setattr(sys, "argv", ["export", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            main()
        assert stopped.value.code == 2
        return " ".join(capsys.readouterr().err.replace("│", "").split())

    return run


def settings_of(data: Path, labels: Path) -> Settings:
    """The settings of `python -m export train folder` with its defaults."""
    return Settings(str(data), str(labels), digests([labels]), 50, 11, 24.0, 4.0, 2000, 18_000, 0)


def write_celeba(root: Path, size: tuple[int, int] = (178, 218), count: int = 6) -> Path:
    """A data set in the official layout of portraits of nobody, about as aligned as the official images are."""
    (root / "img_align_celeba").mkdir(parents=True)
    names = [f"{i:06d}.jpg" for i in range(1, count + 1)]
    photos = sorted((ROOT / "examples" / "photos").glob("photo-0*.jpg"))
    for name, photo in zip(names, photos, strict=False):
        face = Image.fromarray(read_faces([photo])[0][0]).resize((150, 150), Image.Resampling.BICUBIC)
        frame = Image.new("RGB", (178, 218), (128, 128, 128))
        frame.paste(face, (14, 34))
        frame.resize(size, Image.Resampling.BICUBIC).save(root / "img_align_celeba" / name, quality=95)
    labels = ["1 -1" if i % 2 else "-1  1" for i in range(count)]
    rows = [f"{name} {row}" for name, row in zip(names, labels, strict=True)]
    (root / "list_attr_celeba.txt").write_text("\n".join([str(count), "Male Smiling", *rows]) + "\n")
    (root / "list_eval_partition.txt").write_text("\n".join(f"{n} {i % 3}" for i, n in enumerate(names)) + "\n")
    return root


def test_the_official_layout_is_read_at_any_scale(tmp_path: Path) -> None:
    large = celeba.load(write_celeba(tmp_path / "large"))
    small = celeba.load(write_celeba(tmp_path / "small", (89, 109)))
    assert large.attributes == ("Male", "Smiling")
    assert large.pixels.shape == (6, 64, 64, 3)
    assert large.labels.tolist() == [[0, 1], [1, 0]] * 3
    assert len(large.part(TRAIN)) == len(large.part(VALID)) == len(large.part(TEST)) == 2
    # The same faces, found and aligned as on a device: the smaller ones are softer.
    inner = slice(None), slice(12, 52), slice(12, 52)
    assert np.abs(large.pixels[inner].astype(int) - small.pixels[inner]).mean() < 10


def test_what_was_read_is_kept(tmp_path: Path) -> None:
    images = celeba.load(write_celeba(tmp_path / "data"))
    images.save(tmp_path / "images.npz")
    again = LabelledImages.load(tmp_path / "images.npz")
    assert again.names == images.names
    assert again.attributes == images.attributes
    assert np.array_equal(again.pixels, images.pixels)
    assert np.array_equal(again.labels, images.labels)


def test_a_bad_image_is_named_and_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = write_celeba(tmp_path)
    (data / "img_align_celeba" / "000003.jpg").write_bytes(b"no image")
    (data / "img_align_celeba" / "000005.jpg").unlink()
    Image.new("RGB", (178, 218), (90, 120, 150)).save(data / "img_align_celeba" / "000006.jpg")
    images = celeba.load(data)
    assert len(images) == 3
    assert [sentence.split(":")[0] for sentence in images.refused] == ["000003.jpg", "000005.jpg", "000006.jpg"]
    assert "No face was found" in images.refused[2]
    assert "3 of 6 images left out" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("list_attr_celeba.txt", "000002.jpg 1 -1", "000002.jpg 1", "line 4: 1 labels for 2 attributes"),
        ("list_attr_celeba.txt", "000002.jpg 1 -1", "000002.jpg 1 0", "Smiling of 000002.jpg is '0'"),
        ("list_eval_partition.txt", "000004.jpg 0\n", "", "000004.jpg has labels but no row"),
        ("list_eval_partition.txt", "000004.jpg 0", "000004.jpg 7", "partition 7"),
        ("list_eval_partition.txt", "000004.jpg 0", "000004.jpg", "is not a file name and a number"),
        ("list_eval_partition.txt", "000004.jpg 0", "000004.jpg --1", "is not a file name and a number"),
        ("list_eval_partition.txt", "000004.jpg", "000002.jpg", "lists 000002.jpg twice, in lines 2 and 4"),
        ("list_attr_celeba.txt", "000004.jpg", "000002.jpg", "lists 000002.jpg twice, in lines 4 and 6"),
        ("list_attr_celeba.txt", "Male Smiling", "Male male", "'Male' and 'male' are one name"),
        ("list_attr_celeba.txt", "Male Smiling", "", "is cut off"),
    ],
)
def test_damaged_lists_are_refused(tmp_path: Path, file: str, old: str, new: str, message: str) -> None:
    data = write_celeba(tmp_path)
    path = data / file
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    with pytest.raises(TrainingDataError, match=message):
        celeba.load(data)


def test_an_empty_partition_and_a_missing_file_are_refused(tmp_path: Path) -> None:
    data = write_celeba(tmp_path)
    partition = data / "list_eval_partition.txt"
    partition.write_text(partition.read_text().replace(" 1\n", " 0\n"))
    with pytest.raises(TrainingDataError, match="no image is in the valid partition"):
        celeba.load(data).part(VALID)
    partition.unlink()
    with pytest.raises(TrainingDataError, match="list_eval_partition.txt is missing"):
        celeba.load(data)


def test_a_folder_with_labels_is_read_and_refused(tmp_path: Path) -> None:
    for i in range(4):
        Image.new("RGB", (90 + 10 * i, 80), (60 * i, 10, 10)).save(tmp_path / f"{i}.png")
    labels = tmp_path / "labels.csv"
    labels.write_text("file,partition,cat\n0.png,train,1\n1.png,train,0\n2.png,valid,-1\n3.png,test,1\n")
    images = folder.load(tmp_path, labels)
    assert images.attributes == ("cat",)
    assert images.labels[:, 0].tolist() == [1, 0, 0, 1]
    assert images.partition.tolist() == [TRAIN, TRAIN, VALID, TEST]
    for text, message in [
        ("file,partition,cat\n0.png,train,yes\n", "line 2: cat is 'yes'"),
        ("name,cat\n0.png,1\n", "it needs 'file'"),
        ("file\n0.png\n", "at least one attribute"),
        ("file,partition,cat\n0.png,later,1\n", "partition is 'later'"),
        ("file,cat\nnone.png,1\n", "none of the 1 images"),
        ("file,cat\n0.png,1\n\n1.png,0\n./0.png,0\n", "lists 0.png twice, in lines 2 and 5"),
        ("cat,file,dog\n1,0.png\n", "line 2: dog is ''"),
        ("file,cat,\n0.png,1,1\n", "called '', which is no name"),
        ("file,cat,_\n0.png,1,1\n", "called '_', which is no name"),
        ("file,ca\0t\n0.png,1\n", "which is no name for an attribute"),
        ("file,big cat,Big_Cat\n0.png,1,1\n", "'big cat' and 'Big_Cat' are one name"),
        ("file,cat,File\n0.png,1,1\n", "'file' and 'File' are one name"),
        ('file,cat\n"0.png,1\n' + 200_000 * "a", "look for a quote left open"),
    ]:
        labels.write_text(text)
        with pytest.raises(TrainingDataError, match=message):
            folder.load(tmp_path, labels)
    labels.write_bytes("file,größe\n0.png,1\n".encode("latin-1"))
    with pytest.raises(TrainingDataError, match="labels.csv is no UTF-8"):
        folder.load(tmp_path, labels)


def test_what_a_bundle_refuses_as_a_name_is_refused_before_the_training(tmp_path: Path) -> None:
    names = ["cat", "cat\n", "ca\tt", "\x7f", "\u202e", "Big_Cat", "größe", "a" * 500]
    for name in names:
        try:
            check_names([name], tmp_path)
            accepted = True
        except TrainingDataError:
            accepted = False
        assert accepted == _are_attributes([{"name": name, "base_rate": 0.5, "gap": 0.0}])


def test_a_run_keeps_its_settings_once_its_images_are_read(tmp_path: Path) -> None:
    data, out = write_squares(tmp_path / "data", FEW), tmp_path / "run"
    mistyped = settings_of(tmp_path / "dat", data / "labels.csv")
    mistyped.check(out)
    with pytest.raises(TrainingDataError, match="none of the 5 images"):
        mistyped.images(out)
    settings = settings_of(data, data / "labels.csv")
    settings.check(out)
    assert len(settings.images(out)) == 5
    assert Settings.load(out) == settings
    with pytest.raises(TrainingDataError, match="holds a run with other settings"):
        mistyped.check(out)


def test_edited_labels_are_no_longer_those_of_the_run(tmp_path: Path, refused: Callable[..., str]) -> None:
    data, out = write_squares(tmp_path / "data", FEW), tmp_path / "run"
    labels = data / "labels.csv"
    settings_of(data, labels).images(out)
    was = labels.read_text()
    labels.write_text(was.replace("0.png,train,1", "0.png,train,0"))
    assert labels.read_text() != was
    assert "labels.csv changed since the run" in refused(
        "train", "folder", "--data", data, "--labels", labels, "--out", out
    )
    labels.write_text(was)
    settings_of(data, labels).check(out)
    (out / "settings.json").unlink()
    with pytest.raises(TrainingDataError, match="another version"):
        settings_of(data, labels).check(out)


def test_a_list_of_celeba_that_comes_later_is_noticed(tmp_path: Path) -> None:
    data, out = write_celeba(tmp_path / "data"), tmp_path / "run"

    def settings() -> Settings:
        lists = digests(data / name for name in celeba.LISTS)
        return replace(settings_of(data, Path()), labels="", digests=lists)

    settings().save(out)
    settings().check(out)
    (data / "identity_CelebA.txt").write_text("000001.jpg 1\n")
    with pytest.raises(TrainingDataError, match="identity_CelebA.txt changed"):
        settings().check(out)


def test_one_image_or_flat_ones_to_compare_with_are_refused_before_the_training(tmp_path: Path) -> None:
    flat = write_squares(tmp_path / "flat", FEW)
    for i in (2, 3):
        Image.new("RGB", (64, 64), (40 * i, 10, 10)).save(flat / f"{i}.png")
    for data in (flat, write_squares(tmp_path / "one", ("train", "train", "valid", "test"))):
        with pytest.raises(TrainingDataError, match="one image, or images of one flat colour"):
            settings_of(data, data / "labels.csv").images(tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_options_out_of_range_are_refused(tmp_path: Path, refused: Callable[..., str]) -> None:
    data = write_squares(tmp_path / "data", FEW)
    train_folder = ("train", "folder", "--data", data, "--labels", data / "labels.csv", "--out", tmp_path / "run")
    for option, value in (
        ("latent", "-3"),
        ("latent", "0"),
        ("teacher-epochs", "-1"),
        ("epochs", "-0.5"),
        ("epochs", "nan"),
        ("sharpen-epochs", "inf"),
        ("flow-steps", "0"),
        ("public-latents", "999"),
        ("seed", "-1"),
    ):
        assert f"Invalid value for '--{option}'" in refused(*train_folder, f"--{option}", value)
    assert not (tmp_path / "run").exists()


def test_a_run_that_cannot_be_written_is_refused_before_the_images_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: Callable[..., str]
) -> None:
    data = write_squares(tmp_path / "data", FEW)
    command = ("train", "folder", "--data", data, "--labels", data / "labels.csv", "--out")
    assert "cannot be written" in refused(*command, data / "labels.csv" / "run")
    with monkeypatch.context() as patched:  # nothing is denied to root
        patched.setattr(os, "access", lambda path, mode: False)
        with pytest.raises(UsageError, match="change the permissions"):
            check_writable(tmp_path / "run")

    def full(self: LabelledImages, path: Path) -> None:
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(LabelledImages, "save", full)
    assert "No space left on device" in refused(*command, tmp_path / "run")


def write_small_bundle(place: Path, content: bytes) -> None:
    origin = Origin(data="squares", terms="none", samples=1, people=1)
    write_bundle(place, "squares", "images", (64, 64, 3), 2, [], {}, origin, {}, {"flow.safetensors": content})


def test_a_bundle_takes_the_place_of_a_bundle_and_of_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "squares"
    place.mkdir()
    for content in (b"first", b"second"):
        write_small_bundle(place, content)
        assert (place / "flow.safetensors").read_bytes() == content
    replace_file = os.replace

    def killed(source: Path, target: Path) -> None:
        if target == place:
            raise KeyboardInterrupt
        replace_file(source, target)

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            write_small_bundle(place, b"third")
    # Stopped at the worst moment, both are there, and the next one cleans up.
    assert {path.read_bytes() for path in tmp_path.glob("**/flow.safetensors")} == {b"second", b"third"}
    write_small_bundle(place, b"fourth")
    assert [path.name for path in tmp_path.iterdir()] == ["squares"]

    (place / "thesis.tex").write_text("mine")
    with pytest.raises(OutputExistsError, match="thesis.tex, which is no part of a bundle"):
        write_small_bundle(place, b"fifth")
    assert (place / "flow.safetensors").read_bytes() == b"fourth"
    for name, text in (("notes.txt", "mine"), ("manifest.json", json.dumps({"name": "a web page"}))):
        other = tmp_path / name.split(".")[0]
        other.mkdir()
        (other / name).write_text(text)
        with pytest.raises(OutputExistsError, match=f"holds {name}"):
            check_replaceable(other)
    with pytest.raises(OutputExistsError, match="no folder"):
        check_replaceable(place / "thesis.tex")


def test_where_a_bundle_goes_is_checked_before_anything_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: Callable[..., str]
) -> None:
    data, out, mine = write_squares(tmp_path / "data", FEW), tmp_path / "run", tmp_path / "my bundle"
    mine.mkdir()
    settings_of(data, data / "labels.csv").images(out)
    recipe = ("recipe", "folder", "--data", data, "--labels", data / "labels.csv", "--out", tmp_path / "other")
    monkeypatch.chdir(mine)
    for command in (recipe, ("pack", "--out", out)):
        assert "no bundle can be called 'my bundle'" in refused(*command, "--bundle", mine)
        assert "no bundle can be called 'my bundle'" in refused(*command, "--bundle", ".")
        assert "holds 0.png, which is no part of a bundle" in refused(*command, "--bundle", data)
        assert "cannot be written" in refused(*command, "--bundle", data / "0.png" / "squares")
    assert "holds 0.png, which is no part of a bundle" in refused("gaps", "--out", out, "--bundle", data)
    assert not (tmp_path / "other").exists()
    named = tmp_path / "squares"
    named.mkdir()
    monkeypatch.chdir(named)
    assert "best.pt is missing" in refused("pack", "--out", out, "--bundle", ".")  # the folder's name is one


def test_people_do_not_cross_partitions_of_a_folder(tmp_path: Path) -> None:
    for i in range(20):
        Image.new("RGB", (64, 64), (12 * i, 10, 10)).save(tmp_path / f"{i}.png")
    rows = "".join(f"{i}.png,person{i // 4},1\n" for i in range(20))
    (tmp_path / "labels.csv").write_text("file,identity,cat\n" + rows)
    images = folder.load(tmp_path, tmp_path / "labels.csv")
    for person in np.unique(images.identity):
        assert len(np.unique(images.partition[images.identity == person])) == 1


def random_vae(network: str = "residual") -> VAE:
    """An untrained VAE whose batch norms have statistics as if it had been trained."""
    torch.manual_seed(0)
    vae = VAE(50, 40, network).eval()
    for module in vae.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.3)
            module.running_var.uniform_(0.5, 2.0)
    return to_onnx.as_exported(vae)


@pytest.fixture(scope="module")
def graphs() -> dict[str, bytes]:
    vae = random_vae()
    return {"encoder.onnx": to_onnx.encoder_graph(vae), "decoder.onnx": to_onnx.decoder_graph(vae)}


def test_the_papers_own_networks_become_graphs_that_equal_torch() -> None:
    vae = random_vae("dense")
    graphs = {"encoder.onnx": to_onnx.encoder_graph(vae), "decoder.onnx": to_onnx.decoder_graph(vae)}
    pixels = np.random.default_rng(0).integers(0, 255, (8, 64, 64, 3), dtype=np.uint8)
    found = to_onnx.differences(vae, graphs, pixels)
    assert found["largest latent difference from torch"] <= 1e-4
    assert found["largest pixel difference from torch"] <= 1
    Codec(graphs["encoder.onnx"], graphs["decoder.onnx"], (64, 64, 3), 50)  # a device runs them too, large as they are


def test_transposed_convolutions_count_each_input_for_each_weight() -> None:
    layer = torch.nn.ConvTranspose2d(3, 5, 4, stride=2, padding=1)
    assert multiply_adds(layer, torch.zeros(1, 3, 7, 7)) == 3 * 7 * 7 * 5 * 4 * 4


def test_the_graphs_equal_torch_at_batch_1_7_and_256(graphs: dict[str, bytes]) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (300, 64, 64, 3), dtype=np.uint8)
    found = to_onnx.differences(random_vae(), graphs, pixels)
    assert found["largest latent difference from torch"] <= 1e-4
    assert found["largest pixel difference from torch"] <= 1


def test_the_graphs_hold_no_chance_no_paths_and_float16_weights(graphs: dict[str, bytes]) -> None:
    for data in graphs.values():
        model = onnx.load_from_string(data)
        # Two sessions of one process drew the same "random" noise: noise is the host's, never the graph's.
        assert not [node.op_type for node in model.graph.node if node.op_type.startswith("Random")]
        assert str(ROOT).encode() not in data
        assert b"site-packages" not in data
        assert not any(tensor.external_data for tensor in model.graph.initializer)
    assert len(graphs["encoder.onnx"]) + len(graphs["decoder.onnx"]) < 5_000_000


def test_an_input_named_like_an_operator_is_refused() -> None:
    with pytest.raises(ValueError, match="aten operator"):
        to_onnx.graph(torch.nn.Linear(2, 2), torch.zeros(2, 2), "t", ["y"])


def test_a_tiny_epsilon_survives_the_exporter() -> None:
    class Ratio(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x / (x + 1e-8)

    data = to_onnx.graph(Ratio(), torch.zeros(2, 2), "samples", ["y"])
    (ratio,) = session(data).run(None, {"samples": np.zeros((3, 2), np.float32)})
    assert ratio.tolist() == [[0.0, 0.0]] * 3


def test_the_networks_fit_a_phone() -> None:
    assert multiply_adds(Encoder(50), torch.zeros(1, 3, 64, 64)) <= 70_000_000
    assert multiply_adds(Decoder(50), torch.zeros(1, 50)) <= 135_000_000


def test_a_run_of_another_version_is_refused(tmp_path: Path) -> None:
    (tmp_path / "settings.json").write_text('{"data": ".", "refine_epochs": 10}')
    with pytest.raises(TrainingDataError, match="another version"):
        Settings.load(tmp_path)


def test_no_person_is_in_both_halves(tmp_path: Path) -> None:
    images = celeba.load(write_celeba(tmp_path))
    many = images[np.arange(600) % 6]
    shown = np.random.default_rng(0).integers(0, 90, 600).astype(np.int32)
    half = halves(replace(many, identity=shown))
    assert not set(shown[half]) & set(shown[~half])
    assert len(set(shown[half])) == len(set(shown[~half])) == 45
    assert np.array_equal(half, halves(replace(many, identity=shown)))
    with pytest.raises(TrainingDataError, match="one person"):
        halves(replace(many, identity=np.zeros(600, np.int32)))


def test_the_divergence_is_that_of_torch() -> None:
    mean, log_variance = torch.randn(8, 5), torch.randn(8, 5)
    posterior = torch.distributions.Normal(mean, (0.5 * log_variance).exp())
    expected = torch.distributions.kl_divergence(posterior, torch.distributions.Normal(0.0, 1.0)).sum(1).mean()
    assert losses.divergence_from_prior(mean, log_variance).item() == pytest.approx(expected.item(), rel=1e-5)


def test_the_frechet_distance_is_that_of_gaussians() -> None:
    generator = np.random.default_rng(0)
    first = generator.standard_normal((200_000, 2)) * [1.0, 2.0]
    second = generator.standard_normal((200_000, 2)) * [3.0, 2.0] + [1.0, 0.0]
    assert realism.frechet_distance(first, second) == pytest.approx(1.0 + 4.0, rel=0.02)
    assert realism.frechet_distance(first, first) == pytest.approx(0.0, abs=1e-6)


def test_memorised_latents_are_noticed() -> None:
    generator = np.random.default_rng(0)
    people = generator.standard_normal((3, 2000, 8)).astype(np.float32)
    honest = public_latents.memorisation(people[0], people[1], people[2])
    copied = people[0] + 0.05 * generator.standard_normal(people[0].shape).astype(np.float32)
    caught = public_latents.memorisation(people[0], people[1], copied)
    assert abs(honest["training nearer than valid"] - 0.5) < 0.03
    assert caught["training nearer than valid"] > 0.95
