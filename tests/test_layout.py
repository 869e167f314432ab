"""The house: who may import whom, and who may write a file (docs/architecture.md).

Every module is read as a syntax tree, so an import inside a function counts like one at the top.  The second
half plants one violation of each rule in a copy of the tree and shows that it is found.
"""

from __future__ import annotations

import ast
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True)
class Never:
    """No module within ``where``, those within ``except_in`` left out, imports anything within ``what``."""

    rule: str
    where: str
    what: tuple[str, ...]
    except_in: tuple[str, ...] = ()

    def broken_by(self, module: str, name: str) -> bool:
        concerned = within(module, (self.where,)) and not within(module, self.except_in)
        return concerned and within(name, self.what)


@dataclass(frozen=True)
class Only:
    """Of privsdk itself, the modules within ``where`` import nothing but what is within ``allowed``."""

    rule: str
    where: str
    allowed: tuple[str, ...]

    def broken_by(self, module: str, name: str) -> bool:
        concerned = within(module, (self.where,)) and within(name, ("privsdk",))
        return concerned and not within(name, self.allowed)


NEVER = (
    Never("the device knows no central side", "privsdk", ("export", "benchmarks", "tests")),
    Never("torch stays in fitting", "privsdk", ("torch", "torchvision"), ("privsdk.fitting",)),
    Never("scikit-learn stays in audit", "privsdk", ("sklearn", "scipy"), ("privsdk.audit",)),
    Never("one module touches Pillow", "privsdk", ("PIL", "pillow_heif"), ("privsdk.samples.images",)),
    Never("one module makes ONNX Runtime sessions", "privsdk", ("onnxruntime",), ("privsdk.runtime",)),
    Never("nothing imports the command line", "privsdk", ("privsdk.cli",), ("privsdk.__main__",)),
    Never("nothing here talks to a network", "privsdk", ("socket", "urllib", "http", "requests", "ssl")),
)

ONLY = (
    Only("errors import nothing of privsdk", "privsdk.errors", ()),
    Only("noise imports nothing above itself", "privsdk.noise", ("privsdk.errors",)),
    Only(
        "filters import nothing above themselves",
        "privsdk.filters",
        ("privsdk.filters", "privsdk.noise", "privsdk.errors"),
    ),
)

WRITERS = ("privsdk.release", "privsdk.store", "privsdk.privatizer")
"""What leaves the device, what stays in the user's data folder, and a privatizer that the user saves."""

WRITING_METHODS = {
    "write_bytes",
    "write_text",
    "touch",
    "mkdir",
    "hardlink_to",
    "symlink_to",
    "save_file",
    "tofile",
}
WRITING_FUNCTIONS = {
    "os": {"write", "replace", "rename", "link", "mkdir", "makedirs", "symlink"},
    "numpy": {"save", "savez", "savez_compressed", "savetxt"},
    "np": {"save", "savez", "savez_compressed", "savetxt"},
}
WRITING_FLAGS = {"O_WRONLY", "O_RDWR", "O_CREAT", "O_TRUNC", "O_APPEND"}
WRITING_MODULES = {"shutil", "tempfile"}
COMPUTED = "a name that is computed"
LAZY = "privsdk"
"""The one module that may compute the name of an import: it fetches public names from a table when asked."""
WRITING_MODE = re.compile(r"[rbt]*[wax+][rwabtx+]*")


def within(name: str, packages: tuple[str, ...]) -> bool:
    return any(name == package or name.startswith(package + ".") for package in packages)


