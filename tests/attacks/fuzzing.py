"""Coverage-guided fuzzing of what reads other people's bytes: nothing but errors of the tree may come of it.

    python -m tests.attacks.fuzzing READER SECONDS SEED FOLDER FAULT

fuzzes one reader with atheris (libFuzzer), which ends its process: the trial starts one for each reader.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from typing import Any

from tests.attacks.trial import REPOSITORY, Attempt, Fault, Outcome, Trial

READERS = ("photo", "manifest", "privatizer", "table", "labels")
READING = (
    *("privsdk.samples.images", "privsdk.samples.labels", "privsdk.samples.tables"),
    *("privsdk.bundle", "privsdk.privatizer", "privsdk.filters.flow"),
)
"""What is fuzzed: coverage is counted in these, and in what they import of privsdk and of Pillow."""

LEAST_EDGES = 40
MOST_SECONDS_ONE = 20
MOST_MEGABYTES = 3000


def fuzzed(attempt: Attempt) -> Outcome:
    if find_spec("atheris") is None:
        return Outcome(False, "atheris is not installed: pip install -e '.[attacks]'")
    readers = [FAULTY[attempt.fault]] if attempt.fault else READERS
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        found = list(pool.map(partial(_alone, attempt), readers))
    broken = [why for _, why in found if why]
    return Outcome(not broken, "; ".join([*broken, *(seen for seen, _ in found)]))


def _alone(attempt: Attempt, reader: str) -> tuple[str, str]:
    """One reader in a process of its own: how much was tried, and what broke, if anything did."""
    folder = attempt.folder / reader
    folder.mkdir()
    command = [sys.executable, "-m", "tests.attacks.fuzzing", reader, str(attempt.size), str(attempt.seed)]
    done = subprocess.run(
        [*command, str(folder), attempt.fault or "none"],
        cwd=REPOSITORY,
        env={**attempt.environment()},
        capture_output=True,
        text=True,
        timeout=120 + 3 * attempt.size,
    )
    ran = re.search(r"number_of_executed_units: (\d+)", done.stderr)
    reached = re.findall(r" cov: (\d+) ", done.stderr)
    edges = int(reached[-1]) if reached else 0
    # An exception is told on stdout, what libFuzzer makes of it on stderr.
    why = f"{reader}: {_why(done.stdout + done.stderr)}" if done.returncode or ran is None else ""
    if not why and edges < LEAST_EDGES:
        why = f"{reader}: only {edges} edges were reached, so next to nothing was tried"
    return f"{reader} {int(ran[1]) if ran else 0:,} inputs, {edges} edges", why


def _why(said: str) -> str:
    lines = [line.strip() for line in said.splitlines()]
    errors = [line for line in lines if re.match(r"(\w+\.)*\w+(Error|Exception)\b|==\d+== ERROR", line)]
    return (errors or lines[-1:] or ["nothing was said"])[0][:200].replace("|", "/")


# ------------------------------------------------------------------------------- the process that is fuzzed


def _fuzz(reader: str, seconds: int, seed: int, folder: Path, fault: str) -> None:
    import atheris

    with atheris.instrument_imports(include=["privsdk", "PIL"]):
        for module in READING:
            import_module(module)
    from privsdk.errors import PrivsdkError

    if fault != "none":
        {one.name: one for one in TRIAL.faults}[fault].plant()
    seeds, read = _target(reader, folder)
    (folder / "corpus").mkdir()
    for number, content in enumerate(seeds):
        (folder / "corpus" / f"{number}").write_bytes(content)

    def one(data: bytes) -> None:
        with suppress(PrivsdkError):
            read(data)

    limits = [f"-max_total_time={seconds}", f"-timeout={MOST_SECONDS_ONE}", f"-rss_limit_mb={MOST_MEGABYTES}"]
    kept = [f"-artifact_prefix={folder}/", "-print_final_stats=1", f"-seed={seed + 1}", "-max_len=20000"]
    atheris.Setup(["fuzzing", str(folder / "corpus"), *limits, *kept], one)
    atheris.Fuzz()


def _target(reader: str, folder: Path) -> tuple[list[bytes], Callable[[bytes], Any]]:
    """Where fuzzing begins, and what is done with the bytes that come of it."""
    from privsdk import Bundle, Privatizer, filters
    from privsdk.arrays import unpack
    from privsdk.bundle import MANIFEST
    from privsdk.samples import images, labels, tables
    from tests.make_bundle import flow_privatizer, make_bundle

    def from_a_file(read: Callable[[Path], Any]) -> Callable[[bytes], Any]:
        def written(data: bytes) -> Any:
            (folder / "input").write_bytes(data)
            return read(folder / "input")

        return written

    if reader == "photo":
        return _pictures(), images.decoded
    if reader == "labels":
        return [b"photo,Male,Smiling\na.jpg,1,0\n", b"\xef\xbb\xbfphoto;Male\r\na.jpg;yes\r\n"], from_a_file(
            lambda path: labels.read_labels(path, ["Male"])
        )
    if reader == "table":
        table = Bundle.open("adult").table
        assert table is not None
        whole = tables.write_table([column.name for column in table.columns], _rows(table), ",")
        return [whole, whole.replace(b",", b";")], from_a_file(lambda path: tables.read_table(path, table))
    bundle_folder = make_bundle(folder / "bundle")
    bundle = Bundle.open(bundle_folder)
    if reader == "manifest":
        files = {path.name: path.read_bytes() for path in bundle_folder.iterdir()}

        def manifest(data: bytes) -> None:
            # As it would have been written: that it is not is the first thing that is looked at, and the only one then.
            with suppress(ValueError, RecursionError):
                data = json.dumps(json.loads(data), indent=1).encode() + b"\n"
            Bundle(data, files)

        return [(bundle_folder / MANIFEST).read_bytes()], manifest
    privatizer = flow_privatizer(bundle)
    arrays, content = unpack(privatizer.to_bytes())
    settings = json.dumps(content["filter"]).encode()

    def saved(data: bytes) -> None:
        if data[:1] != b"{":
            Privatizer.from_bytes(data, bundle)
            return
        # The digest keeps all else from being looked at: here the settings and the record get past it.
        try:
            filter_ = json.loads(data)
            kind, given, record = str(filter_["kind"]), filter_["settings"], filter_.get("record", content["record"])
        except (ValueError, RecursionError, KeyError, TypeError):
            return
        Privatizer(bundle, filters.load(kind, given, arrays), record)._try_out()

    return [privatizer.to_bytes(), settings, json.dumps(content["filter"] | content).encode()], saved


def _pictures() -> list[bytes]:
    """A small picture in every format, from code."""
    import numpy as np
    from PIL import Image

    pixels = np.random.default_rng(0).integers(0, 256, (12, 16, 3)).astype(np.uint8)
    found = []
    for format in ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"):
        for mode in ("RGB", "L", "P"):
            file = BytesIO()
            exif = Image.Exif()
            exif[0x0112] = 6
            kept: dict[str, Any] = {"exif": exif} if format in ("PNG", "JPEG", "WEBP", "TIFF") else {}
            image = Image.fromarray(pixels).convert(mode)
            (image.convert("L") if format == "JPEG" and mode == "P" else image).save(file, format, **kept)
            found.append(file.getvalue())
    return found


def _rows(table: Any) -> list[list[str]]:
    import numpy as np

    samples = np.zeros((2, len(table)), np.uint8)
    return [list(row) for row in table.cells(samples)]


# ----------------------------------------------------------------------------------------- planted faults


def _decoders_speak_for_themselves() -> None:
    from PIL import Image

    from privsdk.samples import images

    images.decoded = lambda data: images.np.array(Image.open(BytesIO(data)))  # type: ignore[assignment]


def _fields_are_not_counted() -> None:
    from privsdk.samples import labels

    real = labels._value

    def value(field: str, where: str) -> int:
        return int(field) if field[:1].isdigit() else real(field, where)

    labels._value = value


FAULTY = {"decoders-speak-for-themselves": "photo", "numbers-are-taken-as-they-are": "labels"}
"""The reader that each fault is in."""

TRIAL = Trial(
    name="fuzzing",
    tries="coverage-guided fuzzing (atheris) of the readers of photos, manifests, privatizers, tables and labels; "
    "size: seconds each",
    must="no crash outside the tree of errors",
    size=600,
    part=3,
    enough=12,
    run=fuzzed,
    faults=(
        Fault("decoders-speak-for-themselves", _decoders_speak_for_themselves),
        Fault("numbers-are-taken-as-they-are", _fields_are_not_counted),
    ),
)

if __name__ == "__main__":
    _fuzz(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]), sys.argv[5])
