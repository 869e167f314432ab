"""An encoder bundle: encoder, decoder, scores, public flow and public latents, checked and ready to use."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from privsdk import noise, runtime
from privsdk.arrays import Arrays, parse_json, unpack
from privsdk.codec import Codec, Floats, Latents, Pixels
from privsdk.errors import BundleError
from privsdk.files import read_regular
from privsdk.filters.code import Moments
from privsdk.filters.couplings import PublicFlow
from privsdk.filters.joint_scores import JointScores
from privsdk.filters.scores import ScoreNetwork, probabilities
from privsdk.immutable import Immutable
from privsdk.names import folded
from privsdk.samples.tables import Table

SCHEMA = 1
MANIFEST = "manifest.json"
MANIFEST_SUM = "manifest.sha256"
"""SHA-256 of the manifest, in hexadecimal, and a line's end: the manifest covers every other file."""
SIGNATURE = "manifest.sig"
"""Ed25519 over the manifest's bytes; where there is one.  See :mod:`privsdk.signatures`."""
BESIDE = (MANIFEST, MANIFEST_SUM, SIGNATURE)
"""What a bundle's folder holds beside the files that the manifest lists."""
# No leakage plus this is below a certainty: nothing is believed where nobody has measured the gap.
UNKNOWN_GAP = 0.5
REQUIRED_FILES = (
    "encoder.onnx",
    "decoder.onnx",
    "scores.safetensors",
    "flow.safetensors",
    "moments.safetensors",
    "joint_scores.safetensors",
    "public_latents.safetensors",
    "MODEL_CARD.md",
)
LARGEST_FILE = 512 * 1024 * 1024
LARGEST_MANIFEST = 4 * 1024 * 1024
SIGNATURE_BYTES = 64


@dataclass(frozen=True)
class PublicLatents:
    """M latents of nobody: drawn from the public flow, decoded and encoded again.

    ``mean`` and ``variance`` are float32 [M, Z]; ``labels`` uint8 [M, A], drawn from the scores of ``mean``.
    """

    mean: Floats
    variance: Floats
    labels: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.mean)


