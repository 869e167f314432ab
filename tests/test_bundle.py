"""Opening a bundle: what is right is used, everything else is refused by the name of the file."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from make_bundle import ATTRIBUTES, LATENT_SIZE, change_manifest, decoder, encoder, make_bundle, replace_file
from onnx import TensorProto, helper, numpy_helper

import privsdk
from privsdk import Bundle, BundleError, UsageError, graphs
from privsdk.arrays import pack, unpack
from privsdk.bundle import REQUIRED_FILES


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_bundle(tmp_path / "tiny")


@pytest.fixture
def opened(folder: Path) -> Bundle:
    return Bundle.open(folder)


def test_what_an_open_bundle_says(opened: Bundle, folder: Path) -> None:
    assert opened.name == "tiny"
    assert opened.digest == hashlib.sha256((folder / "manifest.json").read_bytes()).hexdigest()
    assert opened.attributes == ATTRIBUTES
    assert opened.latent_size == LATENT_SIZE
    assert opened.sample_shape == (64, 64, 3)
    assert opened.base_rates["Male"] == 0.4
    assert opened.gaps["Male"] == 0.02
    assert opened.terms == "for tests only"
    assert opened.used.all()
    opened.verify()


def test_what_is_handed_out_changes_nothing_inside(opened: Bundle) -> None:
    opened.manifest["attributes"].clear()
    opened.quality.clear()
    opened.used[:] = False
    assert opened.attributes == ATTRIBUTES
    assert opened.base_rates.keys() == {*ATTRIBUTES}
    assert opened.used.all()


def test_samples_to_latents_and_back(opened: Bundle) -> None:
    samples = np.random.default_rng(0).integers(0, 256, (70, 64, 64, 3)).astype(np.uint8)
    latents = opened.encode(samples)
    assert latents.mean.shape == latents.variance.shape == (70, LATENT_SIZE)
    assert latents.mean.dtype == latents.variance.dtype == np.float32
    assert latents.variance == pytest.approx(np.exp(-4))
    assert opened.encode(samples[69:]).mean == pytest.approx(latents[69:].mean, abs=1e-4)
    decoded = opened.decode(latents.mean)
    assert decoded.shape == samples.shape
    assert decoded.dtype == np.uint8
    assert len(opened.encode(samples[:0])) == 0


@pytest.mark.parametrize(
    "samples", [np.zeros((2, 64, 64, 3), np.float32), np.zeros((64, 64, 3), np.uint8), np.zeros((), np.uint8)]
)
def test_other_samples_are_refused(opened: Bundle, samples: np.ndarray) -> None:
    with pytest.raises(UsageError, match="samples are uint8"):
        opened.encode(samples)


@pytest.mark.parametrize("z", [np.zeros((2, 3), np.float32), np.zeros(LATENT_SIZE, np.float32)])
def test_other_latents_are_refused(opened: Bundle, z: np.ndarray) -> None:
    with pytest.raises(UsageError, match="latents are float32"):
        opened.decode(z)


def test_latents_that_are_not_finite_are_refused(opened: Bundle) -> None:
    with pytest.raises(UsageError, match="not finite"):
        opened.decode(np.full((1, LATENT_SIZE), np.nan, np.float32))


def test_public_latents_have_the_same_labels_everywhere(folder: Path, opened: Bundle) -> None:
    public, again = opened.public, Bundle.open(folder).public
    assert (public.labels == again.labels).all()
    assert public.mean.shape == public.variance.shape == (300, LATENT_SIZE)
    assert public.labels.shape == (300, len(ATTRIBUTES))
    probabilities = 1 / (1 + np.exp(-opened.scores.scores(public.mean)))
    assert public.labels.mean(axis=0) == pytest.approx(probabilities.mean(axis=0), abs=0.1)
    with pytest.raises(ValueError, match="read-only"):
        public.labels[0, 0] = 1


@pytest.mark.parametrize("name", REQUIRED_FILES)
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(BundleError, match=name):
        Bundle.open(folder)


def test_so_is_one_that_was_not_handed_over(folder: Path) -> None:
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    manifest = files.pop("manifest.json")
    del files["scores.safetensors"]
    with pytest.raises(BundleError, match=r"scores\.safetensors, which manifest\.json lists, is not there"):
        Bundle(manifest, files)


@pytest.mark.parametrize("name", REQUIRED_FILES)
def test_a_file_that_is_not_listed_as_required_is_named(folder: Path, name: str) -> None:
    change_manifest(folder, lambda manifest: manifest["files"].pop(name))
    with pytest.raises(BundleError, match=name):
        Bundle.open(folder)


@pytest.mark.parametrize("name", REQUIRED_FILES)
def test_one_changed_byte_is_found(folder: Path, name: str) -> None:
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(BundleError, match=f"{name} is not what the manifest lists"):
        Bundle.open(folder)


@pytest.mark.parametrize("name", REQUIRED_FILES)
def test_another_length_is_found(folder: Path, name: str) -> None:
    content = (folder / name).read_bytes()
    for changed in (content[:-1], content + b"x"):
        (folder / name).write_bytes(changed)
        with pytest.raises(BundleError, match=f"{name} has {len(changed)} bytes"):
            Bundle.open(folder)


def test_an_unlisted_file_is_named_and_hidden_ones_are_passed_over(folder: Path) -> None:
    (folder / ".DS_Store").write_bytes(b"")
    Bundle.open(folder)
    (folder / "weights.bin").write_bytes(b"")
    with pytest.raises(BundleError, match="weights.bin"):
        Bundle.open(folder)


@pytest.mark.parametrize("name", ["../escape", "/etc/passwd", "a/b", "a\\b", "..", ".", "", "manifest.sig"])
def test_a_file_outside_the_folder_cannot_be_listed(folder: Path, name: str) -> None:
    change_manifest(folder, lambda manifest: manifest["files"].update({name: {"sha256": "", "bytes": 1}}))
    with pytest.raises(BundleError, match="'files'"):
        Bundle.open(folder)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("schema", 2),
        ("schema", None),
        ("name", "a/b"),
        ("name", 3),
        ("kind", None),
        ("sample", {"dtype": "float32", "shape": [64, 64, 3]}),
        ("sample", {"dtype": "uint8", "shape": [64, -1, 3]}),
        ("sample", []),
        ("latent_size", 0),
        ("latent_size", True),
        ("latent_size", 1e3),
        ("attributes", []),
        ("attributes", [{"name": "Male"}]),
        ("attributes", [{"name": "Male", "base_rate": 2, "gap": 0}]),
        ("attributes", [{"name": "Male", "base_rate": 0.5, "gap": 0}] * 2),
        ("attributes", [{"name": "Male", "base_rate": 0.5, "gap": 10**30}]),
        ("attributes", [{"name": "Male", "base_rate": 0.5, "gap": float("nan")}]),
        ("attributes", [{"name": "Ma\x1b[31mle", "base_rate": 0.5, "gap": 0}]),
        ("files", {"encoder.onnx": {"sha256": 1, "bytes": 1}}),
        ("files", {"encoder.onnx": {"sha256": "", "bytes": 10**12}}),
        ("terms", None),
        ("quality", []),
    ],
)
def test_a_manifest_that_says_something_else_is_refused(folder: Path, place: str, value: object) -> None:
    change_manifest(folder, lambda manifest: manifest.update({place: value}))
    with pytest.raises(BundleError, match=place):
        Bundle.open(folder)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b"[" * 100_000, b"null"])
def test_a_manifest_that_is_none_is_refused(folder: Path, content: bytes) -> None:
    (folder / "manifest.json").write_bytes(content)
    with pytest.raises(BundleError, match="manifest.json"):
        Bundle.open(folder)


def test_a_bundle_without_the_sum_of_its_manifest_is_refused_and_it_is_said_what_to_do(folder: Path) -> None:
    (folder / "manifest.sha256").unlink()
    with pytest.raises(BundleError, match=r"has no manifest.sha256.*get the bundle again or.*pack it again"):
        Bundle.open(folder)


@pytest.mark.parametrize(
    "change", [bytes.upper, bytes.strip, lambda sum: sum + b"\n", lambda sum: sum[:10], lambda sum: b"0" * 64 + b"\n"]
)
def test_another_sum_of_the_manifest_is_refused(folder: Path, change: Callable[[bytes], bytes]) -> None:
    path = folder / "manifest.sha256"
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(BundleError, match=r"manifest.json is not what manifest.sha256 says"):
        Bundle.open(folder)


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace(' "schema": 1', ' "schema": 1,\n "schema": 1'),
        lambda text: text.replace("0.4,", "0.40,"),
        lambda text: text.replace("tiny", "t\\u0069ny"),
        lambda text: json.dumps(json.loads(text)),
        lambda text: text + " ",
        lambda text: text.strip(),
        lambda text: text.replace("\n", "\r\n"),
    ],
)
def test_a_manifest_that_is_written_otherwise_is_refused(folder: Path, change: Callable[[str], str]) -> None:
    """Else two readers could find two things in it."""
    content = change((folder / "manifest.json").read_text()).encode()
    (folder / "manifest.json").write_bytes(content)
    (folder / "manifest.sha256").write_text(hashlib.sha256(content).hexdigest() + "\n")
    with pytest.raises(BundleError, match=r"manifest.json is not written as it is packed"):
        Bundle.open(folder)


def test_a_manifest_with_much_in_much_is_refused(folder: Path) -> None:
    deep: object = []
    for _ in range(100):
        deep = [deep]
    change_manifest(folder, lambda manifest: manifest.update(quality={"deep": deep}))
    with pytest.raises(BundleError, match="nested too deeply"):
        Bundle.open(folder)


@pytest.mark.parametrize("name", ["manifest.json", "manifest.sha256", "manifest.sig", "encoder.onnx", "MODEL_CARD.md"])
def test_no_file_of_a_bundle_is_a_link_or_a_pipe(folder: Path, name: str) -> None:
    elsewhere = folder.parent / "elsewhere"
    elsewhere.write_bytes((folder / name).read_bytes() if (folder / name).exists() else bytes(64))
    (folder / name).unlink(missing_ok=True)
    (folder / name).symlink_to(elsewhere)
    with pytest.raises(BundleError, match=f"{name} is a link"):
        Bundle.open(folder)
    (folder / name).unlink()
    os.mkfifo(folder / name)
    with pytest.raises(BundleError, match=rf"{name} cannot be read \(it is no regular file\)"):
        Bundle.open(folder)


def test_the_folder_of_a_bundle_may_be_a_link(folder: Path) -> None:
    (folder.parent / "linked").symlink_to(folder, target_is_directory=True)
    assert Bundle.open(folder.parent / "linked").digest == Bundle.open(folder).digest


@pytest.mark.parametrize("name", ["encoder.onnx", "decoder.onnx"])
@pytest.mark.parametrize("content", [b"", b"no graph at all", bytes(1000)])
def test_a_graph_that_is_none_is_refused(folder: Path, name: str, content: bytes) -> None:
    replace_file(folder, name, content or b"x")
    with pytest.raises(BundleError, match=name):
        Bundle.open(folder)


def test_a_graph_with_other_inputs_or_outputs_is_refused(folder: Path) -> None:
    good = (folder / "encoder.onnx").read_bytes()
    weights = np.zeros((64 * 64 * 3, LATENT_SIZE), np.float32)
    replace_file(folder, "encoder.onnx", encoder(weights, inputs="x").SerializeToString())
    with pytest.raises(BundleError, match=r"encoder.onnx has the inputs"):
        Bundle.open(folder)
    replace_file(folder, "encoder.onnx", decoder(weights.T.copy()).SerializeToString())
    with pytest.raises(BundleError, match=r"encoder.onnx has the inputs"):
        Bundle.open(folder)
    fixed = encoder(weights)
    fixed.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    replace_file(folder, "encoder.onnx", fixed.SerializeToString())
    with pytest.raises(BundleError, match="fixes the batch size"):
        Bundle.open(folder)
    replace_file(folder, "encoder.onnx", good)
    change_manifest(folder, lambda manifest: manifest.update(latent_size=LATENT_SIZE + 1))
    with pytest.raises(BundleError, match=r"encoder.onnx has the outputs"):
        Bundle.open(folder)


@pytest.mark.parametrize(
    ("then", "said"),
    [("Identity", r"decoder.onnx gives \[\(2, 64, 64, 3\)\]"), ("Add", "decoder.onnx does not work")],
)
def test_a_graph_that_fails_when_it_runs_is_named(
    folder: Path, then: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It declares what it should, and works on the first two latents of a batch alone, or adds them to all of it.

    What is looked at before it runs would find this one; whether that is all that can be, nobody knows.
    """
    monkeypatch.setattr(graphs, "check", lambda *of: 0)
    graph = decoder(np.zeros((LATENT_SIZE, 64 * 64 * 3), np.float32))
    graph.graph.initializer.append(numpy_helper.from_array(np.array([True, True]), "first"))
    graph.graph.node[0].input[0] = "changed"
    inputs = ["two"] if then == "Identity" else ["latents", "two"]
    graph.graph.node.insert(0, helper.make_node(then, inputs, ["changed"]))
    graph.graph.node.insert(0, helper.make_node("Compress", ["latents", "first"], ["two"], axis=0))
    replace_file(folder, "decoder.onnx", graph.SerializeToString())
    with pytest.raises(BundleError, match=said):
        Bundle.open(folder).verify()


