"""How long everything takes on this machine, how much it needs, and how far that is from the floor.

Each number of threads is measured in a process of its own, since the numerical libraries take theirs when
they are loaded; so is a cold start, with the memory that it peaks at.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeAlias

import numpy as np

from privsdk.bundle import Bundle
from privsdk.codec import Pixels
from privsdk.errors import PrivsdkError, Refusal, UsageError
from privsdk.files import read_regular
from privsdk.filters import Filter
from privsdk.fitting import fit
from privsdk.privatizer import Privatizer
from privsdk.release import Release
from privsdk.runtime import MOST_THREADS, check_threads
from privsdk.samples import images
from privsdk.samples.faces import SIZE, Detector, faces_in
from privsdk.store.folder import write_atomically

Place: TypeAlias = tuple[str, int, int]
"""A step, its number of threads, and its batch."""

BATCHES = (1, 16)
LEAST_SECONDS = 0.6  # that a step is repeated for,
LEAST_RUNS = 15  # and how often at least
COLD_STARTS = 3
LARGEST_EARLIER = 1_000_000  # bytes of earlier figures; they take some thousands
MATRIX = 768  # rows of the square matrices whose product shows the processor's peak
PACKAGES = ("onnxruntime", "numpy", "pillow", "typer", "safetensors")
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
FACE_IN_PHOTO = 256  # pixels a side of the face in a photo made for want of a real one
PASSES = {"scores": 1, "flow": 2, "code": 2}
"""How often at least a sample meets each weight of the filter: the scores, and the flows there and back."""
CPU_MODEL = (
    "vendor_id",
    "cpu family",
    "model",
    "stepping",
    "CPU implementer",
    "CPU variant",
    "CPU part",
    "CPU revision",
)
"""What /proc/cpuinfo says of a processor that is its model's own, on x86 and on arm."""


@dataclass(frozen=True)
class Earlier:
    """What ``privsdk bench --json`` printed into ``file``.

    ``of`` says what the figures are of, ``medians`` the seconds of each step.
    """

    file: Path
    of: Mapping[str, str]
    medians: Mapping[Place, float]

    @classmethod
    def read(cls, file: Path) -> Earlier:
        """The figures in a file; raises UsageError where it holds none."""
        try:
            found = json.loads(read_regular(file, LARGEST_EARLIER))
            of = {
                "processor": processor_text(found),
                "bundle": str(found["bundle"]["digest"])[:12],
                "method": str(found["fit"]["method"]),
            }
            medians = {_place(row): float(row["median"]) for row in found["steps"]}
            if not all(median > 0 for median in medians.values()):
                raise ValueError("a median is not above 0")
        except OSError as error:
            raise UsageError(f"{file} cannot be read: {error.strerror}") from error
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
            raise UsageError(f"{file} holds no figures of `privsdk bench --json` ({error!r})") from error
        return cls(file, of, medians)

    def check(self, what: str, now: str) -> None:
        """Raises UsageError where the figures are of another processor, bundle or method: so would the ratio be."""
        if self.of[what] != now:
            raise UsageError(
                f"the figures in {self.file} are of the {what} {self.of[what]}, this is {now}: compare figures of one "
                f"{what}"
            )


