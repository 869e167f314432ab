"""The object a developer embeds: a bundle and a filter fitted to one person's wish, ready to release."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from privsdk import filters, noise
from privsdk.arrays import Arrays, pack, unpack
from privsdk.bundle import LARGEST_FILE, UNKNOWN_GAP, Bundle, bundles, is_number
from privsdk.codec import Floats, Latents, Pixels
from privsdk.errors import MissingExtraError, NotReachedError, OutputExistsError, PrivatizerError, Refusal, UsageError
from privsdk.files import read_regular
from privsdk.filters import posterior
from privsdk.immutable import Immutable
from privsdk.progress import Progress
from privsdk.release import FileRelease, Names, Release, release, release_idx, release_table
from privsdk.release.files import Order, PrivateColumn, UtilityColumn
from privsdk.samples.faces import Faces
from privsdk.samples.images import Format
from privsdk.samples.labels import Labels
from privsdk.store.folder import write_new
from privsdk.store.key import device_key

SCHEMA = 3
BATCH_BYTES = 16 * 64 * 64 * 3
"""Of samples that are worked on at once: 16 faces."""
FIGURES = {"private": ("leakage", "gap", "accuracy", "base_rate"), "utility": ("accuracy", "accuracy_unfiltered")}
"""What the check must say of each label; shares, and differences of shares."""

CLOSEST = 2.0
"""Mean absolute difference to the original, in grey levels, from which on an image counts as another one.

