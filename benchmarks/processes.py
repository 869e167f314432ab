"""Training in two processes against one: how long a step takes, and the loss, with one thread each.

    python -m benchmarks.processes [--images 384] [--steps 16] [--rounds 3]

The faces' encoder and decoder on CelebA's aligned images, in batches of 96, without a teacher; rounds in turn.  Seconds
a step are those on the clock, the first four steps left out.  Beside them stands the processor time that the busier
process took for it: a step takes no less, and no more where each process has a core to itself.  How far the machine's
cores are from that, two say that train side by side and know nothing of each other, each with half of the batch: no two
processes that work together are faster than these.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from privsdk import bench

BATCH = 96
LEFT_OUT = 4


def trained(folder: Path, steps: int, batch: int) -> None:
    """What each process does: a training; it leaves what its steps took beside the log of the first."""
    import torch

    from export import processes
    from export.datasets.labelled import TRAIN, LabelledImages
    from export.train import VAE, Weights, train_vae

    images = LabelledImages.load(folder.parent / "images.npz")
    torch.manual_seed(0)
    vae = VAE(50, len(images.attributes))
    began: list[tuple[float, float]] = []
    vae.encoder.register_forward_pre_hook(lambda *_: began.append((time.perf_counter(), time.process_time())))
    epochs = steps / (len(images.part(TRAIN)) // batch)
    train_vae(images, None, None, vae, folder, epochs, Weights(attributes=0, features=0), batch)
    spent = np.subtract(began[steps - 1], began[LEFT_OUT]) / (steps - 1 - LEFT_OUT)
    (folder / f"{os.environ.get('RANK', '0')}.json").write_text(json.dumps(spent.tolist()))
    processes.wait()


def started(folder: Path, steps: int, batch: int = BATCH, processes: int = 1) -> subprocess.Popen[bytes]:
    """A training by so many processes, on one thread each."""
    starter = [] if processes == 1 else ["torch.distributed.run", "--standalone", f"--nproc-per-node={processes}", "-m"]
    settings = ["--train", str(folder), "--steps", str(steps), "--batch", str(batch)]
    command = [sys.executable, "-m", *starter, "benchmarks.processes", *settings]
    return subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, stderr=subprocess.DEVNULL)


def spent(training: subprocess.Popen[bytes], folder: Path) -> NDArray[np.float64]:
    """Seconds a step on the clock, and of the busier process's processor."""
    if training.wait():
        raise SystemExit(f"a training ended with {training.returncode}")
    each = np.array([json.loads(path.read_text()) for path in folder.glob("[0-9].json")])
    return each.max(axis=0)


def logged(folder: Path) -> dict[str, float]:
    """The figures of the log's last row."""
    names, *_, last = (line.split(",") for line in (folder / "log.csv").read_text().splitlines())
    return {name: float(value) for name, value in zip(names, last, strict=True)}


def some_images(folder: Path, count: int) -> Any:
    """The first images of CelebA, three of four of them to train on."""
    from export.datasets.labelled import TRAIN, VALID, LabelledImages
    from privsdk.samples import images

    paths = sorted((folder / "celeba" / "img_align_celeba").glob("*.jpg"))[:count]
    return LabelledImages(
        pixels=np.stack([images.central_square(images.read(path), 64) for path in paths]),
        labels=np.zeros((count, 1), np.uint8),
        attributes=("none",),
        partition=np.where(np.arange(count) % 4 < 3, TRAIN, VALID).astype(np.uint8),
        identity=np.arange(count, dtype=np.int32),
        names=tuple(path.name for path in paths),
    )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.processes", description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=384)
    parser.add_argument("--steps", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--train", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--batch", type=int, default=BATCH, help=argparse.SUPPRESS)
    asked = parser.parse_args(arguments)
    if asked.train is not None:
        trained(asked.train, asked.steps, asked.batch)
        return
    if not (data := os.environ.get("PRIVSDK_DATA")):
        parser.error("PRIVSDK_DATA is not set: it names the folder that holds celeba/ in its official layout")
    print(bench.cpu_name(), flush=True)
    found = []
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        some_images(Path(data), asked.images).save(root / "images.npz")
        for number in range(asked.rounds):
            folders = {name: root / f"{name}-{number}" for name in ("one", "two", "here", "beside")}
            one = spent(started(folders["one"], asked.steps), folders["one"])
            two = spent(started(folders["two"], asked.steps, processes=2), folders["two"])
            apart = {name: started(folders[name], asked.steps, BATCH // 2) for name in ("here", "beside")}
            half = np.max([spent(training, folders[name]) for name, training in apart.items()], axis=0)
            found.append((*one / two, one[0] / half[0]))
            print(
                f"seconds a step: one {one[0]:.2f} (processor {one[1]:.2f}), two {two[0]:.2f} ({two[1]:.2f}), ", end=""
            )
            print(f"two apart, with half of the batch each, {half[0]:.2f} ({half[1]:.2f})", flush=True)
        alone, together = logged(folders["one"]), logged(folders["two"])
    kinds = ("on the clock", "by processor time", "at most, on the clock")
    for name, ratios in zip(kinds, np.transpose(found), strict=True):
        print(f"two processes, {name}: {np.median(ratios):.2f} times as fast ({min(ratios):.2f} to {max(ratios):.2f})")
    for name, expected in alone.items():
        if expected:
            print(f"{name}: one {expected:.6g}, two {together[name]:.6g} ({together[name] / expected - 1:+.3%})")


if __name__ == "__main__":
    main()
