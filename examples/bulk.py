"""Photos by the million: one privatizer in each of many Ray actors, on one machine or on a cluster.

    python examples/bulk.py male.privatizer PHOTOS RELEASED [--workers 2] [--column image] [--to parquet]

PHOTOS is a folder, or one in an S3-compatible store (``s3://bucket/folder?endpoint_override=HOST``).  With
``--column`` it holds Parquet files with the bytes of a photo in each row of that column.  RELEASED is a folder that all
machines see.

A release is a function of the face, the device key and the filter, as on the device, and so is its name.  Work is cut
into shards, each with a record that is written last: a worker that dies leaves whole files and no record, another does
the shard again and writes the same bytes, and the same command goes on where a stopped job was.

What a dataset of Ray holds is where photos are, and how many were released.  Actors read photos themselves, so no
original ever gets into Ray's object store, onto the disk it spills to, or from one machine to another; nor does the key
or the privatizer, which each actor reads from its own file system.

There is no ledger: it would be one file for all machines.  So photos that are nearly equal do not share their random
choices here, and a second filter for the same photos is not refused: release them with one.  docs/cluster.md has more.
"""

from __future__ import annotations

import argparse
import hashlib
import hmac
import json
import logging
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # Ray reports to its maker by default; it looks here when it is imported
os.environ["RAY_DATA_DISABLE_PROGRESS_BARS"] = "1"  # there is one of our own
os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")

import numpy as np
import pyarrow as pa
import ray
from pyarrow import fs, parquet

import privsdk
from privsdk import errors
from privsdk.errors import OutputExistsError, PrivsdkError, Refusal, StoreError, UnexpectedError, UsageError
from privsdk.noise import sample_digests
from privsdk.planning import RECORD, UNFINISHED, check_output
from privsdk.progress import Progress
from privsdk.release.repeats import RELEASED_AT
from privsdk.samples import images
from privsdk.samples.reader import sample_reader
from privsdk.store.folder import clear_parts, write_atomically

SHARD = 64
"""Photos that are worked on at a time; what an actor holds, and what it does again if it dies."""

MOST_TASKS = 10_000
"""Into how many parts Ray is told of the work: each costs the driver some milliseconds and some kilobytes."""

OBJECT_STORE = 100_000_000
"""Bytes for Ray's object store, which holds places and counts alone; the least that Ray takes is 75 million."""

SCHEMA = pa.schema(
    [
        pa.field("status", pa.string(), nullable=False),
        pa.field("reason", pa.string()),
        pa.field("name", pa.string()),
        pa.field("image", pa.binary()),
    ]
)
"""Of releases in Parquet: released with a name and a PNG image, or refused with the kind of reason alone."""


@dataclass(frozen=True)
class Job:
    """All that an actor is told; paths must mean the same on every machine.

    ``home`` is the folder of the device key, the user's own without it.  ``run`` is a keyed digest of what is done, by
    which an actor finds that it has another key or another privatizer.
    """

    privatizer: str
    photos: str
    output: Path
    column: str | None
    to: Literal["folder", "parquet"]
    home: Path | None
    run: str = ""


@dataclass(frozen=True)
class Shard:
    """So many ``photos`` by their paths, or in one row group of a Parquet file."""

    photos: int
    paths: list[str]
    row_group: int | None = None