def measure(
    bundle: str | Path = "faces", threads: int | None = None, photo: Path | None = None, against: Path | None = None
) -> dict[str, Any]:
    """Everything that :func:`measured_text` tells, as JSON takes it; seconds, bytes, operations a second.

    ``threads``: one number alone, or 1 and all of this machine's where it is ``None``.  ``photo`` is the file
    for the whole way of a photo; without it one is made from a public latent.  ``against`` is a file with what
    ``privsdk bench --json`` printed before, to stand beside each step.

    :raises UsageError: a number of threads that is not 1 to 256, no face in the photo, or earlier figures that are none
        or are those of another processor, bundle or method of the fit.
    :raises BundleError: as :meth:`privsdk.Bundle.open`.
    """
    if threads is not None:
        check_threads(threads)
    processor = _processor()
    earlier = Earlier.read(against) if against is not None else None
    if earlier is not None:
        earlier.check("processor", processor_text(processor))
    counts = sorted({1, min(_cores(), MOST_THREADS)}) if threads is None else [threads]
    opened = Bundle.open(bundle, max(counts))
    if earlier is not None:
        earlier.check("bundle", opened.digest[:12])
    labels = _labels_of(opened)
    shown = None
    if photo is not None:
        shown = _bytes_of(photo)
    elif opened.sample_shape == (SIZE, SIZE, 3):
        shown = images.to_bytes(_photo_from(opened), "jpeg")
    began = time.perf_counter()
    privatizer = fit(opened, *labels)
    fit_seconds = time.perf_counter() - began
    if earlier is not None:
        earlier.check("method", _how(privatizer))

    with TemporaryDirectory(prefix="privsdk-bench-") as scratch:
        folder = Path(scratch)
        saved = folder / "bench.privatizer"
        privatizer.save(saved)
        if shown is not None:
            for number in range(max(BATCHES)):  # a release takes each file once, so a batch needs as many
                write_atomically(folder / f"photo-{number:02}.jpg", shown)
        where = [str(bundle), str(saved), str(folder)]
        steps = [row for count in counts for row in _child("steps", count, *where)]
        cold = [_cold_start(*where) for _ in range(COLD_STARTS)]
        privatizer_bytes = saved.stat().st_size
    if earlier is not None:
        steps = [{**row, "earlier": earlier.medians.get(_place(row))} for row in steps]

    return {
        **processor,
        "system": platform.platform(),
        "versions": {"python": platform.python_version(), **_versions()},
        "bundle": {"name": opened.name, "digest": opened.digest},
        "fit": {
            "method": _how(privatizer),
            "seconds": fit_seconds,
            "seconds_recorded": float(privatizer.record["seconds"]),
        },
        "cold_start": {
            "seconds": float(np.median([one["seconds"] for one in cold])),
            "peak_memory": max(one["peak_memory"] or 0 for one in cold) or None,
        },
        "disk": {
            "bundle": sum(entry["bytes"] for entry in opened.manifest["files"].values()),
            "privatizer": privatizer_bytes,
            "packages": {name: _installed_bytes(name) for name in PACKAGES},
        },
        "steps": steps,
    }


def measured_text(result: Mapping[str, Any]) -> str:
    """What was measured, as a table for a terminal."""
    fit_, cold, disk = result["fit"], result["cold_start"], result["disk"]
    installed = sum(disk["packages"].values())
    compared = f"{'earlier':>11}{'times earlier':>15}" if "earlier" in result["steps"][0] else ""
    lines = [
        f"{processor_text(result)}, {result['system']}",
        f"bundle {result['bundle']['name']} {result['bundle']['digest'][:12]}",
        "",
        f"{'step':<22}{'threads':>8}{'batch':>7}{'median':>11}{'95%':>11}{'a sample':>11}{'floor':>11}"
        f"{'times floor':>13}{compared}",
    ]
    for row in result["steps"]:
        median, floor = row["median"], row["floor"]
        shown = (_ms(median), _ms(row["p95"]), _ms(median / row["batch"]), _ms(floor) if floor else "-")
        times = f"{median / floor:.1f}" if floor else "-"
        columns = "".join(f"{one:>11}" for one in shown) + f"{times:>13}"
        if earlier := row.get("earlier"):
            columns += f"{_ms(earlier):>11}{median / earlier:>15.2f}"
        lines.append(f"{row['step']:<22}{row['threads']:>8}{row['batch']:>7}{columns}")
    memory = f", {cold['peak_memory'] / 2**20:.0f} MiB at its peak" if cold["peak_memory"] else ""
    lines += [
        "",
        f"fit with its built-in check ({fit_['method']}): {fit_['seconds']:.1f} s",
        f"cold start, from the shell to the first sample: {cold['seconds']:.2f} s{memory}",
        f"on disk: bundle {disk['bundle'] / 1e6:.1f} MB, privatizer {disk['privatizer'] / 1e6:.2f} MB, "
        f"packages {installed / 1e6:.0f} MB",
        "floor: the multiply-adds of a graph, or of the filter's weights, at this processor's measured peak; for a "
        "photo, decoding it and finding the face",
    ]
    return "\n".join(lines)


def processor_text(result: Mapping[str, Any]) -> str:
    """The processor that a result is of, and what of it this process may use."""
    said = [result["machine"], f"{result['cores']} cores", result["cpu_model"]]
    return f"{result['cpu']} ({', '.join(filter(None, said))})"


