"""Photos are parsed in processes that can do nothing else: here they are started, asked and ended.

What a hostile photo breaks is such a process.  It can open no file and no socket, so it reaches no network either, and
the time and memory that it may take go by the number of pixels that the photo claims
(:mod:`privsdk.samples.parser`).  What it answers is looked at before it is believed.  Where it dies, hangs or answers
nonsense, that photo alone is refused, and the next one gets another process.

One is started when the first photo is read, and used again; threads that read at once get several, :data:`MOST` at the
most.  They end with this process, however it ends, since they only ever read from its pipe.

Windows has no such limits: there the decoder still has a process of its own, whose answer is looked at and must come
within :data:`SECONDS`, and that is all.
"""

from __future__ import annotations

import atexit
import os
import secrets
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

from privsdk.errors import REFUSAL_REASONS, Refusal, UsageError

MOST = max(1, min(4, os.cpu_count() or 1))
"""Processes at a time: each takes a processor."""

SECONDS = 60.0
"""On the clock, for a start and for a photo; what a photo may take of the processor is far less."""

REQUEST = struct.Struct(">16sQQ")
"""Comes before a photo: a token, with which the answer begins, the photo's bytes, and the most pixels to decode."""

ANSWER = struct.Struct(">cII")
"""Comes before pixels: :data:`READ`, height and width; before a reason and a detail: :data:`REFUSED`, their bytes."""

READY, READ, REFUSED = b"ready", b"+", b"-"

LONGEST = 1000  # bytes of a reason, or of a detail

# What Python has comes first, so that a user's own resource.py is not taken for it.
_PROGRAM = "import sys; sys.path += sys.argv[1:]; from privsdk.samples import parser; parser.main()"

_ENVIRONMENT = {
    name: os.environ[name]
    for name in ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "PATH", "SYSTEMROOT")  # by which libraries are found
    if name in os.environ
} | {
    # No threads: they would take memory that no picture needs.
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    # For glibc: what a large picture took is given back at once, what a small one took stays for the next.
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_THRESHOLD_": "16000000",
    "MALLOC_TRIM_THRESHOLD_": "16000000",
}


def parsed(photo: bytes, most_pixels: int) -> NDArray[np.uint8]:
    """The pixels of a photo, uint8 [H, W, 3], of which there are at most ``most_pixels``; threads may call it at once.

    Raises Refusal as :func:`privsdk.samples.images.decoded` does, with the reason ``damaged`` also where the decoder
    took too much, broke, or answered nonsense; and UsageError where no process can be started.
    """
    return _processes.parsed(photo, most_pixels)


class _GoneError(Exception):
    """The process was not in order before it had the photo."""


class _BrokenError(Exception):
    """The process died of the photo, took too long, or answers what is no answer."""


class _Process:
    """A process that parses, one photo at a time."""

    def __init__(self) -> None:
        """Raises UsageError where it cannot be started."""
        try:
            self._process = subprocess.Popen(
                _command(),
                bufsize=0,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                cwd=Path(sys.executable).anchor,  # the folder of the caller may go
                env=_ENVIRONMENT,
                start_new_session=True,  # Ctrl-C is for the caller, who then ends this process
                creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
            )
        except OSError as error:
            raise _no_process(str(error)) from error
        self._requests = cast(FileIO, self._process.stdin)
        self._answers = cast(FileIO, self._process.stdout)
        try:
            with self._killed_when_late():
                self._expect(READY)
        except BaseException as error:
            self.end()
            if isinstance(error, _BrokenError):
                raise _no_process("it does not get ready") from error
            raise

    def ask(self, photo: bytes, most_pixels: int) -> NDArray[np.uint8] | Refusal:
        """What it makes of a photo; raises _GoneError, or _BrokenError: it is of no use then."""
        token = secrets.token_bytes(16)  # nothing that an earlier photo left in the pipe is taken for this answer
        with self._killed_when_late():
            try:
                self._send(REQUEST.pack(token, len(photo), most_pixels))
                self._expect(token)
            except _BrokenError as error:
                raise _GoneError from error
            self._send(photo)
            kind, first, second = ANSWER.unpack(self._receive(bytearray(ANSWER.size)))
            if kind == READ and 0 < first * second <= most_pixels:
                return self._receive_pixels(first, second)
            if kind == REFUSED and max(first, second) <= LONGEST:
                return self._receive_refusal(first, second)
        raise _BrokenError

    def kill(self) -> None:
        """Stop it, whatever it does: it keeps nothing that would be lost."""
        self._process.kill()

    def end(self) -> None:
        """Stop it, and let go of it."""
        self._process.kill()
        self._process.wait()
        self._close()

    def forget(self) -> None:
        """Let go of it in a fork of its owner."""
        self._close()
        self._process.returncode = 0  # it is not this process's to wait for

    def _close(self) -> None:
        for pipe in (self._requests, self._answers):
            with suppress(OSError):
                pipe.close()

    @contextmanager
    def _killed_when_late(self) -> Iterator[None]:
        # Reading and writing end at once when the process does; nothing else ends them on every system.
        timer = threading.Timer(SECONDS, self.kill)
        timer.daemon = True
        try:
            timer.start()
        except RuntimeError as error:
            raise _no_process(str(error)) from error
        try:
            yield
        finally:
            timer.cancel()
            timer.join()  # so that whoever forks has one thread

    def _send(self, content: bytes) -> None:
        left = memoryview(content)
        try:
            while left:
                left = left[self._requests.write(left) :]
        except OSError as error:
            raise _BrokenError from error

    def _receive(self, into: bytearray) -> bytearray:
        self._fill(memoryview(into))
        return into

    def _receive_pixels(self, height: int, width: int) -> NDArray[np.uint8]:
        pixels = np.empty((height, width, 3), np.uint8)
        self._fill(pixels.data.cast("B"))
        return pixels

    def _receive_refusal(self, *lengths: int) -> Refusal:
        reason, detail = (self._receive(bytearray(length)).decode(errors="replace") for length in lengths)
        if reason not in REFUSAL_REASONS or not detail.isprintable():
            raise _BrokenError
        return Refusal(reason, detail)

    def _expect(self, said: bytes) -> None:
        if self._receive(bytearray(len(said))) != said:
            raise _BrokenError

    def _fill(self, left: memoryview) -> None:
        try:
            while left:
                count = self._answers.readinto(left)
                if not count:
                    raise _BrokenError
                left = left[count:]
        except OSError as error:
            raise _BrokenError from error


