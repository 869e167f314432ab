"""The central training: a killed run resumes, teachers are asked about strangers, anybody's images become a bundle."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from squares import FEW, write_squares

torch = pytest.importorskip("torch", reason="the central trainer needs the extra 'export'")

from export import losses  # noqa: E402
from export.datasets.labelled import TRAIN, VALID, LabelledImages  # noqa: E402
from export.loop import Schedule, train  # noqa: E402
from export.networks.teacher import Teacher  # noqa: E402
from export.sharpen import sharpen  # noqa: E402
from export.train import VAE, attribute_logits, halves, train_teachers  # noqa: E402
from privsdk.bundle import Bundle  # noqa: E402

ROOT = Path(__file__).parent.parent.parent


def test_a_killed_run_resumes_to_the_same_result(tmp_path: Path) -> None:
    def run(name: str, kill_at: int) -> int:
        (tmp_path / name).mkdir(exist_ok=True)
        command = [sys.executable, "-m", "tests.killed_training", str(tmp_path / name), str(kill_at)]
        return subprocess.run(command, cwd=ROOT, check=False).returncode

    assert run("unbroken", -1) == 0
    assert run("killed", 23) == -signal.SIGKILL
    assert not (tmp_path / "killed" / "result.pt").exists()
    assert run("killed", -1) == 0
    results = [torch.load(tmp_path / name / "result.pt", weights_only=True) for name in ("unbroken", "killed")]
    for name in results[0]:
        assert torch.equal(results[0][name], results[1][name])
    logs = [(tmp_path / name / "log.csv").read_text() for name in ("unbroken", "killed")]
    assert logs[0] == logs[1]
    assert (tmp_path / "killed" / "curves.png").stat().st_size > 0


def test_a_killed_training_of_all_networks_resumes_to_the_same_weights(tmp_path: Path) -> None:
    data = write_squares(tmp_path / "data", FEW)

    def start(out: Path) -> subprocess.Popen[str]:
        command = f"train folder --data {data} --labels {data / 'labels.csv'} --out {out}"
        # Enough steps for a checkpoint in the midst of the sharpening, the part with most state.
        command += " --latent 2 --teacher-epochs 1 --epochs 2 --sharpen-epochs 120"
        return subprocess.Popen(
            [sys.executable, "-m", "export", *command.split()],
            cwd=ROOT,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stderr=subprocess.PIPE,
            text=True,
        )

    unbroken, killed = tmp_path / "unbroken", tmp_path / "killed"
    with start(unbroken) as whole, start(killed) as process:
        assert process.stderr is not None
        assert any(line.startswith("sharpen: step 92 of 120") for line in process.stderr)
        process.kill()
        _, said = whole.communicate()
    assert process.returncode == -signal.SIGKILL
    assert not (killed / "sharpen" / "curves.png").exists()
    assert whole.returncode == 0, said
    assert "vae: step 2 of 2, 0.0 min left; loss" in said
    with start(killed) as process:
        _, said = process.communicate()
    assert process.returncode == 0, said
    # What was finished is not trained again, and what was not goes on where it was.
    assert [line.split(",")[0] for line in said.splitlines() if ": step " in line] == ["sharpen: step 120 of 120"]
    for part in ("teachers/first", "teachers/second", "vae", "sharpen"):
        logs = [(out / part / "log.csv").read_text() for out in (unbroken, killed)]
        assert logs[0].count("\n") == (3 if part == "sharpen" else 2)
        assert logs[0] == logs[1]
        assert (killed / part / "curves.png").stat().st_size > 0
    for checkpoint in ("best.pt", "last.pt"):
        expected, got = (
            torch.load(out / "sharpen" / checkpoint, weights_only=True)["vae"] for out in (unbroken, killed)
        )
        # What was seen is 0.0, with one thread and with two.
        for name, values in expected.items():
            torch.testing.assert_close(got[name], values, rtol=0, atol=1e-6)


def test_every_epoch_sees_every_sample_once() -> None:
    schedule = Schedule(samples=60, batch=10, steps=12, peak=1.0)
    for epoch in range(2):
        seen = np.concatenate([schedule.rows(6 * epoch + i) for i in range(6)])
        assert sorted(seen) == list(range(60))
    assert max(schedule.rate(i) for i in range(12)) == 1.0
    assert schedule.rate(11) < 0.1


def test_a_term_that_few_steps_take_keeps_its_column(tmp_path: Path) -> None:
    def step(number: int, rows: np.ndarray) -> dict[str, float]:
        return {"loss": float(number)} | ({"rare": 6.0} if number == 0 else {})

    (tmp_path / "log.csv").write_text("what a run wrote that was killed before its first checkpoint")
    train(tmp_path, Schedule(4, 2, 5, 1.0), {}, {}, step, lambda: {"loss": 1.0}, every=3)
    # Means over the steps since the row before, fewer of them in the last one.
    assert (tmp_path / "log.csv").read_text().splitlines() == ["step,loss,rare,valid loss", "3,1,2,1", "5,3.5,0,1"]
    assert (tmp_path / "curves.png").stat().st_size > 0


def test_the_best_checkpoint_is_returned(tmp_path: Path) -> None:
    net = torch.nn.Linear(1, 1)
    losses_seen = iter([3.0, 1.0, 2.0])

    def step(number: int, rows: np.ndarray) -> dict[str, float]:
        with torch.no_grad():
            net.weight.fill_(float(number))
        return {"loss": 0.0}

    def validate() -> dict[str, float]:
        return {"loss": next(losses_seen)}

    train(tmp_path, Schedule(4, 2, 3, 1.0), {"net": net}, {}, step, validate, every=1)
    assert net.weight.item() == 1.0


def checkered() -> LabelledImages:
    """72 images of a few coloured squares each, with eight labels drawn by lot."""
    generator = np.random.default_rng(0)
    coarse = generator.integers(0, 256, (72, 4, 4, 3), dtype=np.uint8)
    return LabelledImages(
        pixels=coarse.repeat(16, axis=1).repeat(16, axis=2),
        labels=generator.integers(0, 2, (72, 8)).astype(np.uint8),
        attributes=tuple("abcdefgh"),
        partition=np.where(np.arange(72) < 64, TRAIN, VALID).astype(np.uint8),
        identity=np.arange(72, dtype=np.int32),
        names=tuple(map(str, range(72))),
    )


def test_sharpening_leaves_the_latents_and_the_linear_path_as_they_are(tmp_path: Path) -> None:
    torch.manual_seed(0)
    vae = VAE(4, 8)
    before = {name: values.clone() for name, values in vae.state_dict().items()}
    sharpened = sharpen(checkered(), Teacher(8), vae, tmp_path, epochs=3)
    changed = {name for name, values in sharpened.state_dict().items() if not torch.equal(values, before[name])}
    assert changed
    assert all(name.startswith(("decoder.input", "decoder.convolutions")) for name in changed)
    assert "lipschitz" in (tmp_path / "log.csv").read_text()


def test_each_teacher_is_asked_about_people_that_it_has_not_seen(tmp_path: Path) -> None:
    images = checkered()
    _, taught = train_teachers(images, tmp_path, epochs=40)
    training = images.part(TRAIN)
    half = halves(training)

    def right(said: torch.Tensor, labels: np.ndarray) -> float:
        return float(((said.numpy() > 0) == labels).mean())

    # The labels are drawn by lot: by heart a teacher knows them, of strangers nobody does.
    first = Teacher(8)
    first.load_state_dict(torch.load(tmp_path / "first" / "last.pt", weights_only=True)["teacher"])
    assert right(attribute_logits(first, training.pixels[half]), training.labels[half]) > 0.8
    assert right(taught - 0.5, training.labels) < 0.62


def test_the_gradient_penalty_lowers_the_rate_of_change() -> None:
    torch.manual_seed(0)
    decoder = torch.nn.Sequential(torch.nn.Linear(5, 3 * 4 * 4), torch.nn.Unflatten(1, (3, 4, 4)))
    z = torch.randn(64, 5)
    # For a linear decoder J is its weight, whatever z is.
    expected = decoder[0].weight.square().sum().item()
    rates = torch.cat([losses.rate_of_change(decoder, z.requires_grad_()).detach() for _ in range(50)])
    assert rates.square().mean().item() == pytest.approx(expected, rel=0.05)
    optimizer = torch.optim.Adam(decoder.parameters(), lr=0.02)
    for _ in range(100):
        optimizer.zero_grad()
        losses.lipschitz_penalty(decoder, z, bound=0.5).backward()
        optimizer.step()
    assert decoder[0].weight.square().sum().item() < 0.5**2 * 1.5


def test_anybodys_images_become_a_bundle_that_privatizes(tmp_path: Path) -> None:
    write_squares(tmp_path, ("train", "train", "train", "valid", "test") * 30)
    out, bundle = tmp_path / "run", tmp_path / "squares"
    small = "--latent 4 --teacher-epochs 6 --epochs 10 --sharpen-epochs 1 --flow-steps 60"
    small += " --public-latents 1200"
    for command in (
        f"train folder --data {tmp_path} --labels {tmp_path / 'labels.csv'} --out {out} {small}",
        f"pack --out {out} --bundle {bundle}",
        f"gaps --out {out} --bundle {bundle} --of red",
    ):
        done = subprocess.run(
            [sys.executable, "-m", "export", *command.split()], cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
    opened = Bundle.open(bundle)
    opened.verify()
    assert opened.attributes == ("bright", "red")
    assert len(opened.public) == 1200
    # What was not measured is believed to be as bad as the worst that was.
    assert opened.gaps["bright"] == opened.gaps["red"] < 0.5
    assert "as the terms of the images" in opened.terms

    changed = subprocess.run(
        [sys.executable, "-m", "export", "train", "folder", "--data", str(tmp_path), "--out", str(out)]
        + ["--labels", str(tmp_path / "labels.csv"), "--latent", "5"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert changed.returncode == 2
    assert "holds a run with other settings" in changed.stderr
