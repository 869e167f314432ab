"""The hosts of docs/hosts.md that can run here: they release the same, from their own random numbers."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
from functools import cache
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from numpy.typing import NDArray

from privsdk import Bundle
from tests.attacks.faces import flow_privatizer
from tests.make_bundle import flow_privatizer as made_up_privatizer
from tests.make_bundle import make_bundle
from tests.reach.graphs import as_it_was, session

HOSTS = Path(__file__).parents[2] / "examples" / "hosts"
KEY = bytes(range(32))


@cache
def graph() -> bytes:
    return flow_privatizer().to_onnx()


@cache
def samples() -> NDArray[np.uint8]:
    bundle = flow_privatizer().bundle
    return bundle.decode(bundle.public.mean[-20:])


@cache
def host() -> ModuleType:
    spec = spec_from_file_location("release", HOSTS / "release.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "privatizer.onnx").write_bytes(graph())
    (tmp_path / "key").write_bytes(KEY)
    (tmp_path / "samples").write_bytes(samples().tobytes())
    return tmp_path


@pytest.fixture(scope="session")
def node(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The host for Node beside what it needs; ``--ignore-scripts`` keeps GPU libraries from being fetched."""
    if shutil.which("npm") is None:
        pytest.skip("needs Node: install it with npm")
    folder = tmp_path_factory.mktemp("node")
    for name in ("package.json", "release.mjs"):
        shutil.copy(HOSTS / name, folder)
    subprocess.run(["npm", "install", "--ignore-scripts", "--silent"], cwd=folder, check=True, capture_output=True)
    return folder / "release.mjs"


def released(program: list[str], place: Path, name: str) -> tuple[subprocess.CompletedProcess, NDArray[np.uint8]]:
    command = [*program, *(str(place / file) for file in ("privatizer.onnx", "key", "samples", name))]
    done = subprocess.run(command, capture_output=True, text=True)
    output = (place / name).read_bytes() if (place / name).exists() else b""
    return done, np.frombuffer(output, np.uint8).reshape(-1, *samples().shape[1:])


def test_python_and_node_release_the_same(place: Path, node: Path) -> None:
    said, by_python = released([sys.executable, str(HOSTS / "release.py")], place, "by-python")
    assert (said.returncode, said.stdout, said.stderr) == (0, "20 released, 0 kept back\n", "")
    said, by_node = released(["node", str(node)], place, "by-node")
    assert (said.returncode, said.stdout) == (0, "20 released, 0 kept back\n")
    assert np.abs(by_python.astype(int) - by_node).max() <= 1
    assert not as_it_was(flow_privatizer(), by_python, samples()).any()
    # A second time they are the same, and never over the first.
    _, again = released(["node", str(node)], place, "by-node-again")
    assert (again == by_node).all()
    said, _ = released(["node", str(node)], place, "by-node")
    assert said.returncode != 0


def test_what_is_kept_back_is_tried_again_and_then_left_out(place: Path, node: Path, tmp_path: Path) -> None:
    # A bundle that is too small to hide anything: what comes out is near what went in, but for a few draws.
    bundle = Bundle.open(make_bundle(tmp_path / "bundle"))
    made_up = made_up_privatizer(bundle)
    data = made_up.to_onnx()
    taken = bundle.decode(bundle.public.mean[:30])
    runs = host().Privatizer(data, KEY)
    found, kept_back = runs.release(taken)
    assert not found[kept_back].any()
    (place / "privatizer.onnx").write_bytes(data)
    (place / "samples").write_bytes(taken.tobytes())
    said, _ = released(["node", str(node)], place, "by-node")
    assert said.returncode == int(kept_back.any())
    assert said.stdout == f"{30 - kept_back.sum()} released, {kept_back.sum()} kept back\n"


def test_python_needs_numpy_and_onnx_runtime_alone() -> None:
    tree = ast.parse((HOSTS / "release.py").read_text())
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name for name in imported if name.partition(".")[0] not in sys.stdlib_module_names} == {
        "numpy",
        "onnxruntime",
    }


def test_random_numbers_are_what_the_graph_asks_for() -> None:
    drawn = [host().random_numbers(bytes([seed]) * 32, 51, 3) for seed in range(250)]
    normal, uniform = (np.stack(column) for column in zip(*drawn, strict=True))
    assert normal.shape == (250, 51)
    assert abs(normal.mean()) < 0.04
    assert abs(normal.std() - 1) < 0.03
    assert abs(np.corrcoef(normal.T) - np.eye(51)).max() < 0.3
    assert uniform.min() >= 0
    assert uniform.max() < 1
    assert abs(uniform.mean() - 0.5) < 0.05
    assert len(np.unique(normal)) == normal.size


def test_another_key_gives_other_releases() -> None:
    privatizers = [host().Privatizer(graph(), key) for key in (KEY, bytes(32))]
    one, other = (privatizer.release(samples())[0] for privatizer in privatizers)
    assert not (one == other).all(axis=(1, 2, 3)).any()


def test_no_graph_of_a_privatizer_is_refused() -> None:
    with pytest.raises(ValueError, match="no graph of a privatizer"):
        host().Privatizer(Bundle.open("faces").codec.encoder, KEY)
    with pytest.raises(ValueError, match="32 bytes"):
        host().Privatizer(graph(), b"short")
    assert session(graph()).get_modelmeta().custom_metadata_map["privsdk.schema"] == "1"
