"""A tiny but real encoder bundle, and filters for it: for tests that need the form of a bundle and no trained
one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from privsdk.arrays import pack
from privsdk.bundle import Bundle, manifest_files
from privsdk.filters.basis import Basis
from privsdk.filters.code import CodeFlow, ConditionalAffine, Moments
from privsdk.filters.couplings import Couplings, PublicFlow
from privsdk.filters.fair_score import FairScore, FairTable
from privsdk.filters.flow import FlowFilter
from privsdk.filters.joint_scores import JointScores
from privsdk.filters.linear import LinearFilter
from privsdk.filters.scores import ScoreNetwork
from privsdk.privatizer import Privatizer

ATTRIBUTES = ("Male", "Smiling", "Young", "High_Cheekbones")
LATENT_SIZE = 8
SHAPE = (64, 64, 3)
PIXELS = 64 * 64 * 3


def make_bundle(folder: Path, public: int = 300) -> Path:
    """Write a bundle whose encoder and decoder are linear: z = (x - 127) W, x = 127 + z W' * gain."""
    rng = np.random.default_rng(1)
    basis = np.linalg.qr(rng.standard_normal((PIXELS, LATENT_SIZE)))[0].astype(np.float32)
    network, couplings = scores(rng), flow(rng)
    people = rng.standard_normal((500, LATENT_SIZE)).astype(np.float32)
    files = {
        "encoder.onnx": encoder(basis / 500).SerializeToString(),
        "decoder.onnx": decoder(500 * 4 * basis.T.copy()).SerializeToString(),
        "scores.safetensors": pack(network.arrays(), {}),
        "flow.safetensors": pack(couplings.arrays(), {}),
        "moments.safetensors": pack(Moments.of(couplings.forward(people), network.scores(people)).arrays(), {}),
        "joint_scores.safetensors": pack(JointScores.of(network.scores(people)).arrays(), {}),
        "public_latents.safetensors": pack(
            {
                "mean": rng.standard_normal((public, LATENT_SIZE)).astype(np.float16),
                "log_variance": np.full((public, LATENT_SIZE), -4, np.float16),
            },
            {"seed": 7},
        ),
        "MODEL_CARD.md": b"# tiny\n\nFor tests.\n",
    }
    folder.mkdir(parents=True)
    for name, content in {**files, **manifest_files(manifest(files))}.items():
        (folder / name).write_bytes(content)
    return folder