class Bundle(Immutable):
    """A frozen encoder bundle.  Immutable, and safe to share between threads.

    Opened by :meth:`open`; the folder is not looked at again after that.  ``table`` has the columns of the rows that a
    bundle of kind "table" knows, and is None for every other.
    """

    def __init__(self, manifest: bytes, files: Mapping[str, bytes], threads: int = 1) -> None:
        """From the bytes of ``manifest.json`` and of the files that it lists; raises BundleError."""
        self._manifest = manifest
        parsed = _parsed(manifest)
        _check_files(parsed, files)
        self.threads = threads
        self.digest: str = hashlib.sha256(manifest).hexdigest()
        self.name: str = parsed["name"]
        self.kind: str = parsed["kind"]
        self.sample_shape: tuple[int, ...] = tuple(parsed["sample"]["shape"])
        self.latent_size: int = parsed["latent_size"]
        self.attributes: tuple[str, ...] = tuple(entry["name"] for entry in parsed["attributes"])
        self.terms: str = parsed["terms"]
        self.table: Table | None = Table.from_json(parsed["table"]) if "table" in parsed else None
        self.codec = Codec(files["encoder.onnx"], files["decoder.onnx"], self.sample_shape, self.latent_size, threads)
        self.scores = self._load_scores(_arrays("scores.safetensors", files)[0])
        self.flow = self._load_flow(_arrays("flow.safetensors", files)[0])
        self.moments = self._load_moments(_arrays("moments.safetensors", files)[0])
        self.joint_scores = self._load_joint_scores(_arrays("joint_scores.safetensors", files)[0])
        self._public_latents = self._load_public_latents(*_arrays("public_latents.safetensors", files))
        self._seal()

    @classmethod
    def open(cls, name_or_folder: str | Path, threads: int = 1) -> Bundle:
        """The shipped bundle of that name, or the one in that folder; ``threads`` is for encoding and
        decoding.

        A name means a shipped bundle before it means a folder: write ``./faces`` for the folder.  Every file
        is read once, its size and SHA-256 compared with the manifest's, the manifest's with ``manifest.sha256``,
        and loaded from those bytes.  Raises BundleError, naming the file, where one is missing, damaged, a link or
        not listed, and where there is no such bundle.  The folder itself may be a link.
        """
        runtime.check_threads(threads)
        folder = folder_of(name_or_folder)
        manifest = read_manifest(folder)
        entries = _parsed(manifest)["files"]
        files = {name: _read(folder / name) for name in entries}
        try:
            there = sorted(os.listdir(folder))
        except OSError as error:
            raise BundleError(f"{folder} cannot be read ({error.strerror}): change its permissions") from error
        unlisted = [name for name in there if name not in (*files, *BESIDE) and not name.startswith(".")]
        if unlisted:
            raise BundleError(f"{folder} holds {unlisted[0]}, which its manifest does not list: take it away")
        if SIGNATURE in there:
            _read(folder / SIGNATURE, SIGNATURE_BYTES)  # only whoever has a key can say more of it
        return cls(manifest, files, threads)

    @property
    def manifest(self) -> dict[str, Any]:
        """What ``manifest.json`` says, as a copy of the caller's own."""
        return _parsed(self._manifest)

    @property
    def base_rates(self) -> dict[str, float]:
        """For each attribute the share of the training people that have it."""
        return {entry["name"]: float(entry["base_rate"]) for entry in self.manifest["attributes"]}

    @property
    def gaps(self) -> dict[str, float]:
        """For each attribute how much more leaks on held-out real samples than on public latents (an AUROC
        difference).
        """
        return {entry["name"]: float(entry["gap"]) for entry in self.manifest["attributes"]}

    @property
    def calibration_errors(self) -> dict[str, float]:
        """For each attribute where it is known: how far its score's probabilities are from what is found, on average,
        on samples that it was not learned from.
        """
        errors = {entry["name"]: entry.get("calibration_error") for entry in self.manifest["attributes"]}
        return {name: float(error) for name, error in errors.items() if is_number(error, 0, 1)}

    @property
    def groups(self) -> dict[str, tuple[str, ...]]:
        """Labels of many classes: for each the attributes of which exactly one is true."""
        return {name: tuple(members) for name, members in self.manifest.get("groups", {}).items()}

    @property
    def quality(self) -> dict[str, Any]:
        """What was measured of this bundle when it was packed."""
        return dict(self.manifest["quality"])

    @property
    def used(self) -> NDArray[np.bool_]:
        """The latent dimensions that the encoder uses: bool [Z]."""
        return self.flow.used.copy()

    @cached_property
    def public(self) -> PublicLatents:
        """The public latents; label = 1 where a uniform draw is below sigmoid(score of the mean).

        Of a group one attribute is 1, as likely as its score says.  The draws come from the seed in the file: every
        device has the same labels.
        """
        stored, log_variance, seed = self._public_latents
        mean = stored.astype(np.float32)
        count = mean.shape[0] * len(self.attributes)
        draws = noise.uniforms(np.array([seed], np.uint64), count, "public labels").reshape(len(mean), -1)
        scores = self.scores.scores(mean)
        labels = (draws < 1 / (1 + np.exp(-scores.astype(np.float64)))).astype(np.uint8)
        for members in self.groups.values():
            columns = [self.attributes.index(name) for name in members]
            up_to = np.cumsum(probabilities(scores[:, columns]), axis=1, dtype=np.float64)
            chosen = (draws[:, columns[:1]] * up_to[:, -1:] > up_to[:, :-1]).sum(axis=1)
            labels[:, columns] = np.eye(len(columns), dtype=np.uint8)[chosen]
        variance = np.exp(log_variance.astype(np.float32))
        for array in (mean, variance, labels):
            array.setflags(write=False)
        return PublicLatents(mean, variance, labels)

    def encode(self, samples: Pixels) -> Latents:
        """uint8 [N, *sample_shape] to latents: mean and variance, float32 [N, Z]."""
        return self.codec.encode(samples)

    def decode(self, z: Floats) -> Pixels:
        """float32 [N, Z] to samples: uint8 [N, *sample_shape]."""
        return self.codec.decode(z)

    def verify(self) -> None:
        """Run every part on a few public latents; raises BundleError, naming the file that does not work."""
        with np.errstate(all="ignore"):  # what overflows is found below, and named
            z = self.public.mean[:4]
            again = self.encode(self.decode(z))
            back = self.flow.inverse(self.flow.forward(z))
            parts = {
                "encoder.onnx": np.concatenate([again.mean, again.variance]),
                "scores.safetensors": self.scores.scores(again.mean),
                "flow.safetensors": back,
            }
        for name, numbers in parts.items():
            if not np.isfinite(numbers).all():
                raise BundleError(f"{name} gives numbers that are not finite: get the bundle again")
        if np.abs(back - z)[:, self.flow.used].max() > 0.01:
            raise BundleError("flow.safetensors does not invert itself: get the bundle again")
        if np.diagonal(self.moments.spread, axis1=2, axis2=3).min() < -0.1:  # regressions: a little below zero is none
            raise BundleError("moments.safetensors holds variances that are none: get the bundle again")

    def __repr__(self) -> str:
        return f"Bundle({self.name!r}, {len(self.attributes)} attributes, digest {self.digest[:12]})"

    def _load_scores(self, arrays: Arrays) -> ScoreNetwork:
        zero = np.zeros((1, self.latent_size), np.float32)
        try:
            scores = ScoreNetwork.from_arrays(arrays)
            found = scores.scores(zero).shape
        except (KeyError, ValueError, TypeError, IndexError) as error:
            raise BundleError(f"scores.safetensors holds no score network ({error!r}): export it again") from error
        if found != (1, len(self.attributes)):
            raise BundleError(f"scores.safetensors is for {found[1]} attributes, not {len(self.attributes)}")
        return scores

    def _load_flow(self, arrays: Arrays) -> PublicFlow:
        zero = np.zeros((1, self.latent_size), np.float32)
        try:
            flow = PublicFlow.from_arrays(arrays)
            found = flow.inverse(flow.forward(zero)).shape
        except (KeyError, ValueError, TypeError, IndexError) as error:
            raise BundleError(f"flow.safetensors holds no public flow ({error!r}): export it again") from error
        if found != zero.shape:
            raise BundleError(f"flow.safetensors is for latents of {found[1]} numbers, not {self.latent_size}")
        return flow

    def _load_moments(self, arrays: Arrays) -> Moments:
        try:
            moments = Moments.from_arrays(arrays)
        except (KeyError, ValueError, TypeError) as error:
            raise BundleError(f"moments.safetensors holds no averages ({error!r}): export it again") from error
        if not moments.fits(len(self.attributes), int(self.flow.used.sum())):
            raise BundleError("moments.safetensors is for other latents or attributes: export it again")
        return moments

    def _load_joint_scores(self, arrays: Arrays) -> JointScores:
        try:
            joint_scores = JointScores.from_arrays(arrays)
        except (KeyError, ValueError, TypeError) as error:
            raise BundleError(f"joint_scores.safetensors holds no scores ({error!r}): export it again") from error
        if not joint_scores.fits(len(self.attributes)):
            raise BundleError("joint_scores.safetensors is for other attributes: export it again")
        return joint_scores

    def _load_public_latents(
        self, arrays: Arrays, metadata: Mapping[str, Any]
    ) -> tuple[NDArray[np.float16], NDArray[np.float16], int]:
        name = "public_latents.safetensors"
        mean, log_variance, seed = arrays.get("mean"), arrays.get("log_variance"), metadata.get("seed")
        if mean is None or log_variance is None or not isinstance(seed, int) or not 0 <= seed < 2**64:
            raise BundleError(f"{name} lacks mean, log_variance or the seed of the labels: export it again")
        if mean.shape != log_variance.shape or mean.ndim != 2 or mean.shape[1] != self.latent_size or not len(mean):
            raise BundleError(f"{name} has the shapes {mean.shape} and {log_variance.shape}: export it again")
        return mean, log_variance, seed


