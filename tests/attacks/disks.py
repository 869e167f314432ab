"""The disk fails: at every call that writes, and really: small disks that get full, and disks that take no file."""

from __future__ import annotations

import ctypes
import json
import os
import traceback
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from privsdk.release import photos
from tests.attacks import strace
from tests.attacks.releasing import Ended, Place, Scene, Undisturbed, emptied, leave_temporary_files, listed
from tests.attacks.trial import Attempt, Fault, Outcome, Trial

PHOTOS = 3
FAILS: dict[str, tuple[str, ...]] = {
    "openat": ("ENOSPC", "EROFS", "EACCES", "EIO"),
    **dict.fromkeys(strace.NEW, ("ENOSPC", "EROFS", "EIO")),
    **dict.fromkeys(strace.CHANGED, ("ENOSPC", "EIO")),
    **dict.fromkeys(strace.SYNCED, ("ENOSPC", "EIO")),
    "unlink": ("EROFS", "EIO"),
    "utimensat": ("EROFS", "EIO"),
}
"""How each call can fail: no room or no inode, a disk that is mounted to be read, no permission, a broken disk."""

WORDS = (
    *("No space left on device", "disk is full", "Input/output error", "disk I/O error"),
    *("Read-only file system", "readonly database", "Permission denied", "unable to open database file", "is closed"),
)
"""One of them must be in what the user is told."""

PAGE = 4096
MOUNT_NAMESPACE, USER_NAMESPACE = 0x00020000, 0x10000000
READ_ONLY, REMOUNT, RECURSIVE, OF_OUR_OWN = 1, 32, 16384, 1 << 18


@dataclass(frozen=True)
class Disk:
    """One that has room for so many pages and so many files and folders, or can only be read."""

    pages: int = 4096
    inodes: int = 4096
    writable: bool = True


def run(attempt: Attempt) -> Outcome:
    if not strace.is_here():
        return Outcome(False, "not tried: strace is missing")
    random = np.random.default_rng(attempt.seed)
    scene = Scene.made(attempt.folder, PHOTOS)
    undisturbed = Undisturbed(scene, attempt.folder / "undisturbed")
    inputs = scene.inputs()
    broken, tried, of = _injected(attempt, scene, undisturbed, random)
    real = _in_mounts_of_its_own(attempt.folder, lambda: _on_real_disks(attempt, scene, undisturbed, random))
    if scene.inputs() != inputs:
        broken["an input is another one afterwards"] += 1
    seen = f"{tried} of {of} failures of a call"
    if real is None:
        seen += " (real disks: not tried, nothing can be mounted here)"
    else:
        seen += f" and {real.pop('tried')} real disks that were full, without inodes or read-only"
        broken += Counter(real)
    seen += f"; {sum(broken.values())} went wrong"
    return Outcome(not broken, seen + listed(broken))


def _injected(
    attempt: Attempt, scene: Scene, undisturbed: Undisturbed, random: np.random.Generator
) -> tuple[Counter[str], int, int]:
    """What went wrong, how many failures were injected, and how many there are."""
    broken = Counter[str]()
    with emptied(attempt.folder / "dry") as dry:
        strace.run(Place(scene, dry).started(), attempt.folder / "log")
        steps = strace.steps((attempt.folder / "log").read_text(), dry)
    every = [(step, error) for step in steps for error in FAILS[step.call]]
    tried = passed_over = 0
    for number in strace.kinds_first([step for step, _ in every], random):
        step, error = every[number]
        if tried == attempt.size:
            break
        with emptied(attempt.folder / "failing") as failing:
            place = Place(scene, failing)
            try:
                ended = strace.run(place.started(), attempt.folder / "log", step, f"error={error}")
            except strace.OtherCallError:
                passed_over += 1
                continue
            tried += 1
            takes_away = step.call == "unlink"  # what cannot be taken away stays
            found = _wrong(place, ended, undisturbed, parts=takes_away)
            # SQLite alone calls fdatasync; it passes over folders that it cannot sync, which hold no name of ours.
            if not ended.code and step.call in (*strace.CHANGED, "fsync"):
                found.append("an error is passed over")
            found += _goes_on(place, ended, undisturbed, litter=takes_away)
            broken.update(f"{each} ({error} at {step.call} {strace.kind(step.path)})" for each in found)
    if passed_over > tried:
        raise RuntimeError(f"only {tried} of {tried + passed_over} failures were met again")
    return broken, tried, len(every)


