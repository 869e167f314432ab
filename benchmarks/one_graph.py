"""A privatizer as one ONNX graph beside the three steps apart: how long both take, on one thread.

python -m benchmarks.one_graph [--bundle faces] [--private male] [--utility smiling] [--rounds 15]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
import onnxruntime

import privsdk
from privsdk import Bundle, Privatizer, noise
from privsdk.to_onnx import draws

BATCHES = (1, 7, 64)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.one_graph", description=__doc__.splitlines()[0])
    parser.add_argument("--bundle", default="faces")
    parser.add_argument("--private", default="male")
    parser.add_argument("--utility", default="smiling")
    parser.add_argument("--rounds", type=int, default=15, help="both ways in turn; the median is told")
    asked = parser.parse_args()
    bundle = Bundle.open(asked.bundle)
    privatizer = privsdk.fit(bundle, asked.private, asked.utility)
    graph = privatizer.to_onnx()
    print(f"{bundle.name}: one file of {len(graph):,} bytes\n")
    print("| batch | one graph | three steps | of which the filter | ratio (least to largest) |\n|---|---|---|---|---|")
    for batch in BATCHES:
        print(_row(privatizer, graph, batch, asked.rounds))


def _row(privatizer: Privatizer, graph: bytes, batch: int, rounds: int) -> str:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    session = onnxruntime.InferenceSession(graph, options)
    bundle = privatizer.bundle
    samples, seeds = bundle.decode(bundle.public.mean[:batch]), np.arange(batch, dtype=np.uint64)
    inputs = {"samples": samples}
    for distribution, draw_from in (("normal", noise.normal), ("uniform", noise.uniforms)):
        own = [draw for draw in draws(privatizer.filter) if draw.distribution == distribution]
        if own:
            drawn = [draw_from(seeds, draw.width, draw.purpose) for draw in own]
            inputs[distribution] = np.concatenate(drawn, axis=1).astype(np.float32)
    latents = bundle.encode(samples)
    z = privatizer.perturb(latents, draws=seeds)
    ways: list[Callable[[], object]] = [
        lambda: session.run(None, inputs),
        lambda: bundle.encode(samples),
        lambda: privatizer.perturb(latents, draws=seeds),
        lambda: bundle.decode(z),
    ]
    for way in ways:
        way()
    taken = 1000 * np.array([[_seconds(way) for way in ways] for _ in range(rounds)])
    together, apart = taken[:, 0], taken[:, 1:].sum(axis=1)
    ratio = together / apart
    milliseconds = " | ".join(f"{np.median(each):.1f} ms" for each in (together, apart, taken[:, 2]))
    return f"| {batch} | {milliseconds} | {np.median(ratio):.2f} ({ratio.min():.2f} to {ratio.max():.2f}) |"


def _seconds(way: Callable[[], object]) -> float:
    began = time.perf_counter()
    way()
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