A reconstruction alone, with nothing hidden, differs from its photo by ten or more.
"""

DRAWS = 8
"""How often other random choices are tried where a release came out as the original; rows of a table do so at times."""


class Privatizer(Immutable):
    """Changes samples so that the private labels are harder to infer from them, the utility labels are
    not.

    Immutable, and safe to share between threads.  Made by :func:`privsdk.fit`, or :meth:`load`.
    """

    def __init__(self, bundle: Bundle, filter: filters.Filter, record: Mapping[str, Any]) -> None:
        """``record`` is JSON and has at least ``private`` and ``utility`` (lists of labels),
        ``method`` and ``check``, what fresh attackers found of each of those labels when the filter was fitted,
        and on what.  ``own_labels`` lists those of them that the bundle does not know.  Raises PrivatizerError
        otherwise.
        """
        self.bundle = bundle
        self.filter = filter
        try:
            self._record = json.loads(json.dumps(dict(record), allow_nan=False))
        except (TypeError, ValueError) as error:
            raise PrivatizerError(f"the privatizer's record is no JSON ({error}): fit it again") from error
        for name, holds in _EXPECTED.items():
            if not holds(self._record.get(name)):
                raise PrivatizerError(f"the privatizer's record has no valid {name!r}: fit it again")
        for side, figures in FIGURES.items():
            if not _are_findings(self._record["check"].get(side), self._record[side], figures):
                raise PrivatizerError(f"the privatizer's record does not say what its {side} labels tell: fit it again")
        known = {*bundle.attributes, *bundle.groups, *(self._record.get("own_labels") or ())}
        unknown = sorted({*self.private, *self.utility} - known)
        if unknown:
            raise PrivatizerError(f"the bundle {bundle.name} has no label {unknown[0]}: fit the privatizer again")
        self._seal()

    @property
    def private(self) -> tuple[str, ...]:
        """The labels that are hidden."""
        return tuple(self._record["private"])

    @property
    def utility(self) -> tuple[str, ...]:
        """The labels that are kept."""
        return tuple(self._record["utility"])

    @property
    def method(self) -> str:
        """How the filter was fitted: ``flow``, ``minmax`` or ``closed-form``."""
        return str(self._record["method"])

    @property
    def label_aware(self) -> bool:
        """Whether the filter wants the private labels of the samples."""
        return self.filter.label_aware

    @cached_property
    def filter_digest(self) -> str:
        """SHA-256 of the bundle's digest and of the filter, in hexadecimal.

        It stays on the device: whoever has it can look the wish up by fitting every pair of labels of a public bundle.
        """
        what_it_does = {"bundle": self.bundle.digest, "kind": self.filter.kind, "settings": self.filter.settings()}
        return _digest(self.filter.arrays(), what_it_does)

    @property
    def record(self) -> dict[str, Any]:
        """How the filter was fitted and what fresh attackers found then, as a copy of the caller's own."""
        return copy.deepcopy(self._record)

    def require(self, max_leakage: float) -> None:
        """Raises NotReachedError where a private label leaks more: the AUROC found at the fit plus the
        bundle's gap; UsageError for what is no leakage.
        """
        if not 0.5 <= max_leakage <= 1:
            raise UsageError(f"max_leakage is {max_leakage}: leakage lies between 0.5 (chance) and 1")
        # Whoever asked knows what is hidden; what an app logs of an error should not say it.
        for found in self._record["check"]["private"].values():
            leakage = min(found["leakage"] + found["gap"], 1)
            if leakage <= max_leakage:
                continue
            if found["gap"] >= UNKNOWN_GAP:
                raise NotReachedError(
                    f"a private label leaks {found['leakage']:.3f} where that was measured, and nobody knows how much "
                    "more on real samples: take the default filter of a bundle whose gaps are known, or leave "
                    "max_leakage out"
                )
            raise NotReachedError(
                f"a private label leaks {leakage:.3f} (AUROC of the strongest attacker, {found['gap']:.3f} of it "
                f"for real samples), more than the {max_leakage:.3f} asked for: allow more, or fit with "
                "a larger fairness or a smaller rho"
            )

    def perturb(
        self, latents: Latents, private: NDArray[Any] | None = None, draws: NDArray[np.uint64] | None = None
    ) -> Floats:
        """The perturbed latents: float32 [N, Z].

        ``private`` is what a label-aware filter wants, the class of each label, 0 or 1 or, of C classes, 0 to C - 1:
        int [N], or [N, P] of P labels; ``draws``
        uint64 [N], one seed a row for all its random choices: without it they come from the latents' bytes
        and the device key, so nothing averages away.  Raises UsageError where the lengths differ or a label
        is missing, Refusal (``not-privatized``) where the filter fails.
        """
        if draws is None:
            rows = np.concatenate([latents.mean, latents.variance], axis=1)
            draws = noise.sample_seeds(device_key(), rows, f"latents by {self.filter_digest}")
        given = np.asarray(draws, object)
        if not all(isinstance(draw, Integral) and 0 <= int(draw) < 2**64 for draw in given.flat):
            raise UsageError("draws are whole numbers from 0 to 2**64 - 1, one a row")
        z, refused = self._perturb(latents, private, given.astype(np.uint64))
        _raise_first(refused, "latents")
        return z

    def privatize(self, samples: Pixels, private: NDArray[Any] | None = None, key: bytes | None = None) -> Pixels:
        """The samples as they may be released: uint8 [N, *sample_shape] to the same.

        ``private`` is as in :meth:`perturb`; ``key`` 32 bytes, the device key without it.  The same sample
        and key give the same release, whatever else is in the batch.  Raises UsageError for other shapes, Refusal
        (``not-privatized``) with the position of the first sample that came out as it went in; nothing is returned
        then.  No ledger is kept of it: who releases nearly equal samples, or one sample by several filters, this way
        answers for what they tell together.
        """
        released, refused = self.privatize_each(samples, private, key if key is not None else device_key())
        _raise_first(refused, "samples")
        return released

    def privatize_each(
        self,
        samples: Pixels,
        private: NDArray[Any] | None,
        key: bytes,
        origins: Sequence[bytes] | None = None,
    ) -> tuple[Pixels, dict[int, Refusal]]:
        """As :meth:`privatize`; the samples that must not go out are zero, and in the dictionary by their
        position.

        All random choices for a sample are functions of the key, of the filter and of its origin: its own digest, or
        what the ledger says (:meth:`privsdk.store.ledger.Ledger.enter`), one for all that are nearly equal.
        """
        if private is not None and len(private) != len(samples):
            raise UsageError(f"{len(samples)} samples need {len(samples)} private labels, not {len(private)}")
        origins = origins if origins is not None else noise.sample_digests(key, samples)
        released = np.zeros_like(samples)
        refused: dict[int, Refusal] = {}
        step = max(1, BATCH_BYTES // max(1, samples[:1].nbytes))
        for start in range(0, len(samples), step):
            rows = slice(start, start + step)
            given = None if private is None else private[rows]
            released[rows], failed = self._released(samples[rows], given, key, origins[rows])
            refused.update({start + row: refusal for row, refusal in failed.items()})
        return released, refused

    def release(
        self,
        paths: str | Path | Sequence[str | Path],
        output: str | Path | None = None,
        labels: Labels | None = None,
        faces: Faces = "largest",
        aligned: bool = False,
        names: Names = "random",
        key: bytes | None = None,
        on_progress: Progress | None = None,
        cancel: Callable[[], bool] | None = None,
        format: Format = "png",
        preview: str | Path | None = None,
        insist: bool = False,
        folder: Path | None = None,
    ) -> list[Release | Refusal]:
        """Photos of faces, or images of digits, to privatized ones: see :func:`privsdk.release.release`."""
        return release(
            self,
            paths,
            output,
            labels=labels,
            faces=faces,
            aligned=aligned,
            names=names,
            key=key,
            on_progress=on_progress,
            cancel=cancel,
            format=format,
            preview=preview,
            insist=insist,
            folder=folder,
        )

    def release_table(
        self,
        path: str | Path,
        output: str | Path | None = None,
        private_column: PrivateColumn = "drop",
        utility_column: UtilityColumn = "keep",
        order: Order = "shuffled",
        key: bytes | None = None,
        on_progress: Progress | None = None,
        cancel: Callable[[], bool] | None = None,
        insist: bool = False,
        folder: Path | None = None,
    ) -> FileRelease:
        """A CSV file to one of privatized rows: see :func:`privsdk.release.release_table`."""
        return release_table(
            self,
            path,
            output,
            private_column=private_column,
            utility_column=utility_column,
            order=order,
            key=key,
            on_progress=on_progress,
            cancel=cancel,
            insist=insist,
            folder=folder,
        )

    def release_idx(
        self,
        path: str | Path,
        output: str | Path | None = None,
        order: Order = "shuffled",
        key: bytes | None = None,
        on_progress: Progress | None = None,
        cancel: Callable[[], bool] | None = None,
        insist: bool = False,
        folder: Path | None = None,
    ) -> FileRelease:
        """Digits in an idx file to one of privatized digits: see :func:`privsdk.release.release_idx`."""
        return release_idx(
            self,
            path,
            output,
            order=order,
            key=key,
            on_progress=on_progress,
            cancel=cancel,
            insist=insist,
            folder=folder,
        )

    def save(self, path: str | Path) -> None:
        """Write the privatizer to a file, without the bundle.  Raises OutputExistsError, and UsageError where
        it cannot.
        """
        _write(Path(path), self.to_bytes())

    def save_onnx(self, path: str | Path) -> None:
        """Write :meth:`to_onnx` to a file.  Raises what that does, OutputExistsError, and UsageError where it
        cannot.
        """
        _write(Path(path), self.to_onnx())

    def to_onnx(self) -> bytes:
        """Encoder, filter and decoder as one ONNX graph, for hosts without Python: see :func:`privsdk.to_onnx.to_onnx`.

        Raises MissingExtraError without the extra ``onnx``, and UsageError for a filter that has no graph.
        """
        try:
            from privsdk.to_onnx import to_onnx
        except ImportError as error:
            raise MissingExtraError(f"a graph needs {error.name}: pip install 'privsdk[onnx]'") from error
        return to_onnx(self)

    @classmethod
    def load(cls, path: str | Path, bundle: Bundle | None = None, threads: int = 1) -> Privatizer:
        """The privatizer in a file; without ``bundle`` the shipped bundle of the name it was fitted for is
        opened, with so many ``threads``.

        A link is followed: it is the user's, and the file is whole in itself.  Raises PrivatizerError where the file is
        damaged, no privatizer, or belongs to another bundle.
        """
        try:
            data = read_regular(path, LARGEST_FILE)
        except OSError as error:
            raise PrivatizerError(f"{path} cannot be read: {error.strerror}") from error
        try:
            return cls.from_bytes(data, bundle, threads)
        except PrivatizerError as error:
            raise PrivatizerError(f"{path}: {error}") from error

    def to_bytes(self) -> bytes:
        """What :meth:`save` writes."""
        arrays = self.filter.arrays()
        content = {
            "schema": SCHEMA,
            "bundle": {"name": self.bundle.name, "digest": self.bundle.digest},
            "filter": {"kind": self.filter.kind, "settings": self.filter.settings()},
            "record": self._record,
        }
        return pack(arrays, {**content, "digest": _digest(arrays, content)})

    @classmethod
    def from_bytes(cls, data: bytes, bundle: Bundle | None = None, threads: int = 1) -> Privatizer:
        """The privatizer that :meth:`to_bytes` made ``data`` of; raises PrivatizerError where one bit is another."""
        try:
            arrays, content = unpack(data)
            digest = content.pop("digest")
            name, bundle_digest = content["bundle"]["name"], content["bundle"]["digest"]
            kind, settings = str(content["filter"]["kind"]), content["filter"]["settings"]
            schema, record = content["schema"], content["record"]
        except (ValueError, KeyError, TypeError) as error:
            raise PrivatizerError("this is no privatizer, or a damaged one: fit it again") from error
        if schema != SCHEMA:
            raise PrivatizerError(f"it has schema {schema!r}, this version reads {SCHEMA}: fit it again")
        if digest != _digest(arrays, content):
            raise PrivatizerError("it is damaged (its digest is another): fit it again")
        if bundle is None:
            if name not in bundles():
                raise PrivatizerError(f"it needs the bundle {name!r}, which is not here: open it and hand it over")
            bundle = Bundle.open(name, threads)
        if bundle.digest != bundle_digest:
            raise PrivatizerError(
                f"it was fitted for the bundle {name} with the digest {str(bundle_digest)[:12]}, not for "
                f"{bundle.name} with {bundle.digest[:12]}: open that bundle, or fit again"
            )
        privatizer = cls(bundle, filters.load(kind, settings, arrays), record)
        privatizer._try_out()
        return privatizer

    def __repr__(self) -> str:
        return f"Privatizer({self.bundle.name!r}, {self.method!r}, {self.private}, {self.utility})"

    def _released(
        self, samples: Pixels, private: NDArray[Any] | None, key: bytes, origins: Sequence[bytes]
    ) -> tuple[Pixels, dict[int, Refusal]]:
        """The releases of a few samples, zero where there is none, and why, by row."""
        latents = self.bundle.encode(samples)
        released = np.zeros_like(samples)
        refused: dict[int, Refusal] = {}
        rows = np.arange(len(samples))
        for draw in range(DRAWS):
            purpose = f"release by {self.filter_digest}, draw {draw + 1}"
            seeds = noise.sample_seeds(key, [origins[row] for row in rows.tolist()], purpose)
            z, failed = self._perturb(latents[rows], None if private is None else private[rows], seeds)
            decoded = self.bundle.decode(z)
            refused |= {int(rows[row]): refusal for row, refusal in failed.items()}
            failed_rows = np.isin(np.arange(len(rows)), list(failed))
            as_it_was = self._as_it_was(decoded, samples[rows]) & ~failed_rows
            released[rows[~as_it_was & ~failed_rows]] = decoded[~as_it_was & ~failed_rows]
            rows = rows[as_it_was]
            if not len(rows):
                break
        close = _not_privatized("What came out is the original or close to it.")
        return released, refused | {int(row): close for row in rows}

    def _as_it_was(self, released: Pixels, samples: Pixels) -> NDArray[np.bool_]:
        """Which releases are the original, or so close to it that they count as such: bool [N]."""
        if self.bundle.table is not None:
            return (released == samples).all(axis=1)
        difference = np.abs(released.astype(np.int16) - samples)
        return difference.reshape(len(samples), -1).mean(axis=1) < CLOSEST

    def _perturb(
        self, latents: Latents, private: NDArray[Any] | None, seeds: NDArray[np.uint64]
    ) -> tuple[Floats, dict[int, Refusal]]:
        """Perturbed latents, zero where the filter failed, and those failures by row."""
        expected = (len(latents), self.bundle.latent_size)
        if latents.mean.shape != expected:
            raise UsageError(f"the latents are {latents.mean.shape}, the bundle's {expected}")
        if seeds.shape != (len(latents),):
            raise UsageError(f"{len(latents)} latents need {len(latents)} draws, not {seeds.shape}")
        if self.label_aware and private is None:
            raise UsageError(
                "this privatizer needs the private label of every sample: give labels, or fit one that needs none"
            )
        if not len(latents):
            return latents.mean, {}
        usable: NDArray[np.bool_] = np.isfinite(np.concatenate([latents.mean, latents.variance], axis=1)).all(axis=1)
        mean = np.where(usable[:, None], latents.mean, 0).astype(np.float32)
        variance = np.where(usable[:, None], latents.variance, 1).astype(np.float32)
        with np.errstate(all="ignore"):
            z = self.filter.perturb(mean, variance, seeds, self._classes(private))
        if z.shape != expected:
            raise PrivatizerError(f"the filter gives {z.shape} for latents {expected}: fit it again")
        z[~usable] = np.nan
        refused = {
            int(row): _not_privatized("The latent holds, or the filter gave, numbers that are not finite.")
            for row in np.flatnonzero(~np.isfinite(z).all(axis=1))
        } | {
            int(row): _not_privatized("The filter left the sample as it was.")
            for row in np.flatnonzero((z == latents.mean).all(axis=1))
        }
        return np.where(np.isfinite(z), z, 0).astype(np.float32), refused

    def _classes(self, private: NDArray[Any] | None) -> NDArray[np.int64] | None:
        """Labels [N, P] or [N] as the one class a sample that a label-aware filter was fitted with."""
        if not self.label_aware or private is None:
            return None
        labels = np.asarray(private).reshape(len(private), -1)
        counts = [len(self.bundle.groups.get(label, (0, 1))) for label in self.private]
        if labels.shape[1] != len(counts) or not all(
            np.isin(own, range(count)).all() for own, count in zip(labels.T, counts, strict=True)
        ):
            allowed = ", ".join(f"0 to {count - 1}" for count in counts)
            raise UsageError(f"private labels are int [N, {len(counts)}], column by column {allowed}: give those")
        return posterior.classes(labels, counts)

    def _try_out(self) -> None:
        size = self.bundle.latent_size
        one = Latents(np.zeros((1, size), np.float32), np.ones((1, size), np.float32))
        label = np.zeros((1, len(self.private)), np.int64) if self.label_aware else None
        try:
            _, refused = self._perturb(one, label, np.zeros(1, np.uint64))
        except (UsageError, ValueError, TypeError, LookupError, ArithmeticError) as error:
            raise PrivatizerError(f"its filter does not fit the bundle ({error}): fit it again") from error
        if refused:
            raise PrivatizerError(f"its filter does not work ({refused[0].detail}): fit it again")


def _write(path: Path, data: bytes) -> None:
    try:
        write_new(path, data)
    except FileExistsError as error:
        raise OutputExistsError(f"{path} exists already: choose another name, or take it away") from error
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}") from error


