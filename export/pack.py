"""Packing: graphs, scores, public flow, public latents, manifest and model card become a bundle."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from privsdk.bundle import BESIDE, MANIFEST, SCHEMA, is_name, manifest_files
from privsdk.errors import OutputExistsError, UsageError
from privsdk.files import read_regular, why_not_writable
from privsdk.samples.tables import Table
from privsdk.signatures import LARGEST_KEY, signature_of, signed_bytes
from privsdk.store.folder import write_atomically

MODEL_CARD = "MODEL_CARD.md"

# Of each kind of sample, for the model card: several, one, the noun, and where the attributes come from.
SEEN = "what annotators thought they saw"
WORDS = {
    "faces": ("64x64 images", "an image", "image", SEEN),
    "images": ("64x64 images", "an image", "image", SEEN),
    "digits": ("28x28 digits", "a digit", "digit", "the digit, and what follows from it"),
    "table": ("rows of a table", "a row", "row", "columns of the table, or follow from them"),
}

TOOLS = ("torch", "onnx", "onnxscript", "onnxruntime", "numpy", "pillow", "safetensors")


@dataclass(frozen=True)
class Attribute:
    """What the manifest says of one attribute: the figures are those of the train and of the valid partition."""

    name: str
    base_rate: float
    accuracy: float
    calibration_error: float
    gap: float
    gap_measured: bool


@dataclass(frozen=True)
class Origin:
    """Where a bundle comes from and on which terms it may be used."""

    data: str
    terms: str
    samples: int
    people: int


def check_target(folder: Path) -> None:
    """Raises UsageError if no bundle can be packed into ``folder``, which has the bundle's name."""
    if not is_name(folder.name):
        raise UsageError(
            f"no bundle can be called {folder.name!r}; give a --bundle whose name has letters, digits, '.', '_' and "
            "'-' alone, and begins with a letter or a digit"
        )
    check_replaceable(folder)


def check_replaceable(folder: Path) -> None:
    """Raises UsageError if no bundle can take the place of ``folder``: there must be none, an empty one or a bundle."""
    check_writable(folder.parent)
    if not os.path.lexists(folder):
        return
    if not folder.is_dir():
        raise OutputExistsError(f"{folder} exists already and is no folder; give another --bundle")
    try:
        parts = {*BESIDE, *json.loads((folder / MANIFEST).read_bytes())["files"]}
    except (OSError, ValueError, KeyError, TypeError):
        parts = set()
    strange = sorted(set(os.listdir(folder)) - parts)
    if strange:
        raise OutputExistsError(
            f"{folder} holds {strange[0]}, which is no part of a bundle and would be removed; take it away, or give "
            "another --bundle"
        )


def check_writable(folder: Path) -> None:
    """Raises UsageError if ``folder`` is not there and cannot be made, or nothing can be written into it."""
    if why := why_not_writable(folder):
        raise UsageError(f"{folder} cannot be written ({why}); change the permissions, or give another folder")


