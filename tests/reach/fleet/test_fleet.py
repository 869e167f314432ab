"""Twenty devices in Flower's simulation engine: what the server holds, what went wrong, and that it all comes again."""

from __future__ import annotations

import json
import re
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("flwr.app", reason="needs Flower: pip install -c constraints-fleet.txt '.[fleet]'")

from examples.fleet.device import Device, Wish
from examples.fleet.faults import COMES_BACK, DROPS_OUT, IS_LATE, REPEATS, RUBBISH
from tests.reach.fleet.running import DEVICES, Fleet, run_fleet

pytestmark = pytest.mark.timeout(900)


def received(fleet: Fleet) -> dict:
    return json.loads((fleet.server / "received.json").read_text())


def failing(fleet: Fleet, *faults: str) -> list[str]:
    return [one.name for one in fleet.devices if Device(one).fault in faults]


def test_each_failure_happens_and_each_device_is_counted_once(fleet: Fleet) -> None:
    for fault in ((DROPS_OUT,), (COMES_BACK,), (IS_LATE,), (REPEATS,), tuple(RUBBISH)):
        assert len(failing(fleet, *fault)) == 1
    out = failing(fleet, DROPS_OUT, *RUBBISH)
    with np.load(fleet.server / "pool.npz") as pool:
        assert sorted(pool.files) == [one.name for one in fleet.devices if one.name not in out]
        for name in pool.files:
            assert np.array_equal(pool[name], np.load(fleet.folder / "devices" / name / "released.npy"))
    found = received(fleet)
    assert found["late"] == failing(fleet, IS_LATE)
    reasons = Counter((one["device"], one["reason"]) for one in found["refused"])
    expected = {(name, "no-answer"): 1 for name in failing(fleet, COMES_BACK)}
    expected |= {("a device without a name", "no-answer"): 2}
    expected |= {(name, "repeated"): 1 for name in failing(fleet, REPEATS)}
    expected |= {(name, "wrong-shape"): 1 for name in failing(fleet, *RUBBISH)}
    assert reasons == expected


def test_the_server_holds_releases_and_no_wish_label_key_latent_or_photo(fleet: Fleet) -> None:
    held = {path.name for path in fleet.server.iterdir()}
    assert held == {"pool.npz", "received.json", "averaged.npy", "updates.npz"}
    with np.load(fleet.server / "pool.npz") as pool:
        assert all(pool[name].dtype == np.uint8 and pool[name].shape[1:] == (64, 64, 3) for name in pool.files)
        for name in pool.files:
            album = np.load(fleet.folder / "devices" / name / "album.npy")
            assert len(album) == len(pool[name])
            assert all((photo != release).any() for photo, release in zip(album, pool[name], strict=True))
    stored = b"".join(path.read_bytes() for path in fleet.server.iterdir())
    for folder in fleet.devices:
        wish = Wish.from_json((folder / "wish.json").read_text())
        assert not any(re.search(rb"\b" + label.encode() + rb"\b", stored) for label in wish.private + wish.utility)
        assert (folder / "key").read_bytes() not in stored
        assert np.load(folder / "album.npy")[0].tobytes() not in stored


def test_devices_have_wishes_and_keys_of_their_own(fleet: Fleet) -> None:
    assert len({(folder / "key").read_bytes() for folder in fleet.devices}) == DEVICES
    assert len({(folder / "wish.json").read_text() for folder in fleet.devices}) > DEVICES // 2


def test_the_same_seed_gives_the_same_releases_and_the_same_table(
    fleet: Fleet, repository: Path, tmp_path: Path
) -> None:
    runs = tmp_path / "runs"
    shutil.copytree(fleet.runs, runs)
    again = next(runs.glob("fleet-*"))
    afresh = next(one for one in fleet.devices if Device(one).fault is None).name
    (again / "devices" / afresh / "released.npy").unlink()  # one is fitted anew, the others need no second fit
    shutil.rmtree(again / f"server-{DEVICES}")
    assert run_fleet(repository, runs, "--devices", str(DEVICES), "--processes", "1") == fleet.printed
    first, second = (np.load(one / "devices" / afresh / "released.npy") for one in (fleet.folder, again))
    assert np.array_equal(first, second)


def test_the_table_says_what_it_must(fleet: Fleet) -> None:
    for line in (
        "kept labels, accuracy: learned from the pool",
        "the same, learned from and scored on unfiltered photos",
        "hidden labels, leakage of a release",
        "devices whose hidden label is guessed right from all releases",
        "the worst wish",
        "kept labels, accuracy: shared classifiers",
        "hidden labels of devices, leakage: updates",
        "Simulated failures: 1 comes-back, 1 drops-out, 1 is-late, 1 repeats, 1 rubbish.",
    ):
        assert line in fleet.printed
