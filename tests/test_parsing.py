"""Photos are parsed in confined processes: whatever one of those does, a photo is read as it is, or refused alone."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import hostile
import numpy as np
import pytest

from privsdk.errors import Refusal, UsageError
from privsdk.samples import images, parsing

posix = pytest.mark.skipif(os.name != "posix", reason="Windows has no such limits")
linux = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")


@pytest.fixture(autouse=True)
def processes(monkeypatch: pytest.MonkeyPatch) -> Iterator[parsing._Processes]:
    """Processes of this test alone."""
    own = parsing._Processes()
    monkeypatch.setattr(parsing, "_processes", own)
    yield own
    own.end()


@pytest.fixture
def photo() -> bytes:
    return hostile.encoded("PNG")


def shows_the_picture(pixels: images.Pixels) -> bool:
    return bool((pixels == hostile.picture()).all())


def the_only(processes: parsing._Processes) -> subprocess.Popen[bytes]:
    (process,) = processes._idle
    return process._process


def read_or_refused(source: bytes, in_this_process: bool) -> tuple[str, bytes]:
    try:
        pixels = images.decoded(source) if in_this_process else images.read(source)
    except Refusal as refusal:
        return refusal.reason, refusal.detail.encode()
    return str(pixels.shape), pixels.tobytes()


def test_the_same_comes_of_it_as_in_this_process(photos: Path, tmp_path: Path) -> None:
    """So nothing that decoding needs is out of reach, such as a module that would be imported on the way."""
    for path in [*(case.source for case in hostile.make(tmp_path)), *photos.glob("*.jpg")]:
        if isinstance(path, Path) and "\0" not in str(path) and len(path.name) < 256 and path.is_file():
            source = path.read_bytes()
            if 0 < len(source) <= images.Limits.bytes:
                assert read_or_refused(source, True) == read_or_refused(source, False), path.name


def test_one_process_reads_one_photo_after_another(processes: parsing._Processes, photo: bytes) -> None:
    assert shows_the_picture(images.read(photo))
    first = the_only(processes)
    with pytest.raises(Refusal):
        images.read(photo[:100])
    assert shows_the_picture(images.read(photo))
    assert the_only(processes) is first


def test_threads_share_few_processes(processes: parsing._Processes, photo: bytes) -> None:
    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(shows_the_picture, threads.map(images.read, [photo] * 200)))
    assert 1 <= len(processes._all) == len(processes._idle) <= parsing.MOST


@linux
def test_no_file_no_socket_and_no_root(processes: parsing._Processes, photo: bytes) -> None:
    images.read(photo)
    inside = Path(f"/proc/{the_only(processes).pid}")
    limits = {line[:25].strip(): line[25:].split()[:2] for line in (inside / "limits").read_text().splitlines()[1:]}
    for nothing in ("Max open files", "Max file size", "Max core file size"):
        assert limits[nothing] == ["0", "0"], nothing
    assert limits["Max cpu time"][0] == limits["Max cpu time"][1] != "unlimited"
    assert limits["Max address space"][0] != "unlimited"
    ids = [line.split()[1:] for line in (inside / "status").read_text().splitlines() if line.startswith(("Uid", "Gid"))]
    assert all("0" not in those for those in ids)


CONFINED = """
import json, os, signal, socket, sys
sys.path[:0] = sys.argv[1:]
from privsdk.samples.parser import Confinement
confinement = Confinement(threads=False)
confinement.begin(1000)
tried = {}
def attempt(name, act):
    try:
        act()
    except (OSError, MemoryError) as error:
        tried[name] = type(error).__name__
    else:
        tried[name] = "done"
attempt("open a file", lambda: open(sys.executable, "rb"))
attempt("make a socket", socket.socket)
attempt("make a pipe", os.pipe)
attempt("start a process", os.fork)
attempt("take little memory", lambda: bytearray(50_000_000))
attempt("take much memory", lambda: bytearray(200_000_000))
confinement.allow(10_000_000)
attempt("take much memory for many pixels", lambda: bytearray(200_000_000))
attempt("become root again", lambda: os.setuid(0) if os.getuid() else None)
print(json.dumps(tried), flush=True)
confinement.begin(1000)
while True:
    pass
