"""The ledger: what was released before, known again, and nothing else."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from privsdk import Bundle, StoreError, UsageError
from privsdk.store.ledger import LEDGER_NAME, Ledger

KEY = bytes(range(32))


@pytest.fixture(scope="module")
def samples(bundle: Bundle) -> np.ndarray:
    """Faces of nobody: uint8 [40, 64, 64, 3]."""
    return bundle.decode(bundle.public.mean[:40])


def test_the_same_sample_has_the_same_origin_and_others_have_their_own(samples: np.ndarray) -> None:
    first = Ledger(KEY).enter(samples, ["a"] * 40, alike=True)
    again = Ledger(KEY).enter(samples[::-1], ["a"] * 40, alike=True)
    assert [entry.origin for entry in again] == [entry.origin for entry in first][::-1]
    assert len({entry.origin for entry in first}) == 40
    assert not any(entry.refused for entry in (*first, *again))
    other_key = Ledger(bytes(32)).enter(samples, ["a"] * 40, alike=True)
    assert not {entry.origin for entry in other_key} & {entry.origin for entry in first}


def test_nearly_equal_samples_share_their_origin(samples: np.ndarray) -> None:
    ledger = Ledger(KEY)
    first = ledger.enter(samples, ["a"] * 40, alike=True)
    rng = np.random.default_rng(0)
    frame = np.clip(samples + rng.normal(0, 2, samples.shape), 0, 255).astype(np.uint8)
    shared = [entry.origin for entry in ledger.enter(frame, ["a"] * 40, alike=True)]
    assert np.mean([one.origin == other for one, other in zip(first, shared, strict=True)]) > 0.9
    apart = ledger.enter(frame + 1, ["a"] * 40, alike=False)
    assert not {entry.origin for entry in apart} & {entry.origin for entry in first}


def test_a_second_filter_is_refused_also_for_what_is_nearly_equal(samples: np.ndarray) -> None:
    ledger = Ledger(KEY)
    ledger.enter(samples[:5], ["a"] * 5, alike=True)
    brighter = np.clip(samples[:5].astype(int) + 3, 0, 255).astype(np.uint8)
    assert [entry.refused for entry in ledger.enter(brighter, ["b"] * 5, alike=True)] == [True] * 5
    assert [entry.refused for entry in ledger.enter(samples[:5], ["a"] * 5, alike=True)] == [False] * 5
    assert [entry.refused for entry in ledger.enter(samples[:2], ["b"] * 2, alike=True, insist=True)] == [False] * 2
    # Both have had these two now: neither gets them again unless insisted on.
    assert [entry.refused for entry in ledger.enter(samples[:5], ["a"] * 5, alike=True)] == [True] * 2 + [False] * 3


def test_threads_and_processes_agree(samples: np.ndarray, tmp_path: Path) -> None:
    np.save(tmp_path / "samples.npy", samples)
    program = (
        "import sys, numpy as np\nfrom privsdk.store.ledger import Ledger\n"
        "entries = Ledger(bytes(range(32))).enter(np.load(sys.argv[1]), ['a'] * 40, alike=True)\n"
        "print(' '.join(entry.origin.hex() for entry in entries))"
    )
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(tmp_path / "samples.npy")], stdout=subprocess.PIPE, text=True
        )
        for _ in range(3)
    ]
    found: list[str] = []
    threads = [
        threading.Thread(
            target=lambda: found.append(
                " ".join(entry.origin.hex() for entry in Ledger(KEY).enter(samples, ["a"] * 40, alike=True))
            )
        )
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found += [racer.communicate()[0].strip() for racer in racers]
    assert len(found) == 6
    assert len({*found}) == 1


def test_it_holds_keyed_digests_alone(samples: np.ndarray, home: Path) -> None:
    Ledger(KEY).enter(samples, ["the filter"] * 40, alike=True)
    content = (home / LEDGER_NAME).read_bytes()
    assert b"the filter" not in content
    assert KEY[:8] not in content
    assert not any(sample.tobytes()[:16] in content for sample in samples)
    assert (home / LEDGER_NAME).stat().st_mode & 0o077 == 0


def test_a_damaged_ledger_is_an_error_and_nothing_is_released(samples: np.ndarray, home: Path) -> None:
    Ledger(KEY).enter(samples[:1], ["a"], alike=False)
    path = home / LEDGER_NAME
    content = path.read_bytes()
    path.write_bytes(b"no database" + content[11:])
    with pytest.raises(StoreError, match="ledger .* cannot be used .* put back a copy"):
        Ledger(KEY)
    path.write_bytes(content)
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(StoreError, match="has schema 99"):
        Ledger(KEY)
    path.unlink()
    path.mkdir()
    with pytest.raises(StoreError, match="cannot be used"):
        Ledger(KEY)
    shutil.rmtree(path)
    with pytest.raises(UsageError, match="32 secret random bytes"):
        Ledger(b"short")


def test_an_error_on_the_way_leaves_it_as_it_was(samples: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = Ledger(KEY)
    real, calls = Ledger._entered, []

    def failing(self: Ledger, *given: object) -> object:
        calls.append(given)
        if len(calls) == 3:
            raise RuntimeError("in the middle")
        return real(self, *given)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "_entered", failing)
        with pytest.raises(RuntimeError, match="in the middle"):
            ledger.enter(samples[:5], ["a"] * 5, alike=True)
    assert not any(entry.refused for entry in ledger.enter(samples[:5], ["b"] * 5, alike=True))