def test_a_bundle_without_public_latents_is_refused(folder: Path) -> None:
    name = "public_latents.safetensors"
    none = np.zeros((0, LATENT_SIZE), np.float16)
    replace_file(folder, name, pack({"mean": none, "log_variance": none}, {"seed": 1}))
    with pytest.raises(BundleError, match=name):
        Bundle.open(folder)


def test_numbers_that_numpy_does_not_have_are_refused(folder: Path) -> None:
    name = "scores.safetensors"
    header = json.dumps({"shift": {"dtype": "BF16", "shape": [1], "data_offsets": [0, 2]}}).encode()
    replace_file(folder, name, len(header).to_bytes(8, "little") + header + bytes(2))
    with pytest.raises(BundleError, match=name):
        Bundle.open(folder)


def test_numbers_that_overflow_are_found_by_name(folder: Path) -> None:
    name = "scores.safetensors"
    arrays, metadata = unpack((folder / name).read_bytes())
    replace_file(folder, name, pack(arrays | {"out": np.full_like(arrays["out"], 3e38)}, metadata))
    with pytest.raises(BundleError, match=name):
        Bundle.open(folder).verify()


def test_variances_that_are_none_are_found(folder: Path) -> None:
    name = "moments.safetensors"
    arrays, metadata = unpack((folder / name).read_bytes())
    replace_file(folder, name, pack(arrays | {"spread": -arrays["spread"]}, metadata))
    with pytest.raises(BundleError, match=name):
        Bundle.open(folder).verify()