"""


@linux
def test_what_is_given_up_is_gone(repository: Path) -> None:
    command = [sys.executable, "-c", CONFINED, str(repository)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert json.loads(done.stdout) == {
        "open a file": "OSError",
        "make a socket": "OSError",
        "make a pipe": "OSError",
        "start a process": "BlockingIOError",
        "take little memory": "done",
        "take much memory": "MemoryError",
        "take much memory for many pixels": "done",
        "become root again": "PermissionError",
    }
    assert done.returncode == -signal.SIGPROF  # the loop without an end took its time


BROKEN = {
    "dies of it": "os._exit(1)",
    "is killed": "os.kill(os.getpid(), 9)",
    "never answers": "time.sleep(60)",
    "answers no answer": "say(b'?' * 9)",
    "answers half a header": "say(b'+123'); os._exit(0)",
    "answers half of the pixels": "say(ANSWER.pack(READ, 48, 64) + bytes(5000)); os._exit(0)",
    "answers more pixels than are allowed": "say(ANSWER.pack(READ, 10_000, 10_000) + bytes(5000))",
    "answers pixels without an end": "say(ANSWER.pack(READ, 2**32 - 1, 2**32 - 1)); spew()",
    "answers no pixels": "say(ANSWER.pack(READ, 0, 64))",
    "names a reason that is none": "say(ANSWER.pack(REFUSED, 4, 2) + b'luck' + b'no')",
    "says what no terminal should show": "say(ANSWER.pack(REFUSED, 7, 4) + b'damaged' + b'\\x1b[2J')",
    "says what is no text": "say(ANSWER.pack(REFUSED, 7, 4) + b'damaged' + b'\\xff\\xfe\\n\\n')",
    "talks without an end": "say(ANSWER.pack(REFUSED, 7, 2**32 - 1) + b'damaged'); spew()",
}

PUPPET = """
import os, sys, time
sys.path += sys.argv[1:]
from privsdk.samples.parsing import ANSWER, READ, READY, REFUSED, REQUEST
def say(content):
    sys.stdout.buffer.write(content)
    sys.stdout.buffer.flush()
def spew():
    while True:
        say(bytes(1_000_000))
say(READY)
while True:
    token, count, _ = REQUEST.unpack(sys.stdin.buffer.read(REQUEST.size))
    say(token)
    sys.stdin.buffer.read(count)
    ACT
