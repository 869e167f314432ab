"""What a release will work on, told before anything is read or written."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from privsdk.errors import OutputExistsError, UsageError
from privsdk.files import PART, why_not_writable
from privsdk.samples import images
from privsdk.samples.digits import is_idx

RECORD = "release.jsonl"
"""The record of a release, which also tells its folder from one of photos."""

UNFINISHED = ".unfinished"
"""An empty file in the folder of a release that was stopped before it had its record."""


@dataclass(frozen=True)
class Plan:
    """What a release will work on: the photos, in order, and the folder for the output."""

    photos: tuple[Path, ...]
    output: Path


def plan_release(
    paths: str | Path | Sequence[str | Path],
    output: str | Path | None = None,
    recursive: bool = False,
    preview: str | Path | None = None,
) -> Plan:
    """The photos in ``paths``, one or several, and where their release goes; nothing is read or written yet.

    The output is a new folder, an empty one, or one with a release that was stopped; it is in no folder of photos.
    A file is taken whatever its name; of a folder the files that are called like photos, sorted, with
    ``recursive`` those in its folders too, except in hidden folders and in those of earlier releases.  Links in a
    folder that lead out of it are left out: whoever sends a folder does not say what else is released.
    ``output`` is by default ``<folder>-released`` beside the input.  One path of several that is not there is a
    photo to refuse.  Raises UsageError where none is there, there is no photo or no output can be told, and
    OutputExistsError where something is there already.
    """
    paths = _checked(paths)
    folder = Path(output) if output is not None else _beside(paths)
    check_output(folder, paths)
    if preview is not None:
        _check_preview(Path(preview), folder, paths, recursive)
    return Plan(photos_in(paths, recursive), folder)


def plan_file(path: str | Path, output: str | Path | None = None) -> Path:
    """Where the release of a file goes: ``output``, or a name beside the file; nothing is read or written yet.

    Raises OutputExistsError where something is there already, and UsageError where it cannot be written.
    """
    source = Path(path)
    if output is not None:
        target = Path(output)
    elif is_idx(source):
        target = source.with_name(source.name.replace("idx3-ubyte", "released-idx3-ubyte"))
    else:
        target = source.with_name(f"{source.stem}-released{source.suffix}")
    if os.path.lexists(target):
        raise OutputExistsError(f"{target} exists already: move it away, or choose another output")
    if not target.name or not os.path.isdir(target.parent):
        raise UsageError(f"{target} cannot be written: choose a file in a folder that is there")
    if why := why_not_writable(target.parent):
        raise UsageError(f"{target} cannot be written: {why}")
    return target


def photos_in(paths: str | Path | Sequence[str | Path], recursive: bool = False) -> tuple[Path, ...]:
    """The photos in ``paths``, one or several, as :func:`plan_release` takes them; raises UsageError as it does."""
    paths = _checked(paths)
    found = {os.path.abspath(photo): photo for path in paths for photo in _photos(Path(path), recursive)}
    if not found:
        where = ", ".join(str(path) for path in paths)
        raise UsageError(
            f"no photo in {where}: name a folder of JPEG, PNG or WebP files"
            f"{'' if recursive else ', or look in its folders too (--recursive)'}"
        )
    if all(_is_gone(path) for path in paths):
        raise UsageError(f"there is no {', '.join(str(path) for path in paths)}: check the path")
    return tuple(found.values())


def _checked(paths: str | Path | Sequence[str | Path]) -> list[str | Path]:
    paths = [paths] if isinstance(paths, str | Path) else list(paths)
    if not paths:
        raise UsageError("no photo is given: name a file or a folder")
    if "" in paths:
        raise UsageError("one of the paths is empty: name a file or a folder (. for this one)")
    return paths


def _beside(paths: Sequence[str | Path]) -> Path:
    path = Path(os.path.abspath(paths[0]))
    if len(paths) > 1 or not path.name:
        raise UsageError("several inputs have no output folder of their own: name one (--output)")
    return path.parent / f"{path.name if os.path.isdir(path) else path.stem}-released"


def check_output(folder: Path, inputs: Sequence[str | Path]) -> None:
    """Nothing is there but an empty folder or an unfinished release; it lies in no input, and can be written."""
    try:
        # One that was stopped before it had its mark has left at most a part of the mark.
        if os.path.lexists(folder) and not (
            os.path.isdir(folder)
            and (os.path.lexists(folder / UNFINISHED) or all(PART.fullmatch(name) for name in os.listdir(folder)))
        ):
            raise OutputExistsError(f"{folder} exists already: move it away, or choose another output folder")
    except OSError as error:
        raise UsageError(f"{folder} cannot be used: {error.strerror}") from error
    if why := why_not_writable(folder):
        raise UsageError(f"{str(folder)!r} cannot be written: {why}")
    place = Path(os.path.realpath(folder))
    for path in inputs:
        if os.path.isdir(path) and Path(os.path.realpath(path)) in (place, *place.parents):
            raise UsageError(f"{folder} lies in {path}, among the photos: choose an output folder outside")


def _is_gone(path: str | Path) -> bool:
    """Whether nothing is there; of what is closed to us, or can be no name, something else is to be said."""
    try:
        os.lstat(path)
    except FileNotFoundError:
        return True
    except (OSError, ValueError):
        pass
    return False


def _photos(path: Path, recursive: bool) -> Iterator[Path]:
    # Folder by folder, not one within another: a folder may be deeper than Python's calls may be.
    top = Path(os.path.realpath(path)) if os.path.isdir(path) else path
    waiting = [path]
    while waiting:
        entry = waiting.pop()
        inside = _inside(entry)
        if inside is None:
            yield entry
        else:
            waiting += [one for one in reversed(inside) if _is_taken(one, top, recursive)]


def _inside(path: Path) -> list[Path] | None:
    """What is in a folder, sorted; None for what is none or is closed to us, which is then a photo to refuse."""
    # os.path's functions say no where pathlib's raise, as for a name that is too long.
    if not os.path.isdir(path):
        return None
    try:
        return sorted(path.iterdir())
    except OSError:
        return None


def _is_taken(entry: Path, top: Path, recursive: bool) -> bool:
    """Whether something in a folder is a photo, or a folder to look into."""
    if entry.name.startswith("."):
        return False
    if os.path.isdir(entry):
        return recursive and not os.path.islink(entry) and not _is_release(entry)
    return images.is_photo(entry) and not _leads_out(entry, top)


def _leads_out(entry: Path, top: Path) -> bool:
    """Whether it is a link to something that is not in the folder that was named."""
    return os.path.islink(entry) and top not in Path(os.path.realpath(entry)).parents


def _is_release(folder: Path) -> bool:
    return os.path.lexists(folder / RECORD) or os.path.lexists(folder / UNFINISHED)


def _check_preview(preview: Path, output: Path, inputs: Sequence[str | Path], recursive: bool) -> None:
    if preview.suffix.lower() not in images.FORMATS:
        raise UsageError(f"the preview {preview} must end in {', '.join(images.FORMATS)}")
    if os.path.lexists(preview):
        raise OutputExistsError(f"{preview} exists already: choose another name for the preview")
    if Path(os.path.realpath(output)) in Path(os.path.realpath(preview)).parents:
        raise UsageError(f"the preview shows the originals: keep it out of {output}, which is for sharing")
    parent = Path(os.path.realpath(preview.parent))
    searched = {parent, *parent.parents} if recursive else {parent}
    if searched & {Path(os.path.realpath(path)) for path in inputs}:
        raise UsageError(f"the preview {preview} would lie among the photos and be one of them the next time: move it")
    if not os.path.isdir(preview.parent) or why_not_writable(preview.parent):
        raise UsageError(f"the preview {preview} cannot be written: choose a folder that is there and can be written")
