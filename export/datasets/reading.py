"""Label files to text, and image files to samples of one size; what cannot be used is named, never silently dropped."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from privsdk.errors import Refusal, TrainingDataError
from privsdk.samples import images
from privsdk.samples.images import Pixels

SIDE = 64


def text_of(path: Path, expected: str) -> str:
    """The text of a file that must be there; ``expected`` says in an error what it is for."""
    if not path.is_file():
        raise TrainingDataError(f"{path} is missing; {expected}")
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise TrainingDataError(f"{path} is no UTF-8 (its byte {error.start}); save it as text in UTF-8") from error


def digests(files: Iterable[Path]) -> dict[str, str]:
    """SHA-256 of those of these files that are there, by their names."""
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files if file.is_file()}


def note_line(lines: dict[str, int], name: str, number: int, source: Path) -> None:
    """Note in ``lines`` where ``source`` lists ``name``; raises TrainingDataError if it does so a second time."""
    if name in lines:
        raise TrainingDataError(f"{source} lists {name} twice, in lines {lines[name]} and {number}; take one out")
    lines[name] = number


def read_samples(
    folder: Path, names: Sequence[str], sample_of: Callable[[Pixels], Pixels]
) -> tuple[np.ndarray, tuple[str, ...], tuple[str, ...]]:
    """Pixels uint8 [N, 64, 64, 3] and names of the files that could be used, and a sentence for each other one.

    ``sample_of`` takes the sample out of an image, or raises a Refusal.  Raises TrainingDataError if no file at all
    could be used.
    """

    def read(name: str) -> Pixels | str:
        try:
            return sample_of(images.read(folder / name))
        except Refusal as refusal:
            return f"{name}: {refusal.detail}"

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = list(pool.map(read, names))
    refused = tuple(one for one in found if isinstance(one, str))
    used = [(one, name) for one, name in zip(found, names, strict=True) if not isinstance(one, str)]
    if not used:
        raise TrainingDataError(f"none of the {len(names)} images named could be used from {folder}")
    if refused:
        print(f"{len(refused)} of {len(names)} images left out:", *refused, sep="\n  ", file=sys.stderr)
    return np.stack([pixels for pixels, _ in used]), tuple(name for _, name in used), refused
