"""privsdk: changes a sample on the device so that what is nobody's business is harder to infer from it.

::

    bundle = privsdk.Bundle.open("faces")
    privatizer = privsdk.fit(bundle, private="male", utility="smiling")
    privatizer.release(["photos"])
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from privsdk.errors import (
    BundleError,
    CancelledError,
    MissingExtraError,
    NotReachedError,
    OutputExistsError,
    PrivatizerError,
    PrivsdkError,
    Refusal,
    StoreError,
    UnexpectedError,
    UnknownLabelError,
    UnworkablePairError,
    UsageError,
)

if TYPE_CHECKING:
    from privsdk.auditing.audit import audit
    from privsdk.auditing.report import Report, check_bounds
    from privsdk.bench import measure, measured_text
    from privsdk.bundle import Bundle, PublicLatents, bundles
    from privsdk.codec import Latents
    from privsdk.drawing import check_curve, check_page, draw_curve, write_page
    from privsdk.fitting import fit
    from privsdk.fitting.curve import Curve, curve
    from privsdk.planning import Plan, photos_in, plan_file, plan_release
    from privsdk.privatizer import Privatizer
    from privsdk.progress import ProgressText
    from privsdk.release import FileRelease, Release
    from privsdk.reuse import FitSettings, check_wish, fitted
    from privsdk.samples.digits import is_idx, read_digits, read_idx
    from privsdk.samples.faces import read_faces
    from privsdk.samples.labelled import read_labelled_faces
    from privsdk.samples.labels import labels_of_photos, read_labels
    from privsdk.samples.tables import Table, TableRows, read_table
    from privsdk.samples.to_audit import Labelled, read_releases_to_audit, read_samples_to_audit
    from privsdk.signatures import check_signature, is_privatizer_file, is_signed
    from privsdk.store.key import device_key, key_fingerprint, key_path, rotate_key

__version__ = "0.1.0"

__all__ = [
    "Bundle",
    "BundleError",
    "CancelledError",
    "Curve",
    "FileRelease",
    "FitSettings",
    "Labelled",
    "Latents",
    "MissingExtraError",
    "NotReachedError",
    "OutputExistsError",
    "Plan",
    "Privatizer",
    "PrivatizerError",
    "PrivsdkError",
    "ProgressText",
    "PublicLatents",
    "Refusal",
    "Release",
    "Report",
    "StoreError",
    "Table",
    "TableRows",
    "UnexpectedError",
    "UnknownLabelError",
    "UnworkablePairError",
    "UsageError",
    "__version__",
    "audit",
    "bundles",
    "check_bounds",
    "check_curve",
    "check_page",
    "check_signature",
    "check_wish",
    "curve",
    "device_key",
    "draw_curve",
    "fit",
    "fitted",
    "is_idx",
    "is_privatizer_file",
    "is_signed",
    "key_fingerprint",
    "key_path",
    "labels_of_photos",
    "measure",
    "measured_text",
    "photos_in",
    "plan_file",
    "plan_release",
    "read_digits",
    "read_faces",
    "read_idx",
    "read_labelled_faces",
    "read_labels",
    "read_releases_to_audit",
    "read_samples_to_audit",
    "read_table",
    "rotate_key",
    "write_page",
]

# Imported when first asked for: `import privsdk` alone needs neither NumPy nor ONNX Runtime.
_LATER = {
    "Bundle": "privsdk.bundle",
    "Curve": "privsdk.fitting.curve",
    "FileRelease": "privsdk.release",
    "FitSettings": "privsdk.reuse",
    "Labelled": "privsdk.samples.to_audit",
    "Latents": "privsdk.codec",
    "Plan": "privsdk.planning",
    "Privatizer": "privsdk.privatizer",
    "ProgressText": "privsdk.progress",
    "PublicLatents": "privsdk.bundle",
    "Release": "privsdk.release",
    "Report": "privsdk.auditing.report",
    "Table": "privsdk.samples.tables",
    "TableRows": "privsdk.samples.tables",
    "audit": "privsdk.auditing.audit",
    "bundles": "privsdk.bundle",
    "check_bounds": "privsdk.auditing.report",
    "check_curve": "privsdk.drawing",
    "check_page": "privsdk.drawing",
    "check_signature": "privsdk.signatures",
    "check_wish": "privsdk.reuse",
    "curve": "privsdk.fitting.curve",
    "device_key": "privsdk.store.key",
    "draw_curve": "privsdk.drawing",
    "fit": "privsdk.fitting",
    "fitted": "privsdk.reuse",
    "is_idx": "privsdk.samples.digits",
    "is_privatizer_file": "privsdk.signatures",
    "is_signed": "privsdk.signatures",
    "key_fingerprint": "privsdk.store.key",
    "key_path": "privsdk.store.key",
    "labels_of_photos": "privsdk.samples.labels",
    "measure": "privsdk.bench",
    "measured_text": "privsdk.bench",
    "photos_in": "privsdk.planning",
    "plan_file": "privsdk.planning",
    "plan_release": "privsdk.planning",
    "read_digits": "privsdk.samples.digits",
    "read_faces": "privsdk.samples.faces",
    "read_idx": "privsdk.samples.digits",
    "read_labelled_faces": "privsdk.samples.labelled",
    "read_labels": "privsdk.samples.labels",
    "read_releases_to_audit": "privsdk.samples.to_audit",
    "read_samples_to_audit": "privsdk.samples.to_audit",
    "read_table": "privsdk.samples.tables",
    "rotate_key": "privsdk.store.key",
    "write_page": "privsdk.drawing",
}


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module 'privsdk' has no attribute {name!r}")
    value = getattr(import_module(_LATER[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
