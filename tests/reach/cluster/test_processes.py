"""Training in several processes: what two and four do, against what one does; begun by some and finished by others."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from squares import write_squares

pytest.importorskip("lightning_fabric", reason="training in several processes needs the extra 'cluster'")
torch = pytest.importorskip("torch", reason="the central trainer needs the extra 'export'")

ROOT = Path(__file__).parents[3]
ALONE = [sys.executable]
KILLED = ROOT / "tests" / "killed_training.py"


def together(processes: int) -> list[str]:
    """What starts so many processes on this machine."""
    return [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]


def started(program: list[str], *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*program, *map(str, arguments)], cwd=ROOT, env=environment(), capture_output=True, text=True, check=False
    )


def environment() -> dict[str, str]:
    # Without bfloat16, where this machine has it: what it rounds away would be most of what two ways differ by.
    return {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "ATEN_CPU_CAPABILITY": "avx2"}


def curves(folder: Path) -> dict[str, np.ndarray]:
    with open(folder / "log.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    return {name: np.array([float(row[name]) for row in rows]) for name in rows[0]}


NETWORKS = """
import sys
from pathlib import Path
import numpy as np, torch
from export import loop, sharpen, train
from export.datasets.labelled import TRAIN, VALID, LabelledImages
from export.networks.teacher import Teacher

# Plain gradient descent: Adam makes whole steps of gradients that are nothing but rounding.
torch.optim.AdamW = lambda parameters, **_: torch.optim.SGD([{"params": list(parameters), "scale": 0.01}], lr=1)
folder = Path(sys.argv[1])
generator = np.random.default_rng(0)
coarse = generator.integers(0, 256, (64, 8, 8, 3), dtype=np.uint8)
images = LabelledImages(
    pixels=coarse.repeat(8, axis=1).repeat(8, axis=2),
    labels=generator.integers(0, 2, (64, 4)).astype(np.uint8),
    attributes=tuple("abcd"),
    partition=np.where(np.arange(64) < 48, TRAIN, VALID).astype(np.uint8),
    identity=np.arange(64, dtype=np.int32),
    names=tuple(map(str, range(64))),
)
training, validation = images.part(TRAIN), images.part(VALID)
teacher = train.train_teacher(training, validation, folder / "teacher", epochs=3, batch=16)
torch.manual_seed(0)
vae = train.VAE(8, 4)
vae = train.train_vae(images, teacher, torch.rand(48, 4), vae, folder / "vae", epochs=3, batch=16)
sharpen.sharpen(images, teacher, vae, folder / "sharpen", epochs=2, batch=16)
"""


def test_every_network_is_trained_as_by_one_process(tmp_path: Path) -> None:
    (tmp_path / "networks.py").write_text(NETWORKS)
    for program, name in ((ALONE, "alone"), (together(2), "together")):
        done = started(program, tmp_path / "networks.py", tmp_path / name)
        assert done.returncode == 0, done.stderr
    for part in ("teacher", "vae", "sharpen"):
        alone, shared = curves(tmp_path / "alone" / part), curves(tmp_path / "together" / part)
        assert alone.keys() == shared.keys()
        for name, expected in alone.items():
            # The penalty mixes each process's rows by draws of its own.
            tolerance = 0.2 if name == "lipschitz" else 0.01
            np.testing.assert_allclose(shared[name], expected, rtol=tolerance, atol=1e-4, err_msg=f"{part}: {name}")


def test_a_run_that_two_began_four_go_on_with_and_one_finishes(tmp_path: Path) -> None:
    def run(program: list[str], name: str, kill_at: int) -> int:
        return started(program, KILLED, tmp_path / name, kill_at).returncode

    assert run(ALONE, "unbroken", -1) == 0
    assert run(together(2), "broken", 13) != 0
    assert run(together(4), "broken", 28) != 0
    assert curves(tmp_path / "broken")["step"].tolist() == [5, 10, 15, 20, 25]
    assert run(ALONE, "broken", -1) == 0
    unbroken, broken = curves(tmp_path / "unbroken"), curves(tmp_path / "broken")
    for name, expected in unbroken.items():
        np.testing.assert_allclose(broken[name], expected, rtol=1e-4)


def test_the_command_trains_in_two_processes(tmp_path: Path) -> None:
    data = write_squares(tmp_path / "data", ("train", "train", "valid", "valid", "test") * 4)
    arguments = (
        f"--data {data} --labels {data / 'labels.csv'} --latent 2 --teacher-epochs 2 --epochs 2 --sharpen-epochs 1"
    )
    command = ["-m", "export", "train", "folder", "--out", tmp_path / "run", *arguments.split()]
    done = started(together(2), *command)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("vae: step 2 of 2") == 1
    for part in ("teachers/first", "teachers/second", "vae", "sharpen"):
        assert (tmp_path / "run" / part / "best.pt").is_file()
        assert len(curves(tmp_path / "run" / part)["step"]) == 1
    # One process takes it for finished, and goes on with what one process does.
    assert started(ALONE, *command).returncode == 0
    done = started(together(2), "-m", "export", "train", "flow", "--out", tmp_path / "run")
    assert done.returncode != 0
    assert "do this without torchrun" in done.stderr


def test_a_batch_that_cannot_be_shared_equally_is_refused(tmp_path: Path) -> None:
    data = write_squares(tmp_path / "data", ("train",) * 6 + ("valid",) * 4 + ("test",))  # three for each teacher
    arguments = f"--data {data} --labels {data / 'labels.csv'} --out {tmp_path / 'run'}"
    done = started(together(2), "-m", "export", "train", "folder", *arguments.split())
    assert done.returncode != 0
    assert "cannot share a batch of 3 equally" in done.stderr
    assert "Traceback" not in done.stderr.partition("ChildFailedError")[0].partition("torch/distributed")[0]


def test_one_that_is_killed_ends_the_others(tmp_path: Path) -> None:
    done = started(together(2), KILLED, tmp_path / "run", 7, "first")
    assert done.returncode != 0
    assert f"Signal {signal.SIGKILL.value} (SIGKILL)" in done.stderr
    assert curves(tmp_path / "run")["step"].tolist() == [5]
