"""Puts the page together: ``python examples/browser/build.py FOLDER`` makes a folder that any web server can serve.

It copies the page, the bundle, the face detector, the training steps and, of npm, ONNX Runtime; and it writes two
graphs, one coupling forward and back, which take its weights as inputs.  Nothing is compiled or bundled.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from hashlib import sha256
from importlib import resources
from pathlib import Path

import numpy as np
import onnx
import spox
from spox import Tensor

from privsdk import Bundle
from privsdk.to_onnx.arrays import Array
from privsdk.to_onnx.couplings import CouplingLayers

HERE = Path(__file__).parent
REPOSITORY = HERE.parents[1]
PAGE = ("index.html", "style.css", "icon.svg", "page.js", "offline.js", "device")
BUNDLE = REPOSITORY / "models" / "faces"
ONNX_RUNTIME = ("ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm")


def build(folder: Path) -> None:
    """Writes the page to ``folder``, which is made; FileExistsError where it is there."""
    folder.mkdir()
    for name in PAGE:
        copy = shutil.copytree if (HERE / name).is_dir() else shutil.copy
        copy(HERE / name, folder / name)
    bundle = Bundle.open(BUNDLE)
    shutil.copytree(BUNDLE, folder / "bundle")
    graphs = folder / "graphs"
    graphs.mkdir()
    detector = resources.files("privsdk.samples").joinpath("detector", "yunet_n_dynamic.onnx")
    (graphs / "detector.onnx").write_bytes(detector.read_bytes())
    for step in ("classifier", "couplings_2"):
        content = resources.files("privsdk.fitting.engines").joinpath("steps", f"{step}.onnx").read_bytes()
        (graphs / f"{step}.onnx").write_bytes(content)
    for name, content in couplings(int(bundle.used.sum())).items():
        (graphs / f"{name}.onnx").write_bytes(content)
    runtime = folder / "onnxruntime"
    runtime.mkdir()
    for name in ONNX_RUNTIME:
        shutil.copy(installed() / name, runtime)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    listed = {path.relative_to(folder).as_posix(): sha256(path.read_bytes()).hexdigest() for path in files}
    (folder / "files.json").write_text(json.dumps(listed, indent=1) + "\n")


def couplings(size: int) -> dict[str, bytes]:
    """One coupling of ``size`` numbers, forward and back, with any hidden layers and context, as ONNX files by name."""
    moved = size // 2
    shapes = {
        "x": ("rows", size),
        "context": ("rows", "context"),
        "rotation": (size, size),
        "weight_1": (None, "units"),
        "bias_1": ("units",),
        "weight_2": ("units", "units"),
        "bias_2": ("units",),
        "weight_3": ("units", 2 * moved),
        "bias_3": (2 * moved,),
    }
    found = {}
    for name in ("forward", "inverse"):
        inputs = {part: spox.argument(Tensor(np.float32, shape)) for part, shape in shapes.items()}
        x, context, *weights = (Array(var) for var in inputs.values())
        layers = CouplingLayers(size, [weights])
        y = layers.forward(x, context) if name == "forward" else layers.inverse(x, context)
        model = spox.build(inputs, {"y": y.var})
        onnx.checker.check_model(model, full_check=True)
        found[f"coupling_{name}"] = model.SerializeToString(deterministic=True)
    return found


def installed() -> Path:
    """Where npm has put ONNX Runtime; it is installed where it is not."""
    if not (HERE / "node_modules").is_dir():
        subprocess.run(["npm", "ci", "--ignore-scripts", "--silent"], cwd=HERE, check=True)
    return HERE / "node_modules" / "onnxruntime-web" / "dist"


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python examples/browser/build.py FOLDER")
    if Path(sys.argv[1]).exists():
        sys.exit(f"{sys.argv[1]} is there already: name a folder that is not")
    if shutil.which("npm") is None:
        sys.exit("npm is missing, which fetches ONNX Runtime: install Node")
    build(Path(sys.argv[1]))