class Source:
    """Where the photos are: a folder on a file system, or in an S3-compatible store."""

    def __init__(self, job: Job) -> None:
        """Raises UsageError for a URI of another kind."""
        self.column = job.column
        self.is_here = "://" not in job.photos
        try:
            self.files, self.folder = (
                (fs.LocalFileSystem(), os.path.abspath(job.photos))
                if self.is_here
                else fs.FileSystem.from_uri(job.photos)
            )
        except (pa.ArrowInvalid, OSError) as error:
            raise UsageError(f"{job.photos} is neither a folder nor a URI that can be used here: {error}") from error

    def shards(self, key: bytes) -> Iterator[Shard]:
        """All the work, in an order that only the key tells; raises UsageError where there is none."""
        if self.is_here and self.column is None:
            paths = [os.path.abspath(photo) for photo in privsdk.photos_in(self.folder, recursive=True)]
        else:
            paths = self._files_named(
                images.is_photo if self.column is None else lambda path: path.suffix == ".parquet"
            )
        if not paths:
            raise UsageError(f"{self.folder} holds no {'photo' if self.column is None else 'Parquet file'}: check it")
        paths.sort(key=lambda path: keyed(key, "order", path))
        if self.column is None:
            parts = (paths[start : start + SHARD] for start in range(0, len(paths), SHARD))
            yield from (Shard(len(part), part) for part in parts)
        else:
            for path in paths:
                counts = self._row_groups(path)
                yield from (Shard(count, [path], group) for group, count in enumerate(counts))

    def photos(self, shard: Shard) -> Iterator[Path | bytes]:
        """Photos one at a time, as :func:`privsdk.samples.images.read` takes them."""
        if shard.row_group is not None:
            with self.files.open_input_file(shard.paths[0]) as file:
                rows = parquet.ParquetFile(file).read_row_group(shard.row_group, [self.column])
            for value in rows[self.column]:
                yield value.as_py() or b""
        elif self.is_here:
            yield from map(Path, shard.paths)
        else:
            for path in shard.paths:
                with self.files.open_input_stream(path) as file:
                    yield file.read(images.Limits.bytes + 1)  # of one that is too large enough to see that it is

    def _files_named(self, is_wanted: Callable[[Path], bool]) -> list[str]:
        try:
            found = self.files.get_file_info(fs.FileSelector(self.folder, recursive=True, allow_not_found=True))
        except OSError as error:
            raise UsageError(f"{self.folder} cannot be listed: {error}") from error
        return [one.path for one in found if one.type == fs.FileType.File and is_wanted(Path(one.path))]

    def _row_groups(self, path: str) -> list[int]:
        try:
            with self.files.open_input_file(path) as file:
                found = parquet.ParquetFile(file)
        except (pa.ArrowInvalid, OSError) as error:
            raise UsageError(f"{path} cannot be read as Parquet: take it away, or mend it") from error
        if self.column not in found.schema_arrow.names:
            raise UsageError(f"{path} has no column {self.column!r}: name the one that holds photos (--column)")
        return [found.metadata.row_group(group).num_rows for group in range(found.num_row_groups)]