def _not_privatized(detail: str) -> Refusal:
    return Refusal("not-privatized", f"{detail} It is kept back; fit the privatizer again if this happens often.")


def _raise_first(refused: Mapping[int, Refusal], inputs: str) -> None:
    if refused:
        first = min(refused)
        raise refused[first].of(f"{inputs}[{first}]", first)


def _digest(arrays: Arrays | Mapping[str, NDArray[np.generic]], content: Mapping[str, Any]) -> str:
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode())
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _are_labels(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(label, str) for label in value)


def _is_check(value: object) -> bool:
    return isinstance(value, dict) and isinstance(value.get("measured_on"), str)


def _are_findings(value: object, labels: Sequence[str], figures: Sequence[str]) -> bool:
    """Whether each of the labels, and whatever else was looked for, has these figures."""
    return (
        isinstance(value, dict)
        and value.keys() >= {*labels}
        and all(
            isinstance(found, dict) and all(is_number(found.get(figure), -1, 1) for figure in figures)
            for found in value.values()
        )
    )


_EXPECTED: dict[str, Callable[[object], bool]] = {
    "private": _are_labels,
    "utility": _are_labels,
    "method": lambda value: isinstance(value, str),
    "check": _is_check,
    "own_labels": lambda value: value is None or value == [] or _are_labels(value),
}