def bundles() -> list[str]:
    """The names of the bundles that ship with this installation, sorted."""
    return sorted(_shipped())


def _shipped() -> dict[str, Path]:
    """Shipped bundles by name: beside the package in a clone, inside it in a wheel, where they win."""
    package = Path(__file__).resolve().parent
    return {
        manifest.parent.name: manifest.parent
        for models in (package.parent / "models", package / "models")
        for manifest in models.glob(f"*/{MANIFEST}")
    }


def folder_of(name_or_folder: str | Path) -> Path:
    """The folder of the shipped bundle of that name, or the one that is named; BundleError where there is none."""
    shipped = _shipped()
    if isinstance(name_or_folder, str) and name_or_folder in shipped:
        return shipped[name_or_folder]
    folder = Path(name_or_folder)
    if not os.path.isdir(folder):
        raise BundleError(
            f"{name_or_folder} is neither a shipped bundle nor a folder: "
            f"choose from {', '.join(sorted(shipped)) or 'folders, none is shipped'}"
        )
    return folder


def _read(path: Path, most: int = LARGEST_FILE) -> bytes:
    try:
        if os.path.islink(path):
            raise BundleError(f"{path} is a link: a bundle holds its files itself; get the bundle again")
        return read_regular(path, most)
    except OSError as error:
        raise BundleError(f"{path} cannot be read ({error.strerror}): get the bundle again") from error