@pytest.mark.parametrize("name", [name for name in REQUIRED_FILES if name.endswith(".safetensors")])
def test_arrays_that_are_none_or_not_finite_or_others_are_refused(folder: Path, name: str) -> None:
    arrays, metadata = unpack((folder / name).read_bytes())
    first = next(key for key, array in arrays.items() if array.dtype.kind == "f")
    spoilt = {**arrays, first: np.full_like(arrays[first], np.nan)}
    narrow = {key: array[..., :-1] for key, array in arrays.items()}
    missing = {key: array for key, array in arrays.items() if key != first}
    for content in (b"x", pack(spoilt, metadata), pack(narrow, metadata), pack(missing, metadata)):
        replace_file(folder, name, content)
        with pytest.raises(BundleError, match=name):
            Bundle.open(folder)


def test_public_latents_need_their_seed(folder: Path) -> None:
    name = "public_latents.safetensors"
    arrays, _ = unpack((folder / name).read_bytes())
    for metadata in ({}, {"seed": "x"}, {"seed": -1}):
        replace_file(folder, name, pack(arrays, metadata))
        with pytest.raises(BundleError, match=name):
            Bundle.open(folder)


def test_no_bundle_is_an_error_that_says_what_there_is(tmp_path: Path) -> None:
    for name in ("no-such-bundle", "x" * 300):  # the second is longer than a name can be
        with pytest.raises(BundleError, match="neither a shipped bundle nor a folder"):
            Bundle.open(name)
    (tmp_path / "empty").mkdir()
    with pytest.raises(BundleError, match=r"manifest.json cannot be read"):
        Bundle.open(tmp_path / "empty")


