"""The house: who may import whom, and who may write a file (docs/architecture.md).

Every module is read as a syntax tree: what it imports, at whatever depth, and every name that it uses, traced back
through its imports (after ``from os import replace as r``, ``r`` is ``os.replace``); what a variable stands for is not
traced.  The second half plants violations of each rule in a copy of the tree and shows that they are found.
"""

from __future__ import annotations

import ast
import builtins
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pytest


@dataclass(frozen=True)
class Never:
    """No module within ``where``, those within ``except_in`` left out, names anything within ``what``."""

    rule: str
    where: str
    what: tuple[str, ...]
    except_in: tuple[str, ...] = ()

    def broken_by(self, module: str, name: str) -> bool:
        concerned = within(module, (self.where,)) and not within(module, self.except_in)
        return concerned and within(name, self.what)


@dataclass(frozen=True)
class Only:
    """Of what is in the package ``of``, the modules within ``where`` name nothing but what is within ``allowed``."""

    rule: str
    where: str
    of: str
    allowed: tuple[str, ...]

    def broken_by(self, module: str, name: str) -> bool:
        concerned = within(module, (self.where,)) and within(name, (self.of,)) and name != self.of
        return concerned and not within(name, self.allowed)


class Exempt(NamedTuple):
    """What one module alone may name, whatever the rules say, and why."""

    module: str
    what: str
    why: str


class Breach(NamedTuple):
    module: str
    line: int
    rule: str
    name: str

    def allowed_by(self, exempt: Exempt) -> bool:
        return self.module == exempt.module and within(self.name, (exempt.what,))


WRITERS = ("privsdk.release", "privsdk.store", "privsdk.privatizer")
"""What leaves the device, what stays in the user's data folder, and a privatizer that the user saves."""

# Of calls that write only with some arguments.
OVER_A_PATH = ".replace(path)"
NOT_TO_READ = ".open(not to read)"
PICKLED = ".call(allow_pickle)"

OS_READS = tuple(
    f"os.{name}"
    for name in (
        *("path", "environ", "fsencode", "strerror", "devnull", "cpu_count", "name", "sched_getaffinity"),
        *("stat", "stat_result", "lstat", "fstat", "listdir", "access", "R_OK", "W_OK", "X_OK"),
        *("close", "O_RDONLY", "O_NONBLOCK", "O_BINARY"),
    )
)
OS_WRITES = tuple(
    f"os.{name}"
    for name in (
        *("open", "fdopen", "O_WRONLY", "O_CREAT", "O_EXCL", "O_APPEND"),
        *("write", "utime", "fsync", "replace", "link"),
    )
)
WRITES = (
    *OS_WRITES,
    *("privsdk.store.folder", "shutil", "tempfile", "sqlite3", "dbm", "shelve", "zipfile"),
    *(".write_bytes", ".write_text", ".touch", ".mkdir", ".chmod", ".hardlink_to", ".symlink_to"),
    *(".rename", ".unlink", ".rmdir", OVER_A_PATH, NOT_TO_READ),
    *(".save", ".savez", ".savez_compressed", ".savetxt", ".save_file", ".tofile", ".dump", ".memmap"),
)
NETWORK = (
    *("socket", "socketserver", "ssl", "asyncio", "select", "selectors", "webbrowser"),
    *("http", "urllib", "xmlrpc", "ftplib", "smtplib", "poplib", "imaplib", "telnetlib", "nntplib"),
    *("requests", "urllib3", "httpx", "aiohttp", "torch.hub", "torch.distributed"),
)

PICKLES = (
    *("pickle", "marshal", "shelve", "dill", "cloudpickle", "copyreg", "joblib.load", "joblib.dump"),
    *("numpy.load", "torch.load", PICKLED),
)