class Actor:
    """One of Ray's workers.  What stops it is a part of its answer: Ray keeps an exception's traceback, as text."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._releaser: Releaser | None = None

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        try:
            if self._releaser is None:
                self._releaser = Releaser(self._job)
            return {"counts": json.dumps(self._releaser.release(Shard(**row))), "error": "", "said": ""}
        except PrivsdkError as error:
            return {"counts": "{}", "error": type(error).__name__, "said": str(error)}


class Releaser:
    """Releases shards by one privatizer."""

    def __init__(self, job: Job) -> None:
        """Raises StoreError where this machine has another key or privatizer than the one that the job began on."""
        self._job = job
        self._key = privsdk.device_key(job.home)
        self._privatizer = privsdk.Privatizer.load(job.privatizer)
        if run_of(job, self._key, self._privatizer) != job.run:
            raise StoreError(
                "a worker has another device key or privatizer than the job was begun with: put the same files under "
                f"{privsdk.key_path(job.home)} and {job.privatizer} on every machine"
            )
        self._samples_in = sample_reader(self._privatizer.bundle, "largest", aligned=False)
        self._source = Source(job)

    def release(self, shard: Shard) -> Counter[str]:
        """Release one shard, unless its record is there already; gives the counts of what came of it."""
        path = self._job.output / self._record_name(shard)
        if path.exists():
            record = path.read_bytes()
        else:
            record = self._released(shard)
            write_atomically(path, record, modified=RELEASED_AT)
        return counts_in(record, self._job.to)

    def _released(self, shard: Shard) -> bytes:
        """Release a shard; gives its record, in an order that says nothing of the photos'."""
        samples, refused = [], Counter[str]()
        for photo in self._source.photos(shard):
            try:
                samples += self._samples_in(images.read(photo))[0]
            except Refusal as refusal:
                refused[refusal.reason] += 1
        shape = self._privatizer.bundle.sample_shape
        faces = np.array(samples, np.uint8).reshape(-1, *shape)
        released, kept_back = self._privatizer.privatize_each(faces, None, self._key)
        purpose = f"name by {self._privatizer.filter_digest}"
        names = [digest[:16].hex() for digest in sample_digests(self._key, faces, purpose)]
        refused.update(refusal.reason for refusal in kept_back.values())
        done = {name: images.to_bytes(released[row], "png") for row, name in enumerate(names) if row not in kept_back}
        reasons = sorted(refused.elements())
        if self._job.to == "parquet":
            rows = [{"status": "released", "name": name, "image": done[name]} for name in sorted(done)]
            rows += [{"status": "refused", "reason": reason} for reason in reasons]
            table = BytesIO()
            parquet.write_table(pa.Table.from_pylist(rows, SCHEMA), table)
            return table.getvalue()
        for name, image in done.items():
            write_atomically(self._job.output / f"{name}.png", image, modified=RELEASED_AT)
        told = {"bundle": self._privatizer.bundle.digest, "run": self._job.run}
        size = {"format": "png", "width": shape[1], "height": shape[0]}
        lines = [{"status": "released", "file": f"{name}.png", **size, **told, "labels": {}} for name in sorted(done)]
        lines += [{"status": "refused", "reason": reason, "run": self._job.run} for reason in reasons]
        return "".join(f"{json.dumps(line)}\n" for line in lines).encode()

    def _record_name(self, shard: Shard) -> str:
        name = keyed(self._key, "shard", self._job.run, *shard.paths, str(shard.row_group))
        return f"{name}.parquet" if self._job.to == "parquet" else f".{name}.jsonl"


def release(job: Job, workers: int, on_progress: Progress, address: str | None = None) -> Counter[str]:
    """Carry a job out, or go on with one that was stopped; gives how many were released, and refused, by reason.

    ``workers`` is the number of actors, each on a core of its own; ``address`` that of a Ray cluster, without which one
    is started here and ended with the job.  ``on_progress`` is told of photos.

    Raises UsageError, OutputExistsError and StoreError before anything is written, and UnexpectedError.
    """
    if workers < 1:
        raise UsageError(f"{workers} workers can do nothing: give one at least")
    key = privsdk.device_key(job.home)
    privatizer = privsdk.Privatizer.load(job.privatizer)
    if privatizer.label_aware:
        raise UsageError("this privatizer needs the private label of every photo, which nobody gives here: fit another")
    job = replace(job, run=run_of(job, key, privatizer))
    shards = list(Source(job).shards(key))
    photos = sum(shard.photos for shard in shards)
    begin(job)
    here = {"num_cpus": workers, "include_dashboard": False, "object_store_memory": OBJECT_STORE}
    cluster = here if address is None else {"address": address}
    try:
        ray.init(**cluster, log_to_driver=False, logging_level=logging.ERROR)
    except Exception as error:  # Ray has no class of its own for it
        raise UnexpectedError(f"Ray cannot be used, and the same command tries again: {error}") from error
    counts: Counter[str] = Counter()
    try:
        work = ray.data.from_items([vars(shard) for shard in shards], override_num_blocks=min(len(shards), MOST_TASKS))
        # An actor that dies is started again, and what it had begun is given to one that lives, as often as it takes.
        pool = ray.data.ActorPoolStrategy(size=min(workers, len(shards)))
        for row in work.map(Actor, fn_constructor_args=(job,), compute=pool).iter_rows():
            if row["error"]:
                raise getattr(errors, row["error"])(row["said"])
            counts.update(json.loads(row["counts"]))
            on_progress("releasing", counts.total(), photos)
    except ray.exceptions.RayError as error:
        raise UnexpectedError(
            f"the release to {job.output} stopped ({type(error).__name__}): what was released stays, and the same "
            "command goes on; if it stops again, the logs in /tmp/ray say why"
        ) from error
    finally:
        ray.shutdown()
    end(job)
    return counts