def manifest_files(manifest: Mapping[str, Any]) -> dict[str, bytes]:
    """``manifest.json`` and ``manifest.sha256``, as a bundle's folder holds them."""
    written = json.dumps(manifest, indent=1).encode() + b"\n"
    return {MANIFEST: written, MANIFEST_SUM: hashlib.sha256(written).hexdigest().encode() + b"\n"}


def read_manifest(folder: Path) -> bytes:
    """The bytes of ``manifest.json`` there; BundleError where they are not those that were written."""
    manifest = _read(folder / MANIFEST, LARGEST_MANIFEST)
    if not os.path.lexists(folder / MANIFEST_SUM):
        raise BundleError(
            f"{folder} has no {MANIFEST_SUM}, as every bundle now has: get the bundle again or, where it is your own, "
            "pack it again"
        )
    if _read(folder / MANIFEST_SUM, LARGEST_MANIFEST) != hashlib.sha256(manifest).hexdigest().encode() + b"\n":
        raise BundleError(f"{MANIFEST} is not what {MANIFEST_SUM} says: get the bundle again")
    # Else a name could stand there twice, and others could read the other one.
    if manifest_files(_json(manifest))[MANIFEST] != manifest:
        raise BundleError(f"{MANIFEST} is not written as it is packed: get the bundle again")
    return manifest


def _json(manifest: bytes) -> Any:
    try:
        return parse_json(manifest)
    except ValueError as error:
        raise BundleError(f"{MANIFEST} is no JSON ({error}): get the bundle again") from error


def _parsed(manifest: bytes) -> dict[str, Any]:
    """What the bytes of ``manifest.json`` say, after a check of all that the rest relies on."""
    said = _json(manifest)
    if not isinstance(said, dict) or said.get("schema") != SCHEMA:
        found = said.get("schema") if isinstance(said, dict) else None
        raise BundleError(f"{MANIFEST} has schema {found!r}, this version reads {SCHEMA}: update privsdk or the bundle")
    for place, holds in _EXPECTED.items():
        if not holds(said.get(place)):
            raise BundleError(f"{MANIFEST} has no valid {place!r}: export it again")
    if not _are_groups(said.get("groups", {}), [entry["name"] for entry in said["attributes"]]):
        raise BundleError(f"{MANIFEST} has no valid 'groups': export it again")
    if (said["kind"] == "table" or "table" in said) and (why := _why_no_table(said)):
        raise BundleError(f"{MANIFEST} has no valid 'table' ({why}): export it again")
    return said