RULES = (
    Never("the device knows no central side", "privsdk", ("export", "benchmarks", "tests")),
    Never(
        "torch stays in fitting",
        "privsdk",
        ("torch", "torchvision", "concept_erasure"),
        ("privsdk.fitting", "privsdk.auditing.attackers.convolutional"),
    ),
    Never("scikit-learn stays in auditing", "privsdk", ("sklearn", "scipy"), ("privsdk.auditing",)),
    Never(
        "what only an audit needs stays there", "privsdk", ("skimage", "umap", "jinja2", "dlib"), ("privsdk.auditing",)
    ),
    Never("graphs are made in to_onnx", "privsdk", ("onnx", "spox"), ("privsdk.to_onnx",)),
    Never("one module touches Pillow", "privsdk", ("PIL", "pillow_heif"), ("privsdk.samples.images",)),
    Never("one module makes ONNX Runtime sessions", "privsdk", ("onnxruntime",), ("privsdk.runtime",)),
    Never("nothing imports the command line", "privsdk", ("privsdk.cli",), ("privsdk.__main__",)),
    Never("nothing here talks to a network", "privsdk", NETWORK),
    Never("nothing here starts a program", "privsdk", ("subprocess", "multiprocessing", "joblib", "pty", "ctypes")),
    Never("this module writes no files", "privsdk", WRITES, WRITERS),
    Only("of os only what is listed is used", "privsdk", "os", OS_READS + OS_WRITES),
    Never(
        "what is run is written out",
        "privsdk",
        ("builtins.exec", "builtins.eval", "builtins.compile", "builtins.__import__", "runpy", "sys.modules"),
    ),
    Only(
        "what is run is written out",
        "privsdk",
        "importlib",
        ("importlib.metadata", "importlib.resources", "importlib.util.find_spec"),
    ),
    Never("nothing here is unpickled", "privsdk", PICKLES),
    Only("errors import nothing of privsdk", "privsdk.errors", "privsdk", ()),
    Only("noise imports nothing above itself", "privsdk.noise", "privsdk", ("privsdk.errors",)),
    Only(
        "filters import nothing above themselves",
        "privsdk.filters",
        "privsdk",
        ("privsdk.filters", "privsdk.noise", "privsdk.errors"),
    ),
)

LAZY = "privsdk"
"""The module that imports by name: what its texts name counts as imported."""

EXEMPT = (
    Exempt(LAZY, "importlib.import_module", "fetches public names from a table when they are asked for"),
    Exempt("privsdk.arrays", "safetensors.numpy.save", "makes bytes"),
    Exempt("privsdk.samples.images", ".save", "writes into memory"),
    Exempt("privsdk.samples.parsing", "subprocess", "parses photos in processes that can do nothing else"),
    Exempt("privsdk.samples.parsing", "os.register_at_fork", "a fork has no part in its owner's processes"),
    *(
        Exempt("privsdk.samples.parser", f"os.{name}", "gives up the rights of root before it parses a photo")
        for name in ("geteuid", "setgroups", "setgid", "setuid")
    ),
    Exempt("privsdk.files", "os.open", "reads, and does not wait for a pipe"),
    Exempt("privsdk.cli", ".save", "is Privatizer.save, where the user named the file"),
    Exempt("privsdk.drawing", "privsdk.store.folder.write_new", "the picture that the user named"),
    Exempt("privsdk.auditing.parallel", "joblib", "trains attackers in processes of their own"),
    Exempt("privsdk.bench", "subprocess", "measures in processes of their own, and asks macOS for the processor"),
    Exempt("privsdk.bench", "tempfile.TemporaryDirectory", "what is measured with, taken away at the end"),
    Exempt("privsdk.bench", ".save", "is Privatizer.save, into that folder"),
    Exempt("privsdk.bench", "privsdk.store.folder.write_atomically", "photos, into that folder"),
)


def within(name: str, packages: tuple[str, ...]) -> bool:
    """Whether a name is one of these, or below one; ``.save`` stands for whatever ends so."""
    return any(
        name == package or name.startswith(package + ".") or (package[0] == "." and name.endswith(package))
        for package in packages
    )


