"""The table of one fleet: what a server can use, what it can learn, what it cost, and what went wrong."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from examples.fleet.audit import Devices, Found, Leakage, by_kind, found, leakage, of_each_label, strongest
from examples.fleet.averaging import Floats
from examples.fleet.faults import RUBBISH
from examples.fleet.improvement import accuracies
from examples.fleet.improvement import leakage as leakage_of_updates
from examples.fleet.pool import Pool
from examples.fleet.population import SIMULATED, Owned
from examples.fleet.server_app import RECEIVED
from examples.fleet.utility import Right
from privsdk.auditing.metrics import Estimate, resampled

Row = tuple[str, str]

LEAST_DEVICES = 10  # in a pool, for figures

TEST, CELEBA, ALL = "people of CelebA's test partition", "people of CelebA", "all devices"
OWNERS = {TEST: ("test",), CELEBA: ("test", "valid", "train"), ALL: ("test", "valid", "train", SIMULATED)}


def table(pool: Pool, seed: int, processes: int) -> str:
    """Markdown.  What leaks is given first of people whom no part of the bundle has seen: that is what is quoted."""
    sought, right, weights = found(pool, seed, processes), Right(pool, seed), resampled_devices(pool, seed)
    return beside(pool, lambda within: figures(pool, sought, right, within, weights))


def improvement(pool: Pool, x: Floats, shared: Floats, server: Path, seed: int) -> str:
    """Markdown, of federated averaging; ``x`` and ``shared`` are what the server started with."""
    weights = resampled_devices(pool, seed)

    def rows(within: NDArray[np.bool_]) -> list[Row]:
        before, averaged, own = accuracies(pool, x, shared, server, within, weights)
        leaked = leakage_of_updates(pool, x, server, within, seed)
        return [
            ("kept labels, accuracy: shared classifiers", told(before)),
            ("after averaging", told(averaged)),
            ("gained", told(averaged - before)),
            ("after averaging, and each device's own steps", told(own)),
            ("gained", told(own - before)),
            *((f"hidden labels of devices, leakage: {name}", leaks(one)) for name, one in leaked.items()),
        ]

    return beside(pool, rows)


def beside(pool: Pool, rows: Callable[[NDArray[np.bool_]], list[Row]]) -> str:
    """A column of figures for each kind of owners that are not all of those before."""
    shown: dict[str, list[Row]] = {}
    seen = 0
    for name, partitions in OWNERS.items():
        within = pool.of(partitions)
        if within.sum() > seen:
            seen = within.sum()
            shown[name] = rows(within)
    columns = list(shown.values())
    lines = ["", f"| | {' | '.join(shown)} |", "|---" * (len(shown) + 1) + "|"]
    for number, (what, _) in enumerate(columns[0]):
        lines.append(f"| {what} | {' | '.join(column[number][1] for column in columns)} |")
    return "\n".join(lines)


def resampled_devices(pool: Pool, seed: int) -> NDArray[np.float64]:
    """Weights of devices in each draw of the bootstrap: float64 [draws, D]."""
    return resampled(np.arange(len(pool.owned)), seed=seed)


def figures(
    pool: Pool, sought: Sequence[Found], right: Right, within: NDArray[np.bool_], weights: NDArray[np.float64]
) -> list[Row]:
    """What is measured of the devices whose releases are ``within``, bool [N]; ``weights`` resample devices."""
    devices = np.zeros(len(pool.owned), bool)
    devices[pool.device[within]] = True
    kept, before = (right.accuracy(which, devices, weights) for which in (right.released, right.unfiltered))
    usual = right.accuracy(right.usual, devices, weights)
    own = {kind: Devices.of(pool, those, within) for kind, those in by_kind(sought).items()}
    together = strongest({kind: one.told(len(pool.owned)) for kind, one in own.items()})
    most = max(own.values(), key=lambda one: float(one.right.mean()))
    guessed, base = most.share(most.right, weights), most.share(most.usual == most.truth, weights)
    labels = of_each_label(pool, sought, within)
    return [
        ("devices whose releases were taken", str(int(devices.sum()))),
        ("releases", str(int(within.sum()))),
        ("kept labels, accuracy: learned from the pool", told(kept)),
        ("the same, learned from and scored on unfiltered photos", told(before)),
        ("lost", told(before - kept)),
        ("guessed by the usual class", told(usual)),
        ("hidden labels, leakage of a release", leaks(leakage(pool, sought, within))),
        ("hidden labels, leakage of all releases of a device", leaks(together)),
        ("devices whose hidden label is guessed right from all releases", told(guessed)),
        ("the same by the usual class", told(base)),
        ("more than by the usual class", told(guessed - base)),
        ("the worst wish", worst(pool, labels, within)),
    ]


def worst(pool: Pool, labels: Mapping[str, Leakage], within: NDArray[np.bool_]) -> str:
    """The label that leaks most, of those that enough devices hide."""
    if not labels:
        return "too few devices hide the same"
    label = max(labels, key=lambda one: labels[one].value)
    hiding = len(np.unique(pool.device[within & pool.hides(label)]))
    return f"{label}, hidden by {hiding} devices: {leaks(labels[label])}"


def messages(owned: Sequence[Owned], pool: Pool, server: Path) -> list[str]:
    """What was sent and refused, and how much a device sends."""
    received = json.loads((server / RECEIVED).read_text())
    faults = Counter("rubbish" if one.fault in RUBBISH else one.fault for one in owned if one.fault)
    refused = Counter(one["reason"] for one in received["refused"])
    people = [one for one in pool.owned if one.person.file_bytes is not None]
    lines = [
        f"Simulated failures: {counted(faults)}.",
        f"Of {len(owned)} devices {len(pool.owned)} are in the pool, each once, {len(received['late'])} of them late; "
        f"refused messages: {counted(refused)}.",
    ]
    if people:
        sent = sum(received["sent"][one.name] for one in people if one.fault is None)
        files = sum(one.person.file_bytes or 0 for one in people if one.fault is None)
        photos = sum(len(one.person.photos) for one in people if one.fault is None)
        lines.append(
            f"A device without failures sends {sent / photos:,.0f} bytes a release; CelebA's files here, 89 x 109 "
            f"pixels as JPEG, have {files / photos:,.0f} bytes a photo: {sent / files:.2f} times as much."
        )
    return lines


def counted(counts: Counter[str]) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(counts.items())) or "none"


def told(estimate: Estimate) -> str:
    low, high = estimate.interval
    return f"{estimate.value:.3f} ({low:.3f} to {high:.3f})"


def leaks(one: Leakage) -> str:
    return f"{one.value:.3f} ({one.interval[0]:.3f} to {one.interval[1]:.3f}), {one.by}"