class _Processes:
    """Those that there are, and who may use them."""

    def __init__(self) -> None:
        self._places = threading.BoundedSemaphore(MOST)
        self._all: set[_Process] = set()
        self._idle: list[_Process] = []
        self._lock = threading.Lock()  # of the two

    def parsed(self, photo: bytes, most_pixels: int) -> NDArray[np.uint8]:
        with self._places:
            while (process := self._an_idle_one()) is not None:
                with suppress(_GoneError):
                    return self._asked(process, photo, most_pixels)
            try:
                return self._asked(self._a_new_one(), photo, most_pixels)
            except _GoneError as error:
                raise _no_process("it ends as soon as it has started") from error

    def end(self) -> None:
        """Stop all of them; those that are in use their users let go of, if they still can."""
        for one in tuple(self._all):
            one.kill()
        while (process := self._an_idle_one()) is not None:
            self._end(process)

    def forget(self) -> None:
        """Let go of all of them in a fork of their owner."""
        for process in self._all:
            process.forget()

    def _asked(self, process: _Process, photo: bytes, most_pixels: int) -> NDArray[np.uint8]:
        try:
            answer = process.ask(photo, most_pixels)
        except _BrokenError as error:
            self._end(process)
            raise Refusal(
                "damaged",
                "It broke the decoder, or took it longer than a photo of its size does. Open it in a viewer and save "
                "it anew.",
            ) from error
        except BaseException:
            self._end(process)
            raise
        with self._lock:
            self._idle.append(process)
        if isinstance(answer, Refusal):
            raise answer
        return answer

    def _an_idle_one(self) -> _Process | None:
        with self._lock:
            return self._idle.pop() if self._idle else None

    def _a_new_one(self) -> _Process:
        process = _Process()
        with self._lock:
            self._all.add(process)
        return process

    def _end(self, process: _Process) -> None:
        process.end()
        with self._lock:
            self._all.discard(process)


def _command() -> list[str]:
    """A Python that minds neither the environment nor the user's settings, and finds packages where this one does."""
    if not sys.executable or getattr(sys, "frozen", False):
        raise _no_process("this program is no Python that could start one")
    path = [os.path.abspath(entry) for entry in sys.path if entry]
    house = Path(__file__).parent.parent.parent  # where it was imported from, wherever the working directory is by now
    return [sys.executable, "-I", "-S", "-B", "-c", _PROGRAM, *path, str(house)]


def _no_process(why: str) -> UsageError:
    return UsageError(
        f"no photo can be read: the process that would parse them did not start ({why}). Check that "
        f"{sys.executable or 'Python'} can be run, and that there is memory for it"
    )


_processes = _Processes()


def _forget_in_a_fork() -> None:
    global _processes
    _processes.forget()
    _processes = _Processes()


atexit.register(lambda: _processes.end())
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_in_a_fork)