def modules(root: Path) -> Iterator[tuple[str, bool, ast.Module]]:
    """Dotted name, whether it is a package, and syntax tree of every module below ``root / "privsdk"``."""
    for path in sorted((root / "privsdk").rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        is_package = parts[-1] == "__init__"
        name = ".".join(parts[:-1] if is_package else parts)
        yield name, is_package, ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def named(module: str, is_package: bool, tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Line and dotted name of everything that a module imports or uses, whatever it calls it."""
    parents = module.split(".") if is_package else module.split(".")[:-1]
    origins: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                package = alias.name.partition(".")[0]
                origins[alias.asname or package] = alias.name if alias.asname else package
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            above = parents[: len(parents) - node.level + 1] if node.level else []
            source = [*above, *([node.module] if node.module else [])]
            for alias in node.names:
                origins[alias.asname or alias.name] = ".".join([*source, alias.name])
                yield node.lineno, origins[alias.asname or alias.name]
    for node in ast.walk(tree):
        if isinstance(node, ast.Name | ast.Attribute | ast.Call):
            yield node.lineno, traced(node, origins)
        if isinstance(node, ast.Call):
            yield from ((node.lineno, name) for name in by_arguments(node, traced(node.func, origins)))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and module == LAZY:
            yield node.lineno, node.value


def traced(node: ast.expr, origins: dict[str, str]) -> str:
    """``os.replace`` for whatever was imported as it, ``builtins.open`` for ``open``, ``?.open`` for a method."""
    match node:
        case ast.Name(id=name):
            return origins.get(name, f"builtins.{name}" if hasattr(builtins, name) else "?")
        case ast.Attribute(value=owner, attr=name):
            return f"{traced(owner, origins)}.{name}"
        case ast.Call(func=ast.Name(id="getattr"), args=[owner, ast.Constant(value=str(name)), *_]):
            return f"{traced(owner, origins)}.{name}"
    return "?"


def by_arguments(call: ast.Call, name: str) -> Iterator[str]:
    """What a call does that its name alone does not tell."""
    arguments = [*call.args, *(keyword.value for keyword in call.keywords)]
    if name.endswith(".replace") and len(arguments) == 1:  # that of a text has two or more
        yield OVER_A_PATH
    if any(keyword.arg == "allow_pickle" for keyword in call.keywords):
        yield PICKLED
    if name.endswith(".open") and not within(name, ("os", "privsdk")):
        place = 0 if name.startswith("?") else 1  # a path's own method has the mode first, a function has it second
        modes = [*call.args[place : place + 1], *(one.value for one in call.keywords if one.arg in ("mode", None))]
        if not all(isinstance(mode, ast.Constant) and mode.value in ("r", "rb") for mode in modes):
            yield NOT_TO_READ


def public_names(root: Path) -> list[str]:
    tree = ast.parse((root / "privsdk" / "__init__.py").read_text(encoding="utf-8"))
    for node in tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else []
        if any(isinstance(target, ast.Name) and target.id == "__all__" for target in targets):
            return [str(name) for name in ast.literal_eval(node.value)]  # type: ignore[attr-defined]
    raise LookupError("privsdk/__init__.py has no literal __all__")


def breaches(root: Path) -> list[Breach]:
    """Everything in the tree below ``root`` that breaks a rule of the house, what is exempt too."""
    public = tuple(f"privsdk.{name}" for name in public_names(root))
    rules = (*RULES, Only("the command line uses only public names", "privsdk.cli", "privsdk", public))
    return [
        Breach(module, line, rule.rule, name)
        for module, is_package, tree in modules(root)
        for line, name in named(module, is_package, tree)
        for rule in rules
        if rule.broken_by(module, name)
    ]


def violations(root: Path) -> list[Breach]:
    return [breach for breach in breaches(root) if not any(breach.allowed_by(exempt) for exempt in EXEMPT)]


def test_the_house_stands(repository: Path) -> None:
    assert violations(repository) == []


def test_every_exemption_is_needed(repository: Path) -> None:
    found = breaches(repository)
    assert [exempt for exempt in EXEMPT if not any(breach.allowed_by(exempt) for breach in found)] == []


def test_the_modules_that_the_rules_name_exist(repository: Path) -> None:
    there = {module for module, _, _ in modules(repository)}
    excepted = {module for rule in RULES if isinstance(rule, Never) for module in rule.except_in}
    assert {*WRITERS, *(rule.where for rule in RULES), *excepted} - there == set()


CODEC = "privsdk/codec.py"
WRITING = (
    "import pathlib\npathlib.Path('x').write_bytes(b'')",
    "from pathlib import Path\nPath('x').rename('y')",
    "from pathlib import Path\nPath('x').replace('y')",
    "from pathlib import Path\nPath.unlink(Path('x'))",
    "def late(path):\n    return path.open(mode='w')",
    "def late(path, mode):\n    return path.open(mode)",
    "open('x', 'wb')",
    "import os\nos.open('x', 0o101)",
    "import os as o\no.replace('x', 'y')",
    "import os\ngetattr(os, 'replace')('x', 'y')",
    "from os import replace",
    "from tempfile import TemporaryDirectory",
    "from shutil import copy",
    "import numpy as n\nn.save('x', 0)",
    "import numpy as n\nkept = [n.savez]",
    "from .store.folder import write_atomically as w\nw('x', b'')",
    "from privsdk.store import folder\nfolder.write_beside('x', b'')",
)
COMPUTED = (
    "exec('import torch')",
    "eval('1')",
    "__import__('torch')",
    "import builtins as b\nb.exec('import torch')",
    "import importlib\nimportlib.import_module('torch.nn')",
    "from importlib import import_module as im\nim('torch')",
    "import sys\nsys.modules['torch']",
)
UNPICKLING = (
    "import pickle",
    "def late(data):\n    from marshal import loads",
    "import torch as t\nt.load('x')",
    "import numpy as n\nn.load('x')",
    "from numpy.lib import format\nformat.read_array(None, allow_pickle=True)",
)
TALKING = ("asyncio", "ftplib", "http.client", "urllib.request", "socket", "smtplib", "requests")

PLANTED = [
    (CODEC, "import export", "knows no central side"),
    ("privsdk/fitting/data.py", "def late():\n    from export import train", "knows no central side"),
    (CODEC, "def late():\n    import torch", "torch stays in fitting"),
    ("privsdk/__init__.py", "_LATER['Torch'] = 'torch'", "torch stays in fitting"),
    ("privsdk/privatizer.py", "import sklearn.svm", "scikit-learn stays in auditing"),
    ("privsdk/release/photos.py", "from PIL import Image", "one module touches Pillow"),
    (CODEC, "import onnxruntime as ort", "one module makes ONNX Runtime sessions"),
    ("privsdk/bundle.py", "from . import cli", "nothing imports the command line"),
    ("privsdk/release/photos.py", "import subprocess", "starts a program"),
    ("privsdk/release/photos.py", "import os\nos.system('x')", "of os only what is listed"),
    (CODEC, "import os\nos.remove('x')", "of os only what is listed"),
    ("privsdk/errors.py", "from . import names", "errors import nothing of privsdk"),
    ("privsdk/noise.py", "from .bundle import Bundle", "noise imports nothing above itself"),
    ("privsdk/filters/linear.py", "def late():\n    from ..store import key", "filters import nothing above"),
    ("privsdk/filters/__init__.py", "from privsdk import codec", "filters import nothing above"),
    ("privsdk/cli.py", "from privsdk.store import key", "only public names"),
    ("privsdk/cli.py", "import privsdk as p\np.planning.plan_release([])", "only public names"),
    ("privsdk/bench.py", "import tempfile\ntempfile.mkstemp()", "writes no files"),
    *((CODEC, f"import {module}", "nothing here talks to a network") for module in TALKING),
    *((CODEC, planted, "writes no files") for planted in WRITING),
    *((CODEC, planted, "what is run is written out") for planted in COMPUTED),
    *(("privsdk/fitting/data.py", planted, "nothing here is unpickled") for planted in UNPICKLING),
]


@pytest.mark.parametrize(("path", "planted", "rule"), PLANTED)
def test_a_planted_violation_is_found(repository: Path, tmp_path: Path, path: str, planted: str, rule: str) -> None:
    for source in ("privsdk/__init__.py", path):  # the first says what is public
        (tmp_path / source).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(repository / source, tmp_path / source)
    before = violations(tmp_path)
    with (tmp_path / path).open("a", encoding="utf-8") as module:
        module.write(f"\n{planted}\n")
    new = [breach for breach in violations(tmp_path) if breach not in before]
    assert new != []
    assert [breach for breach in new if rule not in breach.rule] == []
