"""What is fitted with torch, and without it by ONNX Runtime: leakage and utility on people, time, and memory.

    PRIVSDK_DATA=... python -m benchmarks.engines [--private Male] [--utility Smiling] [--seeds 5] [--costs-alone]

Attackers of all families are trained afresh under both protocols on CelebA (see docs/measuring.md); the filters are
fitted from the bundle alone.  Time and memory are those of a process of its own for each fit, on one thread, the
engines in turn: the fit alone, and by how much its most memory is beyond what it had when the bundle was open (Linux).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

import privsdk
from benchmarks.domains import Domain
from benchmarks.frontier.measure import read
from privsdk.auditing.protocols import attack
from privsdk.filters import Filter

ENGINES = ("torch", "onnx")

ONE_FIT = """
import json, re, sys, time
import privsdk
engine, private, utility, seed = sys.argv[1:]
if engine == "torch":
    import torch
    from privsdk.fitting import classifiers, flows
bundle = privsdk.Bundle.open("faces")
megabytes = lambda: int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) / 1024
before, began = megabytes(), time.perf_counter()
privsdk.fit(bundle, private, utility, engine=engine, seed=int(seed))
taken = time.perf_counter() - began
print(json.dumps({"seconds": taken, "before": before, "grew": megabytes() - before}))
"""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.engines", description=__doc__.splitlines()[0])
    parser.add_argument("--private", default="Male")
    parser.add_argument("--utility", default="Smiling")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--costs-alone", action="store_true", help="time and memory; this needs no data")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="where the latents of the data are kept")
    asked = parser.parse_args()
    costs(asked.private, asked.utility, asked.seeds)
    if asked.costs_alone:
        return
    if not (data := os.environ.get("PRIVSDK_DATA")):
        parser.error("PRIVSDK_DATA is not set: it names the folder that holds celeba/ in its official layout")
    domain = Domain("faces", "faces", Path(data), asked.runs, threads=2)
    print("\n| seed | engine | leakage | accuracy of the utility label |\n|---|---|---|---|")
    found: dict[str, list[tuple[float, float]]] = {engine: [] for engine in ENGINES}
    for seed in range(asked.seeds):
        for engine in ENGINES:
            fitted = privsdk.fit(domain.bundle, asked.private, asked.utility, engine=engine, seed=seed).filter
            found[engine].append(_measured(domain, fitted, asked.private, asked.utility, seed))
            leaks, reads = found[engine][-1]
            print(f"| {seed} | {engine} | {leaks:.3f} | {reads:.3f} |", flush=True)
    for number, what in enumerate(("leakage", "accuracy")):
        by_torch, by_onnx = (np.array(found[engine])[:, number] for engine in ENGINES)
        apart = by_onnx - by_torch
        spread = apart.std(ddof=1) if len(apart) > 1 else float("nan")
        print(
            f"{what}: torch {by_torch.mean():.4f}, ONNX Runtime {by_onnx.mean():.4f}, apart by {apart.mean():+.4f} "
            f"(spread of one seed's difference {spread:.4f})"
        )


def costs(private: str, utility: str, seeds: int) -> None:
    """Seconds and megabytes of a fit by each engine, side by side."""
    found: dict[str, list[dict[str, float]]] = {engine: [] for engine in ENGINES}
    for seed in range(seeds):
        for engine in ENGINES:
            command = [sys.executable, "-c", ONE_FIT, engine, private, utility, str(seed)]
            one_thread = {**os.environ, "OMP_NUM_THREADS": "1"}
            done = subprocess.run(command, env=one_thread, capture_output=True, text=True, check=True)
            found[engine].append(json.loads(done.stdout))
    for engine in ENGINES:
        median = {name: np.median([one[name] for one in found[engine]]) for name in found[engine][0]}
        print(
            f"{engine}: {median['seconds']:.1f} s, {median['grew']:.0f} MB beyond the {median['before']:.0f} MB of a "
            "process with the bundle open"
        )
    seconds = [[one["seconds"] for one in found[engine]] for engine in ENGINES]
    ratios = np.array(seconds[1]) / np.array(seconds[0])
    print(f"ONNX Runtime takes {np.median(ratios):.2f} of torch's time ({ratios.min():.2f} to {ratios.max():.2f})")


def _measured(domain: Domain, fitted: Filter, private: str, utility: str, seed: int) -> tuple[float, float]:
    """What the strongest attacker finds of the private label, and how accurately the utility label is read."""
    latents = domain.latents
    z = fitted.perturb(latents.mean, latents.variance, domain.seeds(seed))
    parts = domain.parts(z, domain.classes(private))
    attacks = attack(*parts, seed=seed, threads=domain.threads, protocols=domain.protocols)
    return attacks[0].leakage, read(domain, z, utility, seed)[f"accuracy {utility}"].value


if __name__ == "__main__":
    main()