def cpu_name() -> str:
    """What this machine calls its processor, or the board where the processor says nothing of itself."""
    if sys.platform == "darwin":
        asked = subprocess.run(
            ["sysctl", "-n", "machdep.cpu.brand_string"], capture_output=True, text=True, check=False
        )
        return asked.stdout.strip() or platform.processor()
    for source, key in (("/proc/cpuinfo", "model name"), ("/proc/cpuinfo", "Hardware")):
        for line in _text(source).splitlines():
            name, _, value = line.partition(":")
            if name.strip() == key and value.strip():
                return value.strip()
    board = _text("/proc/device-tree/model").strip("\0\n ")
    parts = {line.partition(":")[2].strip() for line in _text("/proc/cpuinfo").splitlines() if "CPU part" in line}
    named = ", ".join([board, *(f"CPU part {part}" for part in sorted(parts))] if board else sorted(parts))
    return named or platform.processor() or "unknown processor"


def cpu_model() -> str:
    """Family, model and stepping where the system tells them: clouds have one name for many processors."""
    lines = (line.partition(":") for line in _text("/proc/cpuinfo").splitlines())
    said = {(key.strip(), value.strip()) for key, _, value in lines}
    return ", ".join(f"{key} {value}" for key, value in sorted(said) if key in CPU_MODEL)


def peak(seconds: float = 0.5) -> float:
    """Multiply-adds a second of a large float32 matrix product in NumPy, the best of several."""
    matrix = np.random.default_rng(0).standard_normal((MATRIX, MATRIX), dtype=np.float32)
    return MATRIX**3 / min(timed(lambda: matrix @ matrix, seconds))


def timed(call: Callable[[], object], seconds: float = LEAST_SECONDS, runs: int = LEAST_RUNS) -> list[float]:
    """Seconds that each of many calls took, after two that do not count."""
    call(), call()
    taken: list[float] = []
    while sum(taken) < seconds or len(taken) < runs:
        began = time.perf_counter()
        call()
        taken.append(time.perf_counter() - began)
    return taken


def _steps(threads: int, bundle: str, saved: str, scratch: str) -> list[dict[str, Any]]:
    """Every step at this number of threads, in this process."""
    opened = Bundle.open(bundle, threads)
    privatizer = Privatizer.load(saved, opened)
    operations = peak()
    rows: list[dict[str, Any]] = []

    def step(name: str, batch: int, call: Callable[[], object], floor: float | None) -> None:
        taken = timed(call)
        rows.append(
            {
                "step": name,
                "threads": threads,
                "batch": batch,
                "median": float(np.median(taken)),
                "p95": float(np.percentile(taken, 95)),
                "runs": len(taken),
                "floor": floor,
                "peak": operations,
            }
        )

    for batch in BATCHES:
        z = np.resize(opened.public.mean, (batch, opened.latent_size))
        samples = opened.decode(z)
        latents = opened.encode(samples)
        draws = np.arange(batch, dtype=np.uint64)
        encoder, decoder = (opened.quality.get(f"{graph} multiply-adds") for graph in ("encoder", "decoder"))
        weights = filter_multiply_adds(privatizer.filter)
        step("encode", batch, partial(opened.encode, samples), _floor(encoder, batch, operations))
        step("filter", batch, partial(privatizer.perturb, latents, draws=draws), _floor(weights, batch, operations))
        step("decode", batch, partial(opened.decode, z), _floor(decoder, batch, operations))
    if photos := _photos(scratch):
        detector = Detector(threads)
        bare = float(np.median(timed(lambda: detector.find(images.read(photos[0])))))
        for batch in BATCHES:
            step(
                "photo, file to file",
                batch,
                partial(_release, privatizer, photos[:batch], scratch),
                bare * batch,
            )
    return rows


def _photos(scratch: str) -> list[Path]:
    return sorted(Path(scratch).glob("photo-*.jpg"))


def _release(privatizer: Privatizer, photos: Sequence[Path], scratch: str) -> list[Release | Refusal]:
    with TemporaryDirectory(dir=scratch) as output:
        # The user's own ledger knows nothing of it.
        return privatizer.release(photos, Path(output) / "released", key=bytes(32), folder=Path(output) / "home")


def _first_sample(threads: int, bundle: str, saved: str, scratch: str) -> dict[str, Any]:
    """Open everything and privatize one sample; how much memory that took."""
    opened = Bundle.open(bundle, threads)
    privatizer = Privatizer.load(saved, opened)
    if photos := _photos(scratch):
        _release(privatizer, photos[:1], scratch)
    else:
        opened.decode(privatizer.perturb(opened.encode(opened.decode(opened.public.mean[:1])), draws=_ONE_DRAW))
    return {"peak_memory": peak_memory()}


