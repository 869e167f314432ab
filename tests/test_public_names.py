"""The public names: sorted, all there, fetched late, and known to type checkers."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import privsdk


def test_the_names_are_sorted_and_each_is_there() -> None:
    assert privsdk.__all__ == sorted(set(privsdk.__all__))
    assert [name for name in privsdk.__all__ if getattr(privsdk, name, None) is None] == []
    assert dir(privsdk) == privsdk.__all__


def test_another_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'anonymize'"):
        privsdk.anonymize  # noqa: B018


def test_no_module_has_the_name_of_something_public() -> None:
    """Importing such a module would put it in the place of what has its name."""
    package = Path(privsdk.__file__).parent
    modules = {path.stem for path in package.glob("*.py")} | {path.name for path in package.iterdir() if path.is_dir()}
    assert modules & set(privsdk.__all__) == set()


def test_a_type_checker_sees_what_is_fetched_late() -> None:
    tree = ast.parse(Path(privsdk.__file__).read_text(encoding="utf-8"))
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    seen = {alias.name: node.module for node in imports for alias in node.names}
    assert {name: seen.get(name) for name in privsdk._LATER} == privsdk._LATER