def test_threads_are_at_least_one(folder: Path) -> None:
    with pytest.raises(UsageError, match="0 threads"):
        Bundle.open(folder, threads=0)


def test_the_shipped_bundle_opens_by_name(bundle_folder: Path) -> None:
    if not (bundle_folder / "manifest.json").is_file():
        pytest.skip("models/faces is not there yet")
    assert "faces" in privsdk.bundles()
    shipped = Bundle.open("faces")
    assert shipped.name == "faces"
    assert len(shipped.attributes) == 40
    assert "research" in shipped.terms.lower()
    shipped.verify()


def test_a_graph_reads_no_file_that_no_hash_covers(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = np.full((LATENT_SIZE, 64 * 64 * 3), 7, np.float32)
    graph = decoder(weights)
    (outside,) = [tensor for tensor in graph.graph.initializer if tensor.dims == list(weights.shape)]
    outside.ClearField("raw_data")
    outside.data_location = TensorProto.EXTERNAL
    entry = outside.external_data.add()
    entry.key, entry.value = "location", "weights.bin"
    replace_file(folder, "decoder.onnx", graph.SerializeToString())
    (folder.parent / "weights.bin").write_bytes(weights.tobytes())
    monkeypatch.chdir(folder.parent)
    with pytest.raises(BundleError, match=r"decoder.onnx is no graph that can be run here \(its Tensor holds"):
        Bundle.open(folder)
    monkeypatch.setattr(graphs, "check", lambda *of: 0)
    with pytest.raises(BundleError, match=r"decoder.onnx cannot be loaded"):
        Bundle.open(folder)


VERIFIED = """
import sys, privsdk
from privsdk import graphs
graphs.check = lambda *of: 0  # what is left if it lets one pass
try:
    privsdk.Bundle.open(sys.argv[1]).verify()
    print("works")
except privsdk.BundleError as error:
    print(error)
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads the peak in /proc")
@pytest.mark.parametrize(("length", "constants"), [(10**9, 1), (200_000_000, 4)])
def test_a_small_graph_cannot_take_all_memory(folder: Path, length: int, constants: int) -> None:
    """One constant too large, or several that are together, each read at a place that only the input tells."""
    graph = decoder(np.zeros((LATENT_SIZE, 64 * 64 * 3), np.float32))
    graph.graph.initializer.append(numpy_helper.from_array(np.array([length]), "length"))
    graph.graph.node[0].input[0] = f"changed{constants}"
    nodes = [helper.make_node("Cast", ["latents"], ["places"], to=TensorProto.INT64)]
    nodes.append(helper.make_node("Identity", ["latents"], ["changed0"]))
    for i in range(constants):
        nodes.append(helper.make_node("ConstantOfShape", ["length"], [f"zeros{i}"]))
        nodes.append(helper.make_node("Gather", [f"zeros{i}", "places"], [f"read{i}"]))
        nodes.append(helper.make_node("Add", [f"changed{i}", f"read{i}"], [f"changed{i + 1}"]))
    for node in reversed(nodes):
        graph.graph.node.insert(0, node)
    replace_file(folder, "decoder.onnx", graph.SerializeToString())
    done = subprocess.run([sys.executable, "-c", VERIFIED, folder], capture_output=True, text=True, check=True)
    said, peak = done.stdout.splitlines()
    assert int(peak) < 2.5e6  # kB
    if constants == 1:
        assert "decoder.onnx does not work" in said


@pytest.mark.parametrize(
    "groups",
    [
        {"male": ["Young", "Smiling"]},
        {"Mood": ["Young"]},
        {"Mood": ["Young", "Bald"]},
        {"Mood": ["Young", "Male"], "Age": ["Young", "Smiling"]},
        {"": ["Young", "Smiling"]},
        ["Mood"],
    ],
)
def test_groups_that_are_none_are_refused(folder: Path, groups: object) -> None:
    change_manifest(folder, lambda manifest: manifest.update(groups=groups))
    with pytest.raises(BundleError, match="groups"):
        Bundle.open(folder)


def test_of_a_group_one_attribute_is_true(folder: Path) -> None:
    change_manifest(folder, lambda manifest: manifest.update(groups={"Mood": ["Young", "Smiling", "Male"]}))
    opened = Bundle.open(folder)
    columns = [opened.attributes.index(name) for name in opened.groups["Mood"]]
    labels = opened.public.labels[:, columns]
    assert (labels.sum(axis=1) == 1).all()
    likely = 1 / (1 + np.exp(-opened.scores.scores(opened.public.mean)[:, columns]))
    expected = (likely / likely.sum(axis=1, keepdims=True)).mean(axis=0)
    assert np.abs(labels.mean(axis=0) - expected).max() < 0.1