def begin(job: Job) -> None:
    """Mark the output as unfinished; raises OutputExistsError where something else is there."""
    mark = job.output / UNFINISHED
    try:
        if mark.is_file():
            if mark.read_text() != job.run:
                raise OutputExistsError(
                    f"{job.output} holds an unfinished job with another key, filter or settings: finish that one with "
                    "the same command, or move it away"
                )
        else:
            check_output(job.output, [] if "://" in job.photos else [job.photos])
            job.output.mkdir(parents=True, exist_ok=True)
            write_atomically(mark, job.run.encode(), modified=RELEASED_AT)
        clear_parts(job.output)
    except OSError as error:
        raise UsageError(f"{job.output} cannot be written: {error.strerror}") from error


def end(job: Job) -> None:
    """Take the mark away; of a folder of images all records become one, in the order of the names."""
    clear_parts(job.output)
    if job.to == "folder":
        records = sorted(job.output.glob(".*.jsonl"))
        rows = [json.loads(line) for record in records for line in record.read_text().splitlines()]
        released = {row["file"]: row for row in rows if row["status"] == "released"}  # of equal faces one
        refused = sorted((row for row in rows if row["status"] == "refused"), key=lambda row: str(row["reason"]))
        lines = [released[file] for file in sorted(released)] + refused
        text = "".join(f"{json.dumps(line)}\n" for line in lines)
        write_atomically(job.output / RECORD, text.encode(), modified=RELEASED_AT)
        for record in records:
            record.unlink()
    (job.output / UNFINISHED).unlink()


def counts_in(record: bytes, to: str) -> Counter[str]:
    """How many the record of a shard says were released, and refused, by reason."""
    if to == "parquet":
        rows = parquet.read_table(BytesIO(record), columns=["status", "reason"]).to_pylist()
    else:
        rows = [json.loads(line) for line in record.decode().splitlines()]
    return Counter(row.get("reason") or row["status"] for row in rows)


def run_of(job: Job, key: bytes, privatizer: privsdk.Privatizer) -> str:
    """A name for the job that the same job has again: 32 digits that tell nothing without the key."""
    return keyed(key, "run", privatizer.filter_digest, job.photos, str(job.column), job.to)


def keyed(key: bytes, purpose: str, *parts: str) -> str:
    """32 digits that only who has the key can make of ``parts``."""
    return hmac.digest(key, json.dumps([f"bulk {purpose}", *parts]).encode(), hashlib.sha256)[:16].hex()


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("privatizer", help="a file that `privsdk fit -o` wrote")
    parser.add_argument("photos", help="folder of photos, or of Parquet files, here or s3://")
    parser.add_argument("output", type=Path, help="folder to be made, which all machines see")
    parser.add_argument("--column", help="the photos are in this column of Parquet files")
    parser.add_argument("--to", choices=["folder", "parquet"], default="folder", help="images, or Parquet files")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="actors, a core each")
    parser.add_argument("--address", help="of a Ray cluster, or auto; without it one is started here")
    parser.add_argument("--home", type=Path, help="folder of the device key; PRIVSDK_HOME or the user's own without it")
    asked = parser.parse_args(arguments)
    home = None if asked.home is None else asked.home.absolute()
    job = Job(os.path.abspath(asked.privatizer), asked.photos, asked.output.absolute(), asked.column, asked.to, home)
    progress = privsdk.ProgressText()
    logging.disable(logging.WARNING)  # Ray's, who tells much of itself
    try:
        for what, count in sorted(release(job, asked.workers, progress, asked.address).items()):
            print(f"{what}: {count:,}")
    except PrivsdkError as error:
        print(f"bulk: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    finally:
        progress.close()


if __name__ == "__main__":
    main()
