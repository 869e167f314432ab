"""An encoder in whole numbers beside the one that ships: time, what is read from its latents, what its releases leak.

    PRIVSDK_DATA=... python -m benchmarks.int8 [--private Male] [--utility Smiling] [--seeds 3]

The bundle's filter is fitted once for each seed, from public latents, which do not hang on the encoder; releases of
both encoders are attacked by fresh attackers of all families under both protocols (docs/measuring.md).  Wanted: 1.3
times as fast, at most .003 of mean attribute accuracy lost, and at most .01 of leakage more.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

import numpy as np

import privsdk
from benchmarks.domains import Domain
from export.datasets.labelled import VALID
from export.int8 import write_int8
from privsdk import Bundle
from privsdk.auditing.protocols import attack

BATCHES = (1, 16)
ROUNDS = 31


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.int8", description=__doc__.splitlines()[0])
    parser.add_argument("--private", default="Male")
    parser.add_argument("--utility", default="Smiling")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="where images and latents are kept")
    asked = parser.parse_args()
    if not (data := os.environ.get("PRIVSDK_DATA")):
        parser.error("PRIVSDK_DATA is not set: it names the folder that holds celeba/ in its official layout")
    plain = Domain("faces", "faces", Path(data), asked.runs, threads=2)
    folder = asked.runs / "faces-int8"
    write_int8(Path("models/faces"), plain.data.samples[plain.data.partition == VALID], folder)
    whole = Domain("faces", str(folder), Path(data), asked.runs, threads=2)
    if not (whole.folder / "images.npz").exists():
        os.link(plain.folder / "images.npz", whole.folder / "images.npz")
    domains = {"float": plain, "int8": whole}

    sizes = {name: len(domain.bundle.codec.encoder) for name, domain in domains.items()}
    print(", ".join(f"{name}: {size:,} bytes" for name, size in sizes.items()))
    for batch in BATCHES:
        print(_times(domains, plain.data.samples[:batch]))
    accuracy = {name: _accuracy(domain) for name, domain in domains.items()}
    print(
        f"mean accuracy of {len(plain.bundle.attributes)} attributes, test partition: float {accuracy['float']:.4f}, "
        f"int8 {accuracy['int8']:.4f}, lost {accuracy['float'] - accuracy['int8']:+.4f}"
    )
    apart = []
    for seed in range(asked.seeds):
        fitted = privsdk.fit(plain.bundle, asked.private, asked.utility, seed=seed).filter
        leakage = {}
        for name, domain in domains.items():
            z = fitted.perturb(domain.latents.mean, domain.latents.variance, domain.seeds(seed))
            parts = domain.parts(z, domain.classes(asked.private))
            leakage[name] = attack(*parts, seed=seed, threads=domain.threads, protocols=domain.protocols)[0].leakage
        apart.append(leakage["int8"] - leakage["float"])
        print(f"seed {seed}: leakage float {leakage['float']:.4f}, int8 {leakage['int8']:.4f}", flush=True)
    print(f"leakage more by {np.mean(apart):+.4f} ({min(apart):+.4f} to {max(apart):+.4f})")


def _times(domains: dict[str, Domain], samples: np.ndarray) -> str:
    """Of the processor, both in turn on one thread: other programs do not count."""
    bundles = {name: Bundle.open(domain.opened_as) for name, domain in domains.items()}
    taken = np.empty((ROUNDS, len(bundles)))
    for number in range(ROUNDS):
        for place, bundle in enumerate(bundles.values()):
            began = time.process_time()
            bundle.encode(samples)
            taken[number, place] = time.process_time() - began
    ratio = taken[:, 0] / taken[:, 1]
    medians = dict(zip(bundles, 1000 * np.median(taken, axis=0), strict=True))
    low, high = np.quantile(ratio, (0.1, 0.9))
    each = ", ".join(f"{name} {median:.1f} ms" for name, median in medians.items())
    return f"batches of {len(samples)}: {each}, {np.median(ratio):.2f} times as fast ({low:.2f} to {high:.2f})"


def _accuracy(domain: Domain) -> float:
    """Mean over attributes of how often the sign of the score is right on the test partition."""
    scores = domain.scores(domain.bundle.attributes)[domain.test]
    columns = [domain.data.attributes.index(name) for name in domain.bundle.attributes]
    return float(((scores > 0) == (domain.data.labels[domain.test][:, columns] > 0)).mean())


if __name__ == "__main__":
    main()
