"""What a start costs and what it touches: no heavy module, no socket, no file written.

Each test runs a fresh interpreter, since this one has imported everything already.  The audit hook sees what
Python does; what native code does is looked for afterwards, in the open descriptors and on the disk.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from privsdk import Privatizer

HEAVY = ("torch", "sklearn", "scipy", "onnx", "onnxscript", "spox", "matplotlib", "export")

LOADED = """
import json, sys
present = [name for name, module in sys.modules.items() if module is not None]
print(json.dumps(sorted({name.partition(".")[0] for name in present})))
"""

TORCH_IS_ABSENT = """
import sys
sys.modules.update(dict.fromkeys(("torch", "sklearn", "scipy")))  # None there: an import does not find it
"""

WATCHED = """
import sys
seen = []
WRITE = 0o1 | 0o2 | 0o100 | 0o1000 | 0o2000  # O_WRONLY, O_RDWR, O_CREAT, O_TRUNC, O_APPEND
REACHING = ("socket.", "subprocess.", "os.exec", "os.fork", "os.posix_spawn", "os.system")
CHANGING = ("os.mkdir", "os.rename", "os.remove", "os.link", "os.symlink", "os.truncate", "os.chmod")
def watch(event, arguments):
    if event.startswith(REACHING):
        seen.append(event)
    elif event in CHANGING:
        seen.append(f"{event} {arguments[0]}")
    elif event == "open" and arguments[2] & WRITE and arguments[0] != "/dev/null":
        seen.append(f"open for writing {arguments[0]}")
sys.addaudithook(watch)
"""

SEEN = """
import json, os
if os.path.isdir("/proc/self/fd"):
    for descriptor in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{descriptor}")
        except FileNotFoundError:  # the descriptor of this very listing
            continue
        if target.startswith("socket:"):
            seen.append(f"an open {target}")
print(json.dumps(seen))
"""

OPEN_AND_USE = """
import numpy as np, privsdk
bundle = privsdk.Bundle.open(BUNDLE)
latents = bundle.encode(np.zeros((2, 64, 64, 3), np.uint8))
bundle.decode(latents.mean)
"""


def run(program: str, folder: Path, repository: Path) -> list[str]:
    """What ``program``, run by a fresh interpreter that owns nothing but ``folder``, prints last (JSON)."""
    places = ("HOME", "TMPDIR", "XDG_CACHE_HOME", "XDG_DATA_HOME", "PRIVSDK_HOME")
    environment = os.environ | dict.fromkeys(places, str(folder))
    environment |= {"PYTHONPATH": str(repository), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    answer: list[str] = json.loads(done.stdout.splitlines()[-1])
    return answer


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    """A folder that is the working directory, the home and every cache of the interpreter under test."""
    folder = tmp_path / "empty"
    folder.mkdir()
    return folder


@pytest.fixture(scope="module")
def saved_privatizer(privatizer: Privatizer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a privatizer that was fitted with torch."""
    path = tmp_path_factory.mktemp("saved") / "male-smiling.privatizer"
    privatizer.save(path)
    return path


def test_import_is_light(empty: Path, repository: Path) -> None:
    loaded = run("import privsdk" + LOADED, empty, repository)
    assert "privsdk" in loaded
    assert set(loaded) & set(HEAVY) == set()


def test_help_is_light(empty: Path, repository: Path) -> None:
    program = "import sys\nfrom privsdk.cli import main\nsys.argv = ['privsdk', '--help']\n"
    program += "try:\n    main()\nexcept SystemExit as done:\n    if done.code:\n        raise\n"
    loaded = run(program + LOADED, empty, repository)
    assert set(loaded) & {*HEAVY, "onnxruntime", "PIL"} == set()


def test_help_takes_under_half_a_second_of_processor_time(empty: Path, repository: Path) -> None:
    """The least of three, in processor time: a busy machine does not fail it, a heavy import does."""
    program = "from privsdk.cli import main; import sys; sys.argv = ['privsdk', '--help']; main()"
    command = [sys.executable, "-c", program]
    environment = os.environ | {"PYTHONPATH": str(repository)}
    seconds = []
    for _ in range(4):  # the first one writes the bytecode and warms the disk
        before = os.times()
        subprocess.run(command, cwd=empty, env=environment, stdout=subprocess.DEVNULL, check=True)
        after = os.times()
        spent = after.children_user - before.children_user + after.children_system - before.children_system
        seconds.append(spent)
    assert min(seconds[1:]) < 0.5


def test_a_saved_privatizer_works_without_torch(
    empty: Path, repository: Path, photos: Path, bundle_folder: Path, saved_privatizer: Path
) -> None:
    program = f"""
import privsdk
bundle = privsdk.Bundle.open({str(bundle_folder)!r})
privatizer = privsdk.Privatizer.load({str(saved_privatizer)!r}, bundle=bundle)
(done,) = privatizer.release([{str(photos / "photo-01.jpg")!r}], "released")
assert isinstance(done, privsdk.Release), done
"""
    loaded = run(TORCH_IS_ABSENT + program + LOADED, empty, repository)
    assert set(loaded) & set(HEAVY) == set()
    assert len(list((empty / "released").glob("*.png"))) == 1


def test_a_saved_privatizer_imports_no_torch_where_there_is_one(
    empty: Path, repository: Path, bundle_folder: Path, saved_privatizer: Path
) -> None:
    program = f"""
import numpy as np, privsdk
bundle = privsdk.Bundle.open({str(bundle_folder)!r})
privatizer = privsdk.Privatizer.load({str(saved_privatizer)!r}, bundle=bundle)
privatizer.privatize(np.zeros((2, 64, 64, 3), np.uint8), key=bytes(32))
"""
    assert set(run(program + LOADED, empty, repository)) & set(HEAVY) == set()


def test_opening_a_bundle_opens_no_socket_and_writes_no_file(
    empty: Path, repository: Path, bundle_folder: Path
) -> None:
    program = WATCHED + OPEN_AND_USE.replace("BUNDLE", repr(str(bundle_folder))) + SEEN
    assert run(program, empty, repository) == []
    assert list(empty.rglob("*")) == []


@pytest.mark.parametrize(
    ("act", "event"),
    [
        ("import socket; kept = socket.socket()", "socket.__new__"),
        ("open('left-behind', 'w').close()", "open for writing left-behind"),
        ("import os; os.mkdir('left-behind')", "os.mkdir left-behind"),
    ],
)
def test_the_watch_sees_what_it_watches_for(empty: Path, repository: Path, act: str, event: str) -> None:
    assert event in run(f"{WATCHED}\n{act}\n{SEEN}", empty, repository)