def modules(root: Path) -> Iterator[tuple[str, bool, ast.Module]]:
    """Dotted name, whether it is a package, and syntax tree of every module below ``root / "privsdk"``."""
    for path in sorted((root / "privsdk").rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        is_package = parts[-1] == "__init__"
        name = ".".join(parts[:-1] if is_package else parts)
        yield name, is_package, ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def imported(module: str, is_package: bool, tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Line and dotted name of everything that a module imports, at whatever depth and however it is spelt."""
    parents = module.split(".") if is_package else module.split(".")[:-1]

    def absolute(level: int, name: str) -> str:
        above = parents[: len(parents) - (level - 1)] if level else []
        return ".".join([*above, *([name] if name else [])])

    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            source = absolute(node.level, node.module or "")
            yield from ((node.lineno, f"{source}.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.Call) and called(node)[1] in ("import_module", "__import__"):
            argument = node.args[0] if node.args else None
            if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
                name = argument.value.lstrip(".")
                yield node.lineno, absolute(len(argument.value) - len(name), name)
            elif module == LAZY:
                yield from texts(tree)
            else:
                yield node.lineno, COMPUTED


def texts(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Line and value of every string: where imports are computed from a table, its entries are among them."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value


def called(call: ast.Call) -> tuple[str, str]:
    """``("os", "replace")`` for ``os.replace(…)``, ``("", "open")`` for ``open(…)``."""
    match call.func:
        case ast.Attribute(value=ast.Name(id=owner), attr=name):
            return owner, name
        case ast.Attribute(attr=name):
            return "?", name
        case ast.Name(id=name):
            return "", name
    return "?", "?"


def writes(call: ast.Call) -> bool:
    """Whether a call writes a file, as far as its spelling shows."""
    owner, name = called(call)
    if (owner, name) == ("os", "open"):
        return any(isinstance(node, ast.Attribute) and node.attr in WRITING_FLAGS for node in ast.walk(call))
    if owner in WRITING_MODULES or name in WRITING_FUNCTIONS.get(owner, ()):
        return True
    if name == "open":
        arguments = [*call.args, *(keyword.value for keyword in call.keywords)]
        texts = [argument.value for argument in arguments if isinstance(argument, ast.Constant)]
        return any(isinstance(text, str) and WRITING_MODE.fullmatch(text) for text in texts)
    return name in WRITING_METHODS


def public_names(root: Path) -> list[str]:
    tree = ast.parse((root / "privsdk" / "__init__.py").read_text(encoding="utf-8"))
    for node in tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else []
        if any(isinstance(target, ast.Name) and target.id == "__all__" for target in targets):
            return [str(name) for name in ast.literal_eval(node.value)]  # type: ignore[attr-defined]
    raise LookupError("privsdk/__init__.py has no literal __all__")


def command_line_strays(root: Path, tree: ast.Module, names: list[tuple[int, str]]) -> Iterator[str]:
    """What the command line takes from privsdk although it is not public."""
    public = {*public_names(root), "__version__"}
    rule = "the command line uses only public names"
    for line, name in names:
        package, _, rest = name.partition(".")
        if package == "privsdk" and rest and rest not in public:
            yield f"privsdk.cli:{line}: {rule}, and imports {name}"
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(value=ast.Name(id="privsdk"), attr=attribute) if attribute not in public:
                yield f"privsdk.cli:{node.lineno}: {rule}, and uses privsdk.{attribute}"


def violations(root: Path) -> list[str]:
    """Everything in the tree below ``root`` that breaks a rule of the house, one line each."""
    found: list[str] = []
    for module, is_package, tree in modules(root):
        names = list(imported(module, is_package, tree))
        for line, name in names:
            for rule in (*NEVER, *ONLY):
                if rule.broken_by(module, name):
                    found.append(f"{module}:{line}: {rule.rule}, and {name} is imported")
            if name == COMPUTED:
                found.append(f"{module}:{line}: imports are written out, and {name} is imported")
        if not within(module, WRITERS):
            for node in ast.walk(tree):
                if isinstance(node, ast.Call) and writes(node):
                    found.append(f"{module}:{node.lineno}: this module writes no files, and calls {called(node)[1]}()")
        if module == "privsdk.cli":
            found += command_line_strays(root, tree, names)
    return found


def test_the_house_stands(repository: Path) -> None:
    assert violations(repository) == []


def test_the_modules_that_the_rules_name_exist(repository: Path) -> None:
    there = {module for module, _, _ in modules(repository)}
    named = {*WRITERS, *(rule.where for rule in ONLY), *(name for rule in NEVER for name in rule.except_in)}
    assert named - there <= {"privsdk.__main__"}


PLANTED = [
    ("privsdk/codec.py", "import export", "knows no central side"),
    ("privsdk/fitting/data.py", "def late():\n    from export import train", "knows no central side"),
    ("privsdk/codec.py", "def late():\n    import torch", "torch stays in fitting"),
    ("privsdk/__init__.py", "_LATER['Torch'] = 'torch'", "torch stays in fitting"),
    ("privsdk/codec.py", "import importlib\nimportlib.import_module('torch.nn')", "torch stays in fitting"),
    ("privsdk/privatizer.py", "import sklearn.svm", "scikit-learn stays in audit"),
    ("privsdk/release.py", "from PIL import Image", "one module touches Pillow"),
    ("privsdk/codec.py", "import onnxruntime as ort", "one module makes ONNX Runtime sessions"),
    ("privsdk/bundle.py", "from . import cli", "nothing imports the command line"),
    ("privsdk/bundle.py", "import urllib.request", "nothing here talks to a network"),
    ("privsdk/errors.py", "from . import names", "errors import nothing of privsdk"),
    ("privsdk/noise.py", "from .bundle import Bundle", "noise imports nothing above itself"),
    ("privsdk/filters/linear.py", "def late():\n    from ..store import key", "filters import nothing above"),
    ("privsdk/filters/__init__.py", "from privsdk import codec", "filters import nothing above"),
    ("privsdk/cli.py", "from privsdk.store import key", "only public names"),
    ("privsdk/cli.py", "import privsdk\nprivsdk.release.write_release()", "only public names"),
    ("privsdk/codec.py", "import pathlib\npathlib.Path('x').write_bytes(b'')", "writes no files"),
    ("privsdk/samples/images.py", "open('x', 'wb')", "writes no files"),
    ("privsdk/codec.py", "import os\nos.open('x', os.O_WRONLY | os.O_CREAT)", "writes no files"),
    ("privsdk/bundle.py", "def late(path):\n    return path.open(mode='w')", "writes no files"),
    ("privsdk/bundle.py", "import importlib\nimportlib.import_module('to' + 'rch')", "are written out"),
]


@pytest.mark.parametrize(("path", "planted", "rule"), PLANTED)
def test_a_planted_violation_is_found(repository: Path, tmp_path: Path, path: str, planted: str, rule: str) -> None:
    for source in ("privsdk/__init__.py", path):  # the first says what is public
        (tmp_path / source).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(repository / source, tmp_path / source)
    before = violations(tmp_path)
    with (tmp_path / path).open("a", encoding="utf-8") as module:
        module.write(f"\n{planted}\n")
    new = [line for line in violations(tmp_path) if line not in before]
    assert new != []
    assert [line for line in new if rule not in line] == []