def write_bundle(
    folder: Path,
    name: str,
    kind: str,
    sample_shape: Sequence[int],
    latent_size: int,
    attributes: Sequence[Attribute],
    groups: Mapping[str, Sequence[str]],
    origin: Origin,
    quality: Mapping[str, Any],
    files: Mapping[str, bytes],
    table: Table | None = None,
) -> None:
    """Write a bundle's folder whole: first beside its place, then in it, where it replaces a bundle.

    Samples, of a kind in ``WORDS``, are uint8 [*sample_shape]; ``groups`` names attributes of which exactly one holds;
    ``table`` has the columns of rows.
    ``files`` holds the graphs and the arrays by file name; manifest and model card are made here, but no signature,
    even where what is replaced has one.  Raises UsageError if there is anything else in its place.
    """
    check_replaceable(folder)
    card = model_card(name, kind, attributes, origin, quality)
    everything = {**files, MODEL_CARD: card.encode()}
    manifest = {
        "schema": SCHEMA,
        "name": name,
        "kind": kind,
        "sample": {"dtype": "uint8", "shape": list(sample_shape)},
        "latent_size": latent_size,
        "attributes": [rounded(asdict(attribute)) for attribute in attributes],
        **({"groups": {group: list(members) for group, members in groups.items()}} if groups else {}),
        **({} if table is None else {"table": table.to_json()}),
        "files": {
            file: {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
            for file, content in sorted(everything.items())
        },
        "versions": {tool: version(tool) for tool in TOOLS},
        "training_data": asdict(origin),
        "terms": origin.terms,
        "quality": rounded(quality),
    }
    beside = folder.with_name(f".{folder.name}.partial")
    new, old = beside / "new", beside / "old"
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    for file, content in {**everything, **manifest_files(manifest)}.items():
        (new / file).write_bytes(content)
    # The old one goes once the new one is in its place; a process killed in between leaves it beside.
    if folder.exists():
        shutil.rmtree(old, ignore_errors=True)
        os.replace(folder, old)
    os.replace(new, folder)
    shutil.rmtree(beside)


def rewrite_gaps(folder: Path, manifest: Mapping[str, Any], gaps: Mapping[str, float]) -> None:
    """Write the bundle in ``folder`` again with these gaps; the largest of them for every other attribute."""
    attributes = [
        Attribute(
            **{
                **entry,
                "gap": gaps.get(entry["name"], max(gaps.values())),
                "gap_measured": entry["name"] in gaps,
            }
        )
        for entry in manifest["attributes"]
    ]
    _write_again(folder, manifest, attributes, _files(folder, manifest))


def replace_encoder(folder: Path, manifest: Mapping[str, Any], encoder: bytes, target: Path) -> None:
    """Write the bundle in ``folder`` to ``target``, with another encoder.

    Its gaps are those of the one that it had.
    """
    attributes = [Attribute(**entry) for entry in manifest["attributes"]]
    files = {**_files(folder, manifest), "encoder.onnx": encoder}
    _write_again(target, {**manifest, "name": target.name}, attributes, files)


def _files(folder: Path, manifest: Mapping[str, Any]) -> dict[str, bytes]:
    return {file: (folder / file).read_bytes() for file in manifest["files"] if file != MODEL_CARD}


def _write_again(
    folder: Path, manifest: Mapping[str, Any], attributes: Sequence[Attribute], files: Mapping[str, bytes]
) -> None:
    """A bundle of files that one had, with what its manifest says beside them."""
    write_bundle(
        folder,
        manifest["name"],
        manifest["kind"],
        manifest["sample"]["shape"],
        manifest["latent_size"],
        attributes,
        manifest.get("groups", {}),
        Origin(**manifest["training_data"]),
        manifest["quality"],
        files,
        Table.from_json(manifest["table"]) if "table" in manifest else None,
    )


def signing_key(file: Path) -> Ed25519PrivateKey:
    """The private key in a PEM file; raises UsageError where there is none, or one of another kind."""
    try:
        key = load_pem_private_key(read_regular(file, LARGEST_KEY), password=None)
    except OSError as error:
        raise UsageError(f"{file} cannot be read ({error.strerror}); name the private key's PEM file") from error
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise UsageError(f"{file} holds no private key, or one under a passphrase; name one without") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise UsageError(f"{file} holds no Ed25519 key; make one with `openssl genpkey -algorithm ed25519`")
    return key


def sign(bundle_or_file: str | Path, key: Ed25519PrivateKey) -> Path:
    """Sign a bundle, or a privatizer file, in place of whoever signed it before; where the signature is."""
    place = signature_of(bundle_or_file)
    write_atomically(place, key.sign(signed_bytes(bundle_or_file)))
    return place


def rounded(value: Any) -> Any:
    """The same JSON value with numbers to five significant digits, as far as they were measured."""
    if isinstance(value, float):
        return float(f"{value:.5g}")
    if isinstance(value, Mapping):
        return {key: rounded(inner) for key, inner in value.items()}
    return value


def model_card(
    name: str, kind: str, attributes: Sequence[Attribute], origin: Origin, quality: Mapping[str, Any]
) -> str:
    """The model card, in Markdown."""
    several, one, noun, attributes_are = WORDS[kind]
    rows = "\n".join(
        f"| {a.name} | {a.base_rate:.3f} | {a.accuracy:.3f} | {a.calibration_error:.3f} "
        f"| {a.gap:.3f}{'' if a.gap_measured else ' (not measured)'} |"
        for a in attributes
    )
    figures = "\n".join(f"| {figure} | {value:.4g} |" for figure, value in quality.items())
    return f"""# {name}

**Terms of use: {origin.terms}**

An encoder and a decoder for {several}, frozen, for `privsdk`. A device encodes {one}, changes its latent so
that a label of the user's choice is harder to infer from it, and decodes the changed latent.

- Trained on: {origin.data}; {origin.samples} {noun}s of {origin.people} people in the train partition.
- In this folder: two ONNX graphs (weights as float16), the latent scores of {len(attributes)} attributes, the public
  flow, public latents drawn from it, and averages over training people (moments and tables of scores). No {noun} and no
  latent of anybody is in it.
- Not for: recognising people, deciding about people, or judging whether an attribute is true of somebody. The
  attributes are {attributes_are}.

## Quality, on the valid partition

| figure | value |
|---|---|
{figures}

## Attributes

Base rate in the train partition; accuracy and calibration error of the scores on the valid partition; gap: how much
more a fresh attacker's AUROC may be on held-out real {noun}s, at the upper end of its 95% interval, than what a device
finds on public latents after filtering (it adds the gap to that). Where a gap is not measured the largest one that is
stands in its place.

| attribute | base rate | accuracy | calibration error | gap |
|---|---|---|---|---|
{rows}
"""
