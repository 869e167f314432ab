"""The JSON Schema of an audit's result, from the types of the report: ``python -m privsdk.auditing.schema``."""

from __future__ import annotations

import json
import sys
import types
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any, Union, get_args, get_origin, get_type_hints

from privsdk.auditing.report import NOT_IN_JSON, SCHEMA, Report

PLAIN: dict[Any, dict[str, Any]] = {
    str: {"type": "string"},
    bool: {"type": "boolean"},
    int: {"type": "integer"},
    float: {"type": "number"},
    type(None): {"type": "null"},
}


def schema() -> dict[str, Any]:
    """JSON Schema, draft 2020-12, of what :meth:`Report.to_json` gives."""
    report = _of(Report)
    first = {"schema": {"const": SCHEMA}, "verdict": PLAIN[str], "conclusive": PLAIN[bool]}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"A privsdk audit, version {SCHEMA}",
        "description": "What each figure means stands in privsdk/auditing/report.py under the same name.",
        **report,
        "properties": {**first, **report["properties"]},
        "required": [*first, *report["required"]],
    }


def _of(kind: Any) -> dict[str, Any]:
    if kind in PLAIN:
        return PLAIN[kind]
    if is_dataclass(kind) and isinstance(kind, type):
        hints = get_type_hints(kind)
        properties = {one.name: _of(hints[one.name]) for one in fields(kind) if one.name not in NOT_IN_JSON}
        return {
            "type": "object",
            "properties": properties,
            "required": list(properties),
            "additionalProperties": False,
        }
    arguments = get_args(kind)
    if get_origin(kind) in (Union, types.UnionType):
        return {"anyOf": [_of(one) for one in arguments]}
    if get_origin(kind) is Mapping:
        return {"type": "object", "additionalProperties": _of(arguments[1])}
    if get_origin(kind) is tuple and arguments[-1] is Ellipsis:
        return {"type": "array", "items": _of(arguments[0])}
    if get_origin(kind) is tuple:
        items = [_of(one) for one in arguments]
        return {"type": "array", "prefixItems": items, "minItems": len(items), "maxItems": len(items)}
    raise TypeError(f"{kind} has no form in JSON")


if __name__ == "__main__":
    sys.stdout.write(json.dumps(schema(), indent=2) + "\n")