"""


@pytest.mark.parametrize("act", BROKEN.values(), ids=BROKEN.keys())
def test_a_process_that_breaks_costs_its_photo_alone(
    processes: parsing._Processes, photo: bytes, act: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(parsing, "_PROGRAM", PUPPET.replace("ACT", act))
        patch.setattr(parsing, "SECONDS", 3.0)
        began = time.monotonic()
        with pytest.raises(Refusal, match="Open it in a viewer") as caught:
            images.read(photo)
        assert caught.value.reason == "damaged"
        assert time.monotonic() - began < 10
        assert processes._all == set()
    assert shows_the_picture(images.read(photo))


def test_what_is_left_in_the_pipe_is_no_answer_to_the_next_photo(
    processes: parsing._Processes, photo: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    twice = "say(2 * (ANSWER.pack(READ, 1, 1) + b'abc' + token))"
    with monkeypatch.context() as patch:
        patch.setattr(parsing, "_PROGRAM", PUPPET.replace("ACT", twice))
        assert images.read(photo).tobytes() == b"abc"
    assert shows_the_picture(images.read(photo))


@posix
def test_one_that_died_meanwhile_costs_no_photo(processes: parsing._Processes, photo: bytes) -> None:
    images.read(photo)
    first = the_only(processes)
    first.kill()
    assert shows_the_picture(images.read(photo))
    assert the_only(processes) is not first


@linux
def test_one_that_photos_wore_out_is_replaced(
    processes: parsing._Processes, photo: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    leaking = "from privsdk.samples import images, parser; kept, decoded = [], images.decoded; "
    leaking += "images.decoded = lambda *given: kept.append(bytearray(30_000_000)) or decoded(*given); parser.main()"
    monkeypatch.setattr(parsing, "_PROGRAM", f"import sys; sys.path += sys.argv[1:]; {leaking}")
    seen = set()
    for _ in range(8):
        assert shows_the_picture(images.read(photo))
        seen.add(the_only(processes).pid)
    assert len(seen) == 4


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("executable", "", "is no Python"),
        ("executable", "/nowhere/python", "No such file"),
        ("frozen", True, "is no Python"),
    ],
)
def test_where_no_process_starts_no_photo_is_read(
    name: str, value: object, said: str, photo: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, name, value, raising=False)
    with pytest.raises(UsageError, match=f"no photo can be read.*{said}"):
        images.read(photo)


@pytest.mark.parametrize(
    ("program", "said"),
    [
        ("1 / 0", "does not get ready"),
        ("print('reader')", "does not get ready"),
        ("import time; time.sleep(60)", "does not get ready"),
        ("print('ready', end='')", "ends as soon as it has started"),
    ],
)
def test_where_it_does_not_come_up_no_photo_is_read(
    program: str, said: str, photo: bytes, processes: parsing._Processes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parsing, "_PROGRAM", program)
    monkeypatch.setattr(parsing, "SECONDS", 2.0)
    with pytest.raises(UsageError, match=f"no photo can be read.*{said}"):
        images.read(photo)
    assert processes._all == set()


def test_a_decoder_that_is_confined_in_vain_is_not_used(photo: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    failing = "import resource; resource.setrlimit = None; from privsdk.samples import parser; parser.main()"
    monkeypatch.setattr(parsing, "_PROGRAM", f"import sys; sys.path += sys.argv[1:]; {failing}")
    with pytest.raises(UsageError, match="does not get ready"):
        images.read(photo)


READING = """
import sys
from pathlib import Path
from privsdk.samples import images
photo = Path(sys.argv[1]).read_bytes()
pixels = images.read(photo)
"""


def run(program: str, argument: Path, folder: Path, repository: Path, **environment: str) -> str:
    """What a program prints that warns of everything, run in ``folder``; nothing may go wrong in it."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-X", "dev", "-c", program, str(argument)],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(repository)} | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_neither_the_folder_nor_the_environment_matters(photo: bytes, tmp_path: Path, repository: Path) -> None:
    (tmp_path / "photo.png").write_bytes(photo)
    for name in ("resource", "signal", "sitecustomize", "usercustomize", "struct"):
        (tmp_path / f"{name}.py").write_text("import os; os._exit(3)\n" if "custom" not in name else "")
    marked = tmp_path / "started"
    (tmp_path / "startup.py").write_text(f"open({str(marked)!r}, 'w')\n")
    environment = {"PYTHONSTARTUP": str(tmp_path / "startup.py"), "PYTHONHASHSEED": "1", "PYTHONMALLOC": "nonsense"}
    program = "import os, sys\nfrom pathlib import Path\nfrom privsdk.samples import images\n" + (
        "photo = Path(sys.argv[1]).read_bytes()\n"
        f"sys.path.insert(0, {str(tmp_path)!r})\nos.environ.update({environment!r})\n"
        "os.makedirs('gone'); os.chdir('gone'); os.rmdir('../gone')\n"
        "print(images.read(photo).shape)"
    )
    (tmp_path / "elsewhere").mkdir()
    assert run(program, tmp_path / "photo.png", tmp_path / "elsewhere", repository) == "(48, 64, 3)\n"
    assert not marked.exists()
    assert not list(tmp_path.rglob("__pycache__"))


