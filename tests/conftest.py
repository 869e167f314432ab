"""Fixtures that every test shares: the data folder, the shipped bundle, and a home of its own."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from privsdk import Bundle, Privatizer

# Before NumPy and torch are imported: files of tests run side by side, a core each.
os.environ.setdefault("OMP_NUM_THREADS", "1")

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session", autouse=True)
def _no_home_of_the_user(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Fixtures that outlive a test must not write into the user's own data folder either."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PRIVSDK_HOME", str(tmp_path_factory.mktemp("privsdk-home")))
        yield


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The data folder (key, cache) of this test alone; it does not exist yet."""
    folder = tmp_path / "privsdk-home"
    monkeypatch.setenv("PRIVSDK_HOME", str(folder))
    return folder


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the clone that the tests run in."""
    return REPOSITORY


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of development data that PRIVSDK_DATA names; the test is skipped where there is none."""
    named = os.environ.get("PRIVSDK_DATA")
    if not named:
        pytest.skip("needs the development data: PRIVSDK_DATA is not set")
    folder = Path(named)
    if not folder.is_absolute():
        folder = REPOSITORY / folder
    if not folder.is_dir():
        pytest.skip(f"needs the development data: PRIVSDK_DATA names {named}, which is no folder")
    return folder


@pytest.fixture(scope="session")
def celeba(data: Path) -> Path:
    """The faces in CelebA's official layout; the test is skipped where they are absent."""
    folder = data / "celeba"
    if not (folder / "list_attr_celeba.txt").is_file():
        pytest.skip("needs CelebA: PRIVSDK_DATA holds no celeba/list_attr_celeba.txt")
    return folder


@pytest.fixture(scope="session")
def photos() -> Path:
    """The folder of CC0 portraits that ships with the repository."""
    return REPOSITORY / "examples" / "photos"


@pytest.fixture(scope="session")
def bundle_folder() -> Path:
    """The folder of the shipped faces bundle."""
    return REPOSITORY / "models" / "faces"


@pytest.fixture(scope="session")
def bundle(bundle_folder: Path) -> Bundle:
    """The shipped faces bundle, opened once: it is immutable."""
    import privsdk

    return privsdk.Bundle.open(bundle_folder)


@pytest.fixture(scope="session")
def privatizer(bundle: Bundle) -> Privatizer:
    """Male hidden, Smiling kept, fitted with torch on the shipped bundle as a user would: it is immutable."""
    import privsdk

    return privsdk.fit(bundle, private="male", utility="smiling")


@pytest.fixture
def export(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """``python -m export`` with these arguments."""
    from export.__main__ import main

    def run(*arguments: object) -> None:
        monkeypatch.setattr(sys, "argv", ["export", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            main()
        assert stopped.value.code == 0

    return run