def _check_files(manifest: Mapping[str, Any], files: Mapping[str, bytes]) -> None:
    for name in REQUIRED_FILES:
        if name not in manifest["files"]:
            raise BundleError(f"{MANIFEST} does not list {name}: export it again")
    for name, entry in manifest["files"].items():
        content = files.get(name)
        if content is None:
            raise BundleError(f"{name}, which {MANIFEST} lists, is not there: get the bundle again")
        if len(content) != entry["bytes"]:
            raise BundleError(f"{name} has {len(content)} bytes, not {entry['bytes']}: get the bundle again")
        if hashlib.sha256(content).hexdigest() != entry["sha256"]:
            raise BundleError(f"{name} is not what the manifest lists (another SHA-256): get the bundle again")


def _arrays(name: str, files: Mapping[str, bytes]) -> tuple[Arrays, dict[str, Any]]:
    try:
        return unpack(files[name])
    except ValueError as error:
        raise BundleError(f"{name} is damaged: {error}; get the bundle again") from error


def _is_count(value: object, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value <= most


def is_number(value: object, least: float, most: float) -> bool:
    """Whether what JSON gave is a number within these bounds; neither NaN nor a boolean is one."""
    return isinstance(value, int | float) and not isinstance(value, bool) and least <= value <= most


def is_name(value: object) -> bool:
    return isinstance(value, str) and re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", value) is not None


def _is_sample(value: object) -> bool:
    if not isinstance(value, dict) or value.get("dtype") != "uint8":
        return False
    shape = value.get("shape")
    return isinstance(shape, list) and 0 < len(shape) <= 3 and all(_is_count(size, 4096) for size in shape)


def _are_attributes(value: object) -> bool:
    if not isinstance(value, list) or not value:
        return False
    if not all(
        isinstance(entry, dict)
        and isinstance(entry.get("name"), str)
        and entry["name"].isprintable()
        and is_number(entry.get("base_rate"), 0, 1)
        and is_number(entry.get("gap"), -1, 1)
        for entry in value
    ):
        return False
    return len({entry["name"] for entry in value}) == len(value)


def _are_groups(value: object, attributes: list[str]) -> bool:
    """Names of their own, each for several attributes of which no other group has any."""
    if not isinstance(value, dict) or not all(isinstance(members, list) for members in value.values()):
        return False
    members = [name for group in value.values() for name in group]
    # A person writes them without regard to case, spaces and underscores.
    names = [folded(name) for name in (*attributes, *value)]
    return (
        len(set(names)) == len(names)
        and all(names)
        and all(len(group) > 1 for group in value.values())
        and all(name.isprintable() and name not in attributes for name in value)
        and all(isinstance(name, str) and name in attributes for name in members)
        and len(set(members)) == len(members)
    )


def _why_no_table(manifest: Mapping[str, Any]) -> str | None:
    """Why the columns do not describe the samples; None where they do."""
    try:
        table = Table.from_json(manifest.get("table"))
    except ValueError as error:
        return str(error)
    if manifest["sample"]["shape"] != [len(table)]:
        return f"its samples would have {len(table)} numbers"
    attributes = {entry["name"] for entry in manifest["attributes"]}
    named = {label.attribute for label in table.labels} | {one for column in table.columns for one in column.repeats}
    return f"there is no attribute {min(named - attributes)}" if named - attributes else None


def _are_files(value: object) -> bool:
    return isinstance(value, dict) and all(
        is_name(name)
        and name not in BESIDE
        and isinstance(entry, dict)
        and _is_count(entry.get("bytes"), LARGEST_FILE)
        and isinstance(entry.get("sha256"), str)
        for name, entry in value.items()
    )


_EXPECTED: dict[str, Callable[[object], bool]] = {
    "name": is_name,
    "kind": is_name,
    "sample": _is_sample,
    "latent_size": lambda value: _is_count(value, 65536),
    "attributes": _are_attributes,
    "files": _are_files,
    "terms": lambda value: isinstance(value, str),
    "quality": lambda value: isinstance(value, dict),
}
