"""A device: a folder with somebody's photos, wishes and key.  What leaves it is what :meth:`Device.answer` gives."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, fields
from functools import cache, cached_property, lru_cache
from pathlib import Path

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict
from numpy.typing import NDArray

import privsdk
from examples.fleet.faults import COMES_BACK, DROPS_OUT, IS_LATE, REPEATS, RUBBISH, DroppedOutError
from privsdk.filters.couplings import PublicFlow
from privsdk.store.folder import write_atomically

RELEASES, ENVELOPE = "releases", "envelope"

ALBUM, WISH, KEY, LABELS, FAULT = "album.npy", "wish.json", "key", "labels.npy", "fault"
RELEASED, SENT = "released.npy", "sent"

MANY = 10_000  # rows: only what a fit learns from has so many


class SharedFlow(PublicFlow):
    """The public flow, which remembers what it made of the draws that a fit begins with.

    They are of public latents and the same whatever is hidden, so simulated devices in one process compute them once.
    """

    @cached_property
    def _remembered(self) -> dict[bytes, NDArray[np.float32]]:
        return {}

    def forward(self, z: NDArray[np.float32]) -> NDArray[np.float32]:
        if len(z) < MANY:
            return super().forward(z)
        drawn = hashlib.sha256(z.tobytes()).digest()
        if drawn not in self._remembered:
            self._remembered[drawn] = super().forward(z)
        return self._remembered[drawn]


@cache
def open_bundle(name: str) -> privsdk.Bundle:
    """The bundle of that name, opened once a process."""
    bundle = privsdk.Bundle.open(name)
    vars(bundle)["flow"] = SharedFlow(*(getattr(bundle.flow, field.name) for field in fields(PublicFlow)))
    return bundle


def named(number: int) -> str:
    """What the device of this number is called."""
    return f"device-{number:04}"


@dataclass(frozen=True)
class Wish:
    """What a device hides and keeps: labels of the bundle of that name."""

    bundle: str
    private: tuple[str, ...]
    utility: tuple[str, ...]

    @classmethod
    def from_json(cls, text: str) -> Wish:
        found = json.loads(text)
        return cls(found["bundle"], tuple(found["private"]), tuple(found["utility"]))


@lru_cache(maxsize=2)
def fitted(wish: Wish) -> privsdk.Privatizer:
    """A filter for this wish: it is the same whoever fits it, so simulated devices in one process share it.

    Raises what ``privsdk.fit`` raises.
    """
    # torch is the server's; what trains here is in the base install.
    return privsdk.fit(open_bundle(wish.bundle), wish.private, wish.utility, engine="onnx")


@dataclass(frozen=True)
class Device:
    """The folder's name is the device's, and tells nothing of its owner."""

    folder: Path

    @classmethod
    def made(
        cls,
        folder: Path,
        album: NDArray[np.uint8],
        wish: Wish,
        key: bytes,
        labels: NDArray[np.uint8],
        fault: str | None = None,
    ) -> Device:
        """Writes the folder; what a device of the same album, wish and key released before is kept.

        ``album`` are uint8 samples [N, *shape] in an order that tells nothing; ``labels`` uint8 [N, U] what the owner
        says of the utility labels; ``key`` 32 bytes; ``fault`` one of :data:`examples.fleet.faults.FAULTS`.
        """
        folder.mkdir(parents=True, exist_ok=True)
        (folder / SENT).unlink(missing_ok=True)
        np.save(folder / ALBUM, album)
        np.save(folder / LABELS, labels)
        (folder / WISH).write_text(json.dumps(vars(wish)))
        (folder / KEY).write_bytes(key)
        if fault is not None:
            (folder / FAULT).write_text(fault)
        return cls(folder)

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def wish(self) -> Wish:
        return Wish.from_json((self.folder / WISH).read_text())

    @property
    def fault(self) -> str | None:
        path = self.folder / FAULT
        return path.read_text() if path.exists() else None

    @property
    def labels(self) -> NDArray[np.uint8]:
        """What the owner says of the utility labels, uint8 [N, U]: it does not leave the device."""
        return np.load(self.folder / LABELS)

    def released(self) -> NDArray[np.uint8]:
        """The album as it may leave, uint8 [N, *shape]: made once, by a filter that is fitted here and now.

        Raises what ``privsdk.fit`` raises, and a Refusal where a sample must not go out: then nothing does.
        """
        path = self.folder / RELEASED
        if not path.exists():
            album, key = np.load(self.folder / ALBUM), (self.folder / KEY).read_bytes()
            releases = fitted(self.wish).privatize(album, key=key)
            write_atomically(path, Array(releases).data)  # which is what np.save writes
        return np.load(path)

    def answer(self, call: int) -> RecordDict:
        """What is sent at the server's ``call``, counted from 1: once the releases, from then on nothing.

        Raises what :meth:`released` does, and DroppedOutError where a failure is simulated.
        """
        fault = self.fault
        if fault == DROPS_OUT or (fault == COMES_BACK and call == 1):
            raise DroppedOutError(f"{self.name} is off")
        sent = self.folder / SENT
        made_at = int(sent.read_text()) if sent.exists() else None
        if made_at is not None and fault not in (REPEATS, IS_LATE):
            return RecordDict()
        releases = self.released()
        if made_at is None:
            write_atomically(sent, str(call).encode())
            made_at = call
            if fault == IS_LATE:
                return RecordDict()
        content = RUBBISH[fault](releases) if fault in RUBBISH else Array(releases)
        return RecordDict(
            {
                RELEASES: ArrayRecord({RELEASES: content}),
                ENVELOPE: ConfigRecord({"device": self.name, "call": made_at}),
            }
        )
