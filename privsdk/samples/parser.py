"""The process that parses photos, started and asked by :mod:`privsdk.samples.parsing`.

It imports all that decoding needs and then gives up, for good, what decoding does not need:

- It gets no descriptor any more: no file can be opened and no socket made, so there is no network.
- No file grows, and no core is dumped.
- No process is started, unless there is HEIC's decoder, which needs threads.
- Where it ran as root it becomes nobody, who cannot take any of this back.

For each photo it may take as much time of the processor as is ample for its pixels, and, on Linux, as much memory; who
takes more time is killed, who takes more memory does not get it.  Windows has none of this.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from contextlib import suppress
from typing import BinaryIO

import numpy as np

from privsdk.errors import Refusal
from privsdk.samples import images
from privsdk.samples.parsing import ANSWER, READ, READY, REFUSED, REQUEST

if sys.platform != "win32":
    import resource

# Measured with 60 million pixels in every format: up to .06 microseconds a pixel on one core of 2025, which telephones
# do not reach, and up to 21 bytes, for a HEIC of 12 bits with transparency.
SECONDS, SECONDS_A_PIXEL = 0.5, 0.5e-6
MEMORY, MEMORY_A_PIXEL = 96_000_000, 24
COPIES = 3  # of the photo's bytes: as they came, and as decoders copy them

MOST_SECONDS = 600
"""Of the processor, for all photos together."""

NOBODY = 65534
"""The user and group that has no rights."""

PIXELS_AT_ONCE = 1_000_000
"""As many are made contiguous before they are written."""


def main() -> None:
    """Answer requests until there are no more."""
    requests, answers = sys.stdin.buffer, sys.stdout.buffer
    confinement = Confinement(threads=images.load_decoders())
    answers.write(READY)
    answers.flush()
    while not confinement.worn_out() and len(request := requests.read(REQUEST.size)) == REQUEST.size:
        token, count, most_pixels = REQUEST.unpack(request)
        answers.write(token)
        answers.flush()
        confinement.begin(count)
        answer(requests.read(count), most_pixels, confinement, answers)
        answers.flush()
        confinement.end()


def answer(photo: bytes, most_pixels: int, confinement: Confinement, answers: BinaryIO) -> None:
    """Write the pixels of a photo, or why there are none."""
    try:
        pixels = images.decoded(photo, most_pixels, confinement.allow)
    except Refusal as refusal:
        reason, detail = refusal.reason.encode(), refusal.detail.encode()
        answers.write(ANSWER.pack(REFUSED, len(reason), len(detail)) + reason + detail)
        return
    height, width, _ = pixels.shape
    answers.write(ANSWER.pack(READ, height, width))
    rows = max(1, PIXELS_AT_ONCE // width)
    for top in range(0, height, rows):
        answers.write(np.ascontiguousarray(pixels[top : top + rows]).data)


class Confinement:
    """What the process may do: nothing but decode; and how much the photo at hand may take."""

    def __init__(self, threads: bool) -> None:
        if sys.platform == "win32":
            return
        if sys.platform == "linux":
            self._statm = open("/proc/self/statm", "rb", buffering=0)  # noqa: SIM115 - while others may not be opened
            self._memory_at_start = self._memory()
        for kind in (resource.RLIMIT_NOFILE, resource.RLIMIT_FSIZE, resource.RLIMIT_CORE):
            resource.setrlimit(kind, (0, 0))
        if not threads:
            resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
        hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
        most = MOST_SECONDS if hard == resource.RLIM_INFINITY else min(hard, MOST_SECONDS)
        resource.setrlimit(resource.RLIMIT_CPU, (most, most))
        if os.geteuid() == 0:
            with suppress(OSError):  # a root that has no other user, as in some containers
                os.setgroups([])
                os.setgid(NOBODY)
                os.setuid(NOBODY)

    def begin(self, count: int) -> None:
        """A photo of so many bytes comes."""
        self._bytes = count
        self._began = time.process_time()
        self.allow(0)

    def allow(self, pixels: int) -> None:
        """It has so many pixels: from when it began the time and the memory that they need may be taken."""
        if sys.platform == "win32":
            return
        left = self._began + SECONDS + pixels * SECONDS_A_PIXEL - time.process_time()
        signal.setitimer(signal.ITIMER_PROF, max(left, 1e-6))  # when it is over the system kills the process
        if sys.platform == "linux":
            most = self._memory_at_start + MEMORY + COPIES * self._bytes + pixels * MEMORY_A_PIXEL
            hard = resource.getrlimit(resource.RLIMIT_AS)[1]
            resource.setrlimit(resource.RLIMIT_AS, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))

    def end(self) -> None:
        """The photo is done with."""
        if sys.platform != "win32":
            signal.setitimer(signal.ITIMER_PROF, 0)

    def worn_out(self) -> bool:
        """Whether another process should go on, since what photos left behind would count against the next ones."""
        if sys.platform == "linux" and self._memory() - self._memory_at_start > MEMORY // 2:
            return True
        return time.process_time() > MOST_SECONDS / 2

    def _memory(self) -> int:
        """Bytes of address space that are taken."""
        self._statm.seek(0)
        return int(self._statm.read().split()[0]) * resource.getpagesize()
