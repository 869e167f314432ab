"""The README is run, not trusted: its ten lines of Python, its two commands, the files that it names."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest


def blocks(markdown: str, language: str) -> list[str]:
    """The fenced blocks of one language, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```$", markdown, flags=re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def readme(repository: Path) -> str:
    return (repository / "README.md").read_text(encoding="utf-8")


def test_the_api_in_ten_lines_runs(readme: str, repository: Path, tmp_path: Path) -> None:
    (program,) = blocks(readme, "python")
    assert len(ast.parse(program).body) <= 10
    (tmp_path / "examples").symlink_to(repository / "examples", target_is_directory=True)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(repository)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "male-smiling.privatizer").is_file()
    assert list((tmp_path / "released").glob("*.png")) != []


def test_the_two_commands_are_those_of_the_continuous_checks(readme: str, repository: Path) -> None:
    commands = [block.strip() for block in blocks(readme, "bash")]
    checks = (repository / ".ci" / "run").read_text(encoding="utf-8")
    assert len(commands) == 2
    assert [command for command in commands if "\n" in command] == []
    assert [command for command in commands if f"    {command}\n" not in checks] == []


@pytest.mark.parametrize(
    "page", ["README.md", "CONTRIBUTING.md", "docs/training.md", "docs/architecture.md", "docs/cluster.md"]
)
def test_every_link_leads_somewhere(repository: Path, page: str) -> None:
    text = (repository / page).read_text(encoding="utf-8")
    targets = [target.partition("#")[0] for target in re.findall(r"\]\(([^)\s]+)\)", text)]
    here = [target for target in targets if target and not target.startswith("https://")]
    assert here != []
    assert [target for target in here if not ((repository / page).parent / target).exists()] == []


def test_the_constraints_pin_every_dependency_exactly(repository: Path) -> None:
    versions: dict[str, set[str]] = {}
    for constraints in ("constraints.txt", "constraints-cluster.txt"):
        lines = (repository / constraints).read_text(encoding="utf-8").splitlines()
        pins = [line for line in lines if line and not line.startswith("#")]
        assert [pin for pin in pins if not re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][0-9a-z.]*", pin)] == []
        for pin in pins:
            name, _, version = pin.lower().replace("_", "-").partition("==")
            versions.setdefault(name, set()).add(version)
    assert {name: several for name, several in versions.items() if len(several) > 1} == {}
    pinned = versions.keys()
    project = (repository / "pyproject.toml").read_text(encoding="utf-8")
    named = set(re.findall(r'"([a-z0-9-]+)>=[0-9]', project)) - {"hatchling"}
    assert {"torch", "numpy", "onnxruntime"} <= named
    assert named - pinned == set()