def change_manifest(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change what the manifest says, and write it as it should be written."""
    said = json.loads((folder / "manifest.json").read_text())
    change(said)
    for name, content in manifest_files(said).items():
        (folder / name).write_bytes(content)


def replace_file(folder: Path, name: str, content: bytes) -> None:
    """Put another file in the bundle, and list it rightly."""
    (folder / name).write_bytes(content)
    entry = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    change_manifest(folder, lambda said: said["files"].update({name: entry}))


def manifest(files: dict[str, bytes]) -> dict[str, Any]:
    return {
        "schema": 1,
        "name": "tiny",
        "kind": "faces",
        "sample": {"dtype": "uint8", "shape": list(SHAPE)},
        "latent_size": LATENT_SIZE,
        "attributes": [{"name": name, "base_rate": 0.4, "calibration_error": 0.01, "gap": 0.02} for name in ATTRIBUTES],
        "files": {
            name: {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
            for name, content in files.items()
        },
        "versions": {"onnx": onnx.__version__},
        "training_data": {"name": "nothing", "terms": "none", "people": 0},
        "terms": "for tests only",
        "quality": {"squared_error": 1.0},
    }


def encoder(weights: np.ndarray, inputs: str = "samples") -> onnx.ModelProto:
    nodes = [
        helper.make_node("Cast", [inputs], ["numbers"], to=TensorProto.FLOAT),
        helper.make_node("Flatten", ["numbers"], ["flat"], axis=1),
        helper.make_node("Sub", ["flat", "middle"], ["centred"]),
        helper.make_node("MatMul", ["centred", "weights"], ["mean"]),
        helper.make_node("Mul", ["mean", "zero"], ["zeros"]),
        helper.make_node("Sub", ["zeros", "four"], ["log_variance"]),
    ]
    constants = {"middle": np.float32(127), "weights": weights, "zero": np.float32(0), "four": np.float32(4)}
    latent = ["N", LATENT_SIZE]
    return model(
        nodes,
        constants,
        [helper.make_tensor_value_info(inputs, TensorProto.UINT8, ["N", *SHAPE])],
        [
            helper.make_tensor_value_info("mean", TensorProto.FLOAT, latent),
            helper.make_tensor_value_info("log_variance", TensorProto.FLOAT, latent),
        ],
    )


def decoder(weights: np.ndarray) -> onnx.ModelProto:
    nodes = [
        helper.make_node("MatMul", ["latents", "weights"], ["centred"]),
        helper.make_node("Add", ["centred", "middle"], ["flat"]),
        helper.make_node("Clip", ["flat", "least", "most"], ["clipped"]),
        helper.make_node("Reshape", ["clipped", "shape"], ["numbers"]),
        helper.make_node("Cast", ["numbers"], ["samples"], to=TensorProto.UINT8),
    ]
    constants = {
        "weights": weights,
        "middle": np.float32(127),
        "least": np.float32(0),
        "most": np.float32(255),
        "shape": np.array([-1, *SHAPE], np.int64),
    }
    return model(
        nodes,
        constants,
        [helper.make_tensor_value_info("latents", TensorProto.FLOAT, ["N", LATENT_SIZE])],
        [helper.make_tensor_value_info("samples", TensorProto.UINT8, ["N", *SHAPE])],
    )


def model(nodes: list[Any], constants: dict[str, Any], inputs: list[Any], outputs: list[Any]) -> onnx.ModelProto:
    stored = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "tiny", inputs, outputs, initializer=stored)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def scores(rng: np.random.Generator) -> ScoreNetwork:
    size, count, hidden = LATENT_SIZE, len(ATTRIBUTES), 4
    return ScoreNetwork(
        shift=np.zeros(size, np.float32),
        inverse_scale=np.ones(size, np.float32),
        skip=2 * np.eye(size, count, dtype=np.float32),
        hidden=0.1 * rng.standard_normal((size, hidden)).astype(np.float32),
        hidden_bias=np.zeros(hidden, np.float32),
        out=0.1 * rng.standard_normal((hidden, count)).astype(np.float32),
        out_bias=np.zeros(count, np.float32),
        temperature=np.ones(count, np.float32),
    )


def flow(rng: np.random.Generator) -> PublicFlow:
    kept, moved, width = LATENT_SIZE - LATENT_SIZE // 2, LATENT_SIZE // 2, 4
    return PublicFlow(
        used=np.ones(LATENT_SIZE, bool),
        shift=np.zeros(LATENT_SIZE, np.float32),
        whiten=np.eye(LATENT_SIZE, dtype=np.float32),
        couplings=Couplings(
            rotation=np.linalg.qr(rng.standard_normal((1, LATENT_SIZE, LATENT_SIZE)))[0].astype(np.float32),
            weight_1=0.1 * rng.standard_normal((1, kept, width)).astype(np.float32),
            bias_1=np.zeros((1, width), np.float32),
            weight_2=0.1 * rng.standard_normal((1, width, width)).astype(np.float32),
            bias_2=np.zeros((1, width), np.float32),
            weight_3=0.1 * rng.standard_normal((1, width, 2 * moved)).astype(np.float32),
            bias_3=np.zeros((1, 2 * moved), np.float32),
        ),
    )


def record(method: str = "flow") -> dict[str, Any]:
    """What a fit says of a privatizer that hides Male and keeps Smiling."""
    return {
        "method": method,
        "private": ["Male"],
        "utility": ["Smiling"],
        "settings": {"engine": "torch", "seed": 0},
        "check": {
            "measured_on": "public latents",
            "private": {
                "Male": {
                    "leakage": 0.6,
                    "strongest": "mlp",
                    "accuracy": 0.61,
                    "balanced_accuracy": 0.55,
                    "base_rate": 0.6,
                    "gap": 0.02,
                }
            },
            "utility": {"Smiling": {"accuracy": 0.88, "accuracy_unfiltered": 0.885, "lost": 0.005}},
        },
        "seconds": 1.0,
    }


def flow_privatizer(bundle: Bundle, rho: float = 1.0) -> Privatizer:
    """A label-free privatizer: the default filter with a code and a fair score that change nothing."""
    size = LATENT_SIZE
    affine = tuple(
        ConditionalAffine(
            Basis((column,), np.array([-4, 0, 4], np.float32)),
            mean=np.zeros((3, size), np.float32),
            whiten=np.tile(np.eye(size, dtype=np.float32), (3, 1, 1)),
            along=np.eye(size, dtype=np.float32)[0],
        )
        for column in (0, 1)
    )
    quantiles = np.linspace(0, 12, 9, dtype=np.float32)
    sides = np.stack([-quantiles[::-1], quantiles])
    table = FairTable(
        previous=(),
        needed=np.full((1, 2), 0.5, np.float32),
        levels=sides,
        balance=np.tile(np.linspace(0, 1, 9, dtype=np.float32), (2, 1, 1, 2, 1)),
        everyone=sides[:, None],
    )
    fair_score = FairScore(((0,),), (table,))
    population = bundle.scores.only([0, 1]).scores(bundle.public.mean)
    fitted = FlowFilter(
        bundle.scores.only([0, 1]), bundle.flow, CodeFlow(affine, None), fair_score, population, private=1, rho=rho
    )
    return Privatizer(bundle, fitted, record())


def label_aware_privatizer(bundle: Bundle) -> Privatizer:
    """A privatizer that wants the private label: the paper's linear filter, with numbers of no meaning."""
    rng = np.random.default_rng(2)
    fitted = LinearFilter(
        gamma_noise=0.1 * rng.standard_normal((LATENT_SIZE, LATENT_SIZE)).astype(np.float32),
        gamma_label=rng.standard_normal((2, LATENT_SIZE)).astype(np.float32),
        used=np.ones(LATENT_SIZE, bool),
        divergence="l2",
        budget=3.0,
        reached=2.0,
    )
    return Privatizer(bundle, fitted, record("minmax"))