@linux
def test_nothing_is_left_of_it_at_the_end(photo: bytes, tmp_path: Path, repository: Path) -> None:
    (tmp_path / "photo.png").write_bytes(photo)
    told = "\nfrom privsdk.samples import parsing\nprint(parsing._processes._idle[0]._process.pid, flush=True)"
    ends = ("", "\nraise SystemExit(0)", "\nimport os; os._exit(0)")
    for end in ends:
        pid = int(run(READING + told + end, tmp_path / "photo.png", tmp_path, repository))
        gone(pid)


def gone(pid: int) -> None:
    """Wait until there is no such process, or nobody but its parent, which is none of ours, still counts it."""
    give_up = time.monotonic() + 10
    while time.monotonic() < give_up:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return
        if state == "Z":
            return
        time.sleep(0.01)
    raise AssertionError(f"{pid} is still there")


@linux
def test_it_ends_with_a_parent_that_is_killed(photo: bytes, tmp_path: Path, repository: Path) -> None:
    (tmp_path / "photo.png").write_bytes(photo)
    program = READING + (
        "from privsdk.samples import parsing\n"
        "print(parsing._processes._idle[0]._process.pid, flush=True)\n"
        "import time; time.sleep(60)"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "photo.png")]
    with subprocess.Popen(command, env=os.environ | {"PYTHONPATH": str(repository)}, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        parent.kill()
    gone(pid)


@posix
def test_ctrl_c_stops_the_caller_alone(photo: bytes, tmp_path: Path, repository: Path) -> None:
    """As a terminal sends it: to the whole group of the process in front."""
    (tmp_path / "photo.png").write_bytes(photo)
    program = READING + (
        "import signal\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # whoever runs tests in the background ignores it
        "print('reading', flush=True)\n"
        "try:\n"
        "    while True:\n"
        "        images.read(photo)\n"
        "except KeyboardInterrupt:\n"
        "    print(images.read(photo).shape)\n"
    )
    command = [sys.executable, "-W", "error", "-c", program, str(tmp_path / "photo.png")]
    with subprocess.Popen(
        command,
        env=os.environ | {"PYTHONPATH": str(repository)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "reading\n"
        time.sleep(0.3)
        os.killpg(process.pid, signal.SIGINT)
        try:
            said, complained = process.communicate(timeout=30)
        finally:
            process.kill()
    assert (said, complained, process.returncode) == ("(48, 64, 3)\n", "", 0)


@posix
def test_a_fork_starts_its_own(photo: bytes, tmp_path: Path, repository: Path) -> None:
    (tmp_path / "photo.png").write_bytes(photo)
    program = READING + (
        "import gc, os\n"
        "from privsdk.samples import parsing\n"
        "mine = parsing._processes._idle[0]._process.pid\n"
        "forks = []\n"
        "for _ in range(3):\n"
        "    pid = os.fork()\n"
        "    if not pid:\n"
        "        gc.collect()\n"
        "        same = all((images.read(photo) == pixels).all() for _ in range(50))\n"
        "        os._exit(0 if same and parsing._processes._idle[0]._process.pid != mine else 1)\n"
        "    forks.append(pid)\n"
        "same = all((images.read(photo) == pixels).all() for _ in range(50))\n"
        "print(same, [os.waitpid(pid, 0)[1] for pid in forks], parsing._processes._idle[0]._process.pid == mine)\n"
    )
    assert run(program, tmp_path / "photo.png", tmp_path, repository) == "True [0, 0, 0] True\n"


def test_the_largest_photo_that_is_read(photo: bytes) -> None:
    """60 million pixels with transparency, the most that is decoded; and no more is read into memory than they take."""
    width, height = 10_000, 6_000
    packer = zlib.compressobj(1)
    line = b"\0" + bytes([200, 100, 50, 255]) * width
    packed = b"".join([*(packer.compress(line) for _ in range(height)), packer.flush()])
    pixels = images.read(hostile._png(width, height, packed, colour=6))
    assert pixels.shape == (height, width, 3)
    assert (pixels[:: height - 1, :: width - 1] == [200, 100, 50]).all()
    assert np.ptp(pixels[3000].astype(int), axis=0).tolist() == [0, 0, 0]
    assert threading.active_count() < 10
