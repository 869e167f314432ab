"""Bulk release: the same as on the device, whatever dies, wherever photos are; and what must not get into Ray."""

from __future__ import annotations

import json
import os
import random
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from PIL import Image, ImageEnhance

ray = pytest.importorskip("ray", reason="bulk release needs the extra 'cluster'")

import pyarrow as pa  # noqa: E402
from pyarrow import parquet  # noqa: E402

import privsdk  # noqa: E402
from benchmarks.bulk import JPEG, actors, originals_in, resident, shared_memory  # noqa: E402

ROOT = Path(__file__).parents[3]
BULK = ROOT / "examples" / "bulk.py"
ADDRESS = "127.0.0.1:9321"
KEYS = "a-key-of-this-test,and-its-secret"


@pytest.fixture(scope="session")
def saved(tmp_path_factory: pytest.TempPathFactory, privatizer: privsdk.Privatizer) -> Path:
    path = tmp_path_factory.mktemp("privatizer") / "male.privatizer"
    privatizer.save(path)
    return path


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory, photos: Path) -> Path:
    """200 photos: portraits of nobody, each in 8 lights; one more shows nobody, and one is broken."""
    folder = tmp_path_factory.mktemp("many")
    for photo in sorted(photos.glob("*.jpg")):
        with Image.open(photo) as image:
            small = image.convert("RGB").resize((256, 256))
        for light in range(8):
            ImageEnhance.Brightness(small).enhance(0.7 + light / 15).save(folder / f"{photo.stem}-{light}.jpg")
    Image.new("RGB", (300, 300), "grey").save(folder / "nobody.png")
    (folder / "broken.jpg").write_bytes(next(folder.glob("*.jpg")).read_bytes()[:2000])
    return folder


@dataclass(frozen=True)
class Watched:
    """A job with the key in ``home`` that nothing broke, and what was seen while it ran, some times a second.

    ``originals`` were found in Ray's object store in all ``looks`` together; ``largest`` is what a worker held, bytes.
    """

    home: Path
    released: Path
    printed: str
    looks: int
    originals: int
    largest: int


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory, many: Path, saved: Path) -> Watched:
    folder = tmp_path_factory.mktemp("unbroken")
    job = command(saved, many, folder / "released", "--workers", 1)
    environment = {**os.environ, "PRIVSDK_HOME": str(folder / "home")}
    with subprocess.Popen(job, env=environment, stdout=subprocess.PIPE, text=True) as process:
        looks = originals = largest = 0
        while process.poll() is None:
            if actors(process.pid):
                originals += originals_in(shared_memory(process.pid))
                largest = max([largest, *map(resident, actors(process.pid))])
                looks += 1
            time.sleep(0.2)
        printed, _ = process.communicate()
    assert process.returncode == 0
    return Watched(folder / "home", folder / "released", printed, looks, originals, largest)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """A real S3 server, rclone's, over a folder: the folder of a bucket, and its URI."""
    folder = tmp_path_factory.mktemp("store")
    (folder / "bucket").mkdir()
    server = [Path(sys.executable).with_name("rclone"), "serve", "s3", folder, "--addr", ADDRESS, "--auth-key", KEYS]
    with subprocess.Popen(server, stderr=subprocess.DEVNULL) as process:
        time.sleep(2)
        assert process.poll() is None
        yield folder / "bucket", f"s3://bucket?endpoint_override={ADDRESS}&scheme=http&region=us-east-1"
        process.kill()


def command(*arguments: object) -> list[str]:
    return [sys.executable, str(BULK), *map(str, arguments)]


def bulk(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments), env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def images_in(folder: Path) -> list[bytes]:
    return sorted(path.read_bytes() for path in folder.glob("*.png"))


def test_what_comes_out_is_what_the_device_releases(
    tmp_path: Path, photos: Path, saved: Path, privatizer: privsdk.Privatizer
) -> None:
    done = bulk(saved, photos, tmp_path / "bulk", "--workers", 1)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "released: 25\n"
    privatizer.release(sorted(photos.glob("*.jpg")), tmp_path / "device")
    assert images_in(tmp_path / "bulk") == images_in(tmp_path / "device")
    lines = [json.loads(line) for line in (tmp_path / "bulk" / "release.jsonl").read_text().splitlines()]
    device = [json.loads(line) for line in (tmp_path / "device" / "release.jsonl").read_text().splitlines()]
    assert [line.keys() for line in lines] == [line.keys() for line in device]
    assert [line["file"] for line in lines] == sorted(path.name for path in (tmp_path / "bulk").glob("*.png"))
    assert {path.stat().st_mtime for path in (tmp_path / "bulk").iterdir()} == {315619200}