_ONE_DRAW = np.zeros(1, np.uint64)


def _cold_start(*where: str) -> dict[str, Any]:
    began = time.perf_counter()
    found = _child("first", 1, *where)
    return {"seconds": time.perf_counter() - began, **found}


def _child(job: str, threads: int, *where: str) -> Any:
    """What a fresh process with this many threads finds, as it printed it."""
    environment = dict(os.environ) | dict.fromkeys(THREAD_VARIABLES, str(threads))
    asked = subprocess.run(
        [sys.executable, "-c", _CHILD, job, str(threads), *where],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    if asked.returncode:
        reason = (asked.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise UsageError(f"the measuring process with {threads} threads failed: {reason}")
    return json.loads(asked.stdout)


_CHILD = "import sys; from privsdk.bench import _run; _run(*sys.argv[1:])"


def _run(job: str, threads: str, *where: str) -> None:
    jobs: dict[str, Callable[..., Any]] = {"steps": _steps, "first": _first_sample}
    try:
        found = jobs[job](int(threads), *where)
    except PrivsdkError as error:
        sys.exit(str(error))
    sys.stdout.write(json.dumps(found))


def _labels_of(bundle: Bundle) -> tuple[str, str]:
    """The pair that is fitted: the one of the README where the bundle has it."""
    wanted = ("Male", "Smiling")
    if set(wanted) <= set(bundle.attributes):
        return wanted
    if len(bundle.attributes) < 2:
        raise UsageError(f"the bundle {bundle.name} has one attribute: a filter needs one to hide and one to keep")
    return bundle.attributes[0], bundle.attributes[1]


def _photo_from(bundle: Bundle) -> Pixels:
    """uint8 [480, 640, 3]: a decoded public latent on grey, the first in which a face is found."""
    detector = Detector()
    for sample in bundle.decode(bundle.public.mean[:32]):
        photo = np.full((480, 640, 3), 128, np.uint8)
        face = images.resize(sample, FACE_IN_PHOTO, FACE_IN_PHOTO)
        photo[112 : 112 + FACE_IN_PHOTO, 192 : 192 + FACE_IN_PHOTO] = face
        if detector.find(photo):
            return photo
    raise UsageError("no face is found in what this bundle decodes: give a photo")


def _bytes_of(photo: Path) -> bytes:
    try:
        faces_in(images.read(photo), "largest", False, Detector())
        return photo.read_bytes()
    except Refusal as refusal:
        raise UsageError(f"{photo} cannot be measured with. {refusal.detail}") from refusal


def filter_multiply_adds(filter: Filter) -> int:
    """One for each weight and each time that a sample meets it; 0 for a filter without such parts."""
    return sum(PASSES.get(name.partition(".")[0], 0) * array.size for name, array in filter.arrays().items())


def _floor(multiply_adds: float | None, batch: int, operations: float) -> float | None:
    """Seconds for so many multiply-adds a sample at the peak; None where they are not known."""
    return float(multiply_adds) * batch / operations if multiply_adds else None


def _processor() -> dict[str, Any]:
    return {"cpu": cpu_name(), "cpu_model": cpu_model(), "machine": platform.machine(), "cores": _cores()}


def _cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def peak_memory() -> int | None:
    """The most memory this process has held, in bytes; None on Windows, which does not say."""
    # On Linux ru_maxrss begins with what the process that started this one had held; VmHWM does not.
    for line in _text("/proc/self/status").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    try:
        import resource
    except ImportError:
        return None
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def _installed_bytes(package: str) -> int:
    """The size of an installed package's files; 0 where it is not installed as one."""
    try:
        files = metadata.files(package) or []
    except metadata.PackageNotFoundError:
        return 0
    paths = (Path(str(file.locate())) for file in files)
    return sum(path.stat().st_size for path in paths if path.is_file())


def _versions() -> dict[str, str]:
    return {name: metadata.version(name) for name in ("onnxruntime", "numpy")}


def _text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _how(privatizer: Privatizer) -> str:
    """The method of a fit, and what trained it."""
    method, engine = privatizer.method, privatizer.record.get("settings", {}).get("engine")
    return method if engine in (None, method) else f"{method} by {engine}"


def _place(row: Mapping[str, Any]) -> Place:
    return row["step"], row["threads"], row["batch"]


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.2f} ms"