def _on_real_disks(
    attempt: Attempt, scene: Scene, undisturbed: Undisturbed, random: np.random.Generator
) -> dict[str, int]:
    """What went wrong, and how many disks were ``tried``."""
    broken = Counter[str](tried=0)
    with emptied(attempt.folder / "disk") as folder:
        for disk in [Disk(writable=False), *_too_small(scene, folder, random)][: attempt.size]:
            _mount(folder, disk)
            place = Place(scene, folder)
            ended = place.run()
            broken["tried"] += 1
            found = _wrong(place, ended, undisturbed, parts=False)
            _mount(folder, Disk(), again=True)
            found += _goes_on(place, ended, undisturbed, litter=False)
            broken.update(f"{each} ({disk})" for each in found)
            _unmount(folder)
    return dict(broken)


def _too_small(scene: Scene, folder: Path, random: np.random.Generator) -> list[Disk]:
    """All disks that have too little room for a release, in any order."""
    _mount(folder, Disk())
    Place(scene, folder).run()
    left = os.statvfs(folder)
    pages = (left.f_blocks - left.f_bfree) * left.f_frsize // PAGE
    files = left.f_files - left.f_ffree
    _unmount(folder)
    disks = [Disk(pages=number) for number in range(1, pages)] + [Disk(inodes=number) for number in range(2, files)]
    return [disks[place] for place in random.permutation(len(disks))]


def _wrong(place: Place, ended: Ended, undisturbed: Undisturbed, parts: bool) -> list[str]:
    """What is wrong right after the failure, which may also have been harmless."""
    if not ended.code:
        return place.unfinished(undisturbed)
    return ended.unclear(*WORDS) + place.complaints(undisturbed, parts)


def _goes_on(place: Place, ended: Ended, undisturbed: Undisturbed, litter: bool) -> list[str]:
    """What is wrong when the disk works again and the same command has gone on."""
    if place.is_finished():  # nothing will go on here that could clear up
        return place.unfinished(undisturbed) + ([] if litter or ended.code else place.litter())
    return place.go_on(undisturbed.privatizer) or place.unfinished(undisturbed) + ([] if litter else place.litter())


def _in_mounts_of_its_own(folder: Path, work: Callable[[], dict[str, int]]) -> dict[str, int] | None:
    """What ``work`` returns, in a fork that may mount, seen by nobody else; None where the system forbids it."""
    answer = folder / "answer"
    child = os.fork()
    if child == 0:
        try:
            if _may_mount():
                answer.write_text(json.dumps(work()))
            os._exit(0)
        except BaseException:  # noqa: BLE001 - nothing of the fork may go on in its parent's code
            traceback.print_exc()
        os._exit(1)
    if os.waitpid(child, 0)[1]:
        raise RuntimeError("the trial on real disks has failed")
    return json.loads(answer.read_text()) if answer.exists() else None


def _may_mount() -> bool:
    user, group = os.getuid(), os.getgid()
    libc = ctypes.CDLL(None)
    if libc.unshare(MOUNT_NAMESPACE | (USER_NAMESPACE if user else 0)):
        return False
    if user:
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"0 {user} 1")
        Path("/proc/self/gid_map").write_text(f"0 {group} 1")
    return libc.mount(None, b"/", None, RECURSIVE | OF_OUR_OWN, None) == 0


def _mount(folder: Path, disk: Disk, again: bool = False) -> None:
    settings = f"size={disk.pages * PAGE},nr_inodes={disk.inodes},mode=700"
    flags = (REMOUNT if again else 0) | (0 if disk.writable else READ_ONLY)
    if ctypes.CDLL(None, use_errno=True).mount(b"tmpfs", bytes(folder), b"tmpfs", flags, settings.encode()):
        raise OSError(ctypes.get_errno(), f"no {disk} can be mounted")


def _unmount(folder: Path) -> None:
    if ctypes.CDLL(None, use_errno=True).umount(bytes(folder)):
        raise OSError(ctypes.get_errno(), f"{folder} cannot be unmounted")


def _pass_errors_over() -> None:
    for name in ("write_atomically", "write_new"):
        write = getattr(photos, name)

        def written(*arguments: object, write: Callable[..., None] = write, **named: object) -> None:
            with suppress(OSError):
                write(*arguments, **named)

        setattr(photos, name, written)


TRIAL = Trial(
    name="disks",
    tries="disk full, read-only, I/O error, no inodes, no permission: each at every call that writes (strace), and on "
    "real disks of every size that is too small (tmpfs)",
    must="one clear line and exit code 2 or 3, nothing lost, inputs as they were, no partial file; when the disk works "
    "again the same command completes, with the same bytes",
    size=400,
    part=30,
    enough=30,
    run=run,
    faults=(
        Fault("passes-errors-over", _pass_errors_over),
        Fault("leaves-temporary-files", leave_temporary_files),
    ),
)