def test_workers_and_the_whole_job_are_killed_and_the_same_bytes_come_out(
    tmp_path: Path, many: Path, saved: Path, unbroken: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = contents(unbroken.released)
    refused = [json.loads(line) for line in expected["release.jsonl"].decode().splitlines()[-2:]]
    assert [(line["status"], line["reason"]) for line in refused] == [("refused", "damaged"), ("refused", "no-face")]
    assert "damaged: 1\nno-face: 1\n" in unbroken.printed

    monkeypatch.setenv("PRIVSDK_HOME", str(unbroken.home))
    chance = random.Random(0)
    output, kills = tmp_path / "killed", 0
    for _ in range(2):  # the first job is killed too, the second goes on
        with subprocess.Popen(command(saved, many, output, "--workers", 2), stderr=subprocess.DEVNULL) as process:
            while process.poll() is None:
                time.sleep(chance.uniform(0.2, 1.5))
                if kills < 5 and (working := actors(process.pid)):
                    os.kill(chance.choice(working), signal.SIGKILL)
                    kills += 1
                    if kills == 3:
                        process.kill()
    assert kills == 5
    assert process.returncode == 0
    assert contents(output) == expected


def test_photos_from_a_store_and_from_parquet_come_out_the_same(
    tmp_path: Path, photos: Path, saved: Path, store: tuple[Path, str], privatizer: privsdk.Privatizer
) -> None:
    bucket, uri = store
    sources = sorted(photos.glob("*.jpg"))
    (tmp_path / "tables").mkdir()
    for part in range(2):
        rows = [{"id": number, "photo": path.read_bytes()} for number, path in enumerate(sources[part::2])]
        rows += [{"id": -1, "photo": None}]
        parquet.write_table(pa.Table.from_pylist(rows), tmp_path / "tables" / f"{part}.parquet", row_group_size=5)
    for path in sources:
        (bucket / "inner").mkdir(exist_ok=True)
        (bucket / "inner" / path.name).write_bytes(path.read_bytes())
    keys = dict(zip(("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), KEYS.split(","), strict=True))

    privatizer.release(sources, tmp_path / "device")
    done = bulk(saved, uri, tmp_path / "store", "--workers", 1, **keys)
    assert done.returncode == 0, done.stderr
    done = bulk(saved, tmp_path / "tables", tmp_path / "parquet", "--column", "photo", "--to", "parquet")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "not-an-image: 2\nreleased: 25\n"

    assert images_in(tmp_path / "store") == images_in(tmp_path / "device")
    expected = {path.name: path.read_bytes() for path in (tmp_path / "store").glob("*.png")}
    rows = parquet.read_table(tmp_path / "parquet").to_pylist()
    assert {f"{row['name']}.png": row["image"] for row in rows if row["status"] == "released"} == expected
    kept_back = [row for row in rows if row["status"] == "refused"]
    assert [(row["reason"], row["name"], row["image"]) for row in kept_back] == [("not-an-image", None, None)] * 2
    assert not list((tmp_path / "parquet").glob(".*"))

    done = bulk(saved, uri, tmp_path / "closed", "--workers", 1, **{**keys, "AWS_SECRET_ACCESS_KEY": "another"})
    assert done.returncode == 2
    assert done.stderr.startswith("bulk: ")
    assert not (tmp_path / "closed").exists()


def test_no_original_gets_into_the_object_store(unbroken: Watched) -> None:
    assert unbroken.looks > 5
    assert unbroken.originals == 0
    assert unbroken.largest < 400e6


def test_an_original_in_the_object_store_would_be_found(many: Path) -> None:
    ray.init(num_cpus=1, include_dashboard=False, object_store_memory=100_000_000, log_to_driver=False)
    try:
        original = next(path for path in many.glob("*.jpg")).read_bytes()
        assert original.startswith(JPEG)
        held = ray.put(original * 20)  # small ones stay with whoever puts them
        assert originals_in(shared_memory(os.getpid())) >= 20
        del held
    finally:
        ray.shutdown()


def test_ray_reports_to_nobody(tmp_path: Path) -> None:
    said = "import sys; sys.path.insert(0, sys.argv[1]); import bulk; from ray._common.usage import usage_lib; "
    said += "print(usage_lib.usage_stats_enabled())"
    environment = {name: value for name, value in os.environ.items() if name != "RAY_USAGE_STATS_ENABLED"}
    done = subprocess.run(
        [sys.executable, "-c", said, str(BULK.parent)], env=environment, capture_output=True, text=True, check=False
    )
    assert done.stdout == "False\n", done.stderr


def test_what_cannot_be_done_is_said_in_a_line(tmp_path: Path, photos: Path, saved: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "letter").write_text("not ours")
    (tmp_path / "begun").mkdir()
    (tmp_path / "begun" / ".unfinished").write_text("a job with another filter")
    (tmp_path / "table").mkdir()
    (tmp_path / "table" / "no.parquet").write_text("no table")
    for arguments, said in (
        ((saved, tmp_path / "empty", tmp_path / "out"), "no photo in"),
        ((saved, photos, tmp_path / "taken"), "exists already"),
        ((saved, photos, tmp_path / "begun"), "another key, filter or settings"),
        ((saved, photos, photos / "out"), "among the photos"),
        ((saved, photos, tmp_path / "out", "--workers", "0"), "one at least"),
        ((saved, "ftp://nowhere/x", tmp_path / "out"), "neither a folder nor a URI"),
        ((saved, tmp_path / "table", tmp_path / "out", "--column", "photo"), "cannot be read as Parquet"),
        ((photos / "LICENSE", photos, tmp_path / "out"), "no privatizer"),
    ):
        done = bulk(*arguments)
        assert done.returncode in (2, 3), said
        assert done.stderr.startswith("bulk: "), done.stderr
        assert said in done.stderr
        assert "Traceback" not in done.stderr
        assert not (tmp_path / "out").exists()
    assert (tmp_path / "taken" / "letter").read_text() == "not ours"


def test_a_worker_with_another_key_releases_nothing(tmp_path: Path, photos: Path, saved: Path, home: Path) -> None:
    """As where one machine of a cluster has another key under the same path."""
    output = tmp_path / "out"
    with subprocess.Popen(command(saved, photos, output), stderr=subprocess.PIPE, text=True) as process:
        while not (output / ".unfinished").exists():
            time.sleep(0.01)
        (home / "device.key").write_bytes(secrets.token_bytes(32))
        _, said = process.communicate()
    assert process.returncode == 3, said
    assert "another device key or privatizer" in said
    assert [path.name for path in output.iterdir()] == [".unfinished"]
