"""The command line, through a subprocess as a user would type it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from make_bundle import flow_privatizer, label_aware_privatizer, make_bundle
from test_release import contents, lines_of, save_photo
from typer.testing import CliRunner

from privsdk import Bundle, FitSettings, Privatizer, plan_release
from privsdk.cli import app
from privsdk.fitting.engines import resolved
from privsdk.progress import ProgressText
from privsdk.store.cache import Cache

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def bundle_at(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("bundles") / "tiny")


@pytest.fixture
def work(tmp_path: Path, bundle_at: Path) -> Path:
    """A folder with three aligned faces in ``photos``, a bundle, and two saved privatizers."""
    (tmp_path / "photos").mkdir()
    for number in range(3):
        save_photo(tmp_path / "photos" / f"{number}.jpg", number)
    bundle = Bundle.open(bundle_at)
    (tmp_path / "tiny").symlink_to(bundle_at, target_is_directory=True)
    flow_privatizer(bundle).save(tmp_path / "flow.privatizer")
    label_aware_privatizer(bundle).save(tmp_path / "aware.privatizer")
    return tmp_path


def privsdk(work: Path, *arguments: str, code: int = 0, **environment: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "privsdk", *arguments],
        cwd=work,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY), "COLUMNS": "100"} | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )
    assert done.returncode == code, (done.stdout, done.stderr)
    assert "Traceback" not in done.stderr
    return done


SAVED = ("--bundle", "./tiny", "--privatizer", "flow.privatizer", "--aligned")


def test_photos_are_released_and_it_is_said_in_words(work: Path) -> None:
    before = contents(work / "photos")
    done = privsdk(work, "privatize", "photos", *SAVED, "--preview", "preview.jpg")
    assert contents(work / "photos") == before
    assert len(list((work / "photos-released").glob("*.png"))) == 3
    assert "3 faces released to" in done.stdout
    assert "preview.jpg shows the originals: it is for your eyes only" in done.stdout
    assert "tells which is which 62 times in 100" in " ".join(done.stdout.split())
    assert "names 61% rightly" in " ".join(done.stdout.split())
    assert "privatizing: 3/3" in done.stderr
    assert "\r" not in done.stderr
    assert (work / "preview.jpg").is_file()


def test_refused_photos_are_named_and_the_others_go_on(work: Path) -> None:
    (work / "photos" / "1.jpg").write_bytes(b"broken")
    done = privsdk(work, "privatize", "photos", *SAVED, "--quiet", code=1)
    assert done.stdout == ""
    assert done.stderr.startswith(f"refused photos{os.sep}1.jpg: ")
    assert [line["status"] for line in lines_of(work / "photos-released")] == [
        "released",
        "released",
        "refused",
    ]


def test_of_no_release_nothing_is_said(work: Path) -> None:
    (work / "broken.jpg").write_bytes(b"broken")
    done = privsdk(work, "privatize", "broken.jpg", *SAVED, code=1)
    assert "0 faces released" in done.stdout
    assert "still infers" not in done.stdout
    assert not list((work / "broken-released").glob("*.png"))


def test_results_for_machines(work: Path) -> None:
    (work / "photos" / "1.jpg").write_bytes(b"broken")
    done = privsdk(work, "privatize", "photos", *SAVED, "--json", "--names", "keep", "--format", "webp", code=1)
    result = json.loads(done.stdout)
    assert [Path(each["file"]).name for each in result["released"]] == ["0.webp", "2.webp"]
    assert [each["reason"] for each in result["refused"]] == ["not-an-image"]
    assert result["record"]["private"] == ["Male"]


def test_a_dry_run_finds_what_the_run_would_not_do(work: Path) -> None:
    (work / "other.csv").write_text("file,Smiling\n0.jpg,1\n")
    (work / "mistyped.csv").write_text("file,Smilling\n0.jpg,1\n")
    (work / "photos" / "more").mkdir()
    save_photo(work / "photos" / "more" / "0.jpg", 7)
    aware = ("--bundle", "./tiny", "--privatizer", "aware.privatizer", "--aligned")
    wish = ("--bundle", "./tiny", "--private", "male", "--utility", "smiling")
    for arguments, said in (
        ((*wish, "--method", "minmax", "--form", "linear"), "takes the private label"),
        (aware, "needs the private label of every photo"),
        ((*aware, "--labels", "other.csv"), "has no column for 1 of the labels that are needed"),
        ((*SAVED, "--labels", "mistyped.csv"), "has a column for none of the labels that are asked for"),
        ((*SAVED, "-r", "--labels", "other.csv"), "the labels of 0.jpg may be those of"),
    ):
        done = privsdk(work, "privatize", "photos", *arguments, "--dry-run", code=2)
        assert said in done.stderr


def test_how_many_labels_stand_beside_releases_is_said(work: Path) -> None:
    (work / "labels.csv").write_text("file,Smiling\n0.jpg,1\n2.JPG,0\n")
    done = privsdk(work, "privatize", "photos", *SAVED, "--labels", "labels.csv")
    assert "Labels stand beside 1 of them" in done.stdout


def test_a_closed_or_full_terminal_stops_no_release(work: Path) -> None:
    command = [sys.executable, "-m", "privsdk", "privatize", "photos", *SAVED, "--output"]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    for number, redirection in enumerate(("2>&-", "2>/dev/full", ">/dev/full")):
        shell = " ".join([*command, f"out{number}", redirection])
        done = subprocess.run(shell, shell=True, cwd=work, env=environment, capture_output=True, text=True, check=False)
        assert "Traceback" not in done.stderr
        assert done.returncode == (2 if redirection == ">/dev/full" else 0), done.stderr
        assert len(list((work / f"out{number}").glob("*.png"))) == 3


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="nothing is closed to root")
def test_what_is_closed_to_us_is_refused_alone(work: Path) -> None:
    (work / "photos" / "1.jpg").chmod(0)
    (work / "photos" / "closed").mkdir(mode=0)
    done = privsdk(work, "privatize", "photos", "photos/1.jpg", "-r", "--output", "out", *SAVED, code=1)
    assert "2 faces released" in done.stdout
    assert "2 not-found" in done.stdout


def test_a_folder_that_is_closed_is_refused_alone(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also to root, to whom nothing is closed: the one folder is made to look so."""
    closed = work / "photos" / "closed"
    closed.mkdir()
    listed, accessible = Path.iterdir, os.access

    def iterdir(path: Path) -> Any:
        if path.name == "closed":
            raise PermissionError(13, "Permission denied")
        return listed(path)

    monkeypatch.setattr(Path, "iterdir", iterdir)
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path).name != "closed" and accessible(path, mode))
    privatizer = Privatizer.load(work / "flow.privatizer", Bundle.open(work / "tiny"))
    plan = plan_release([work / "photos"], work / "out", recursive=True)
    results = privatizer.release(plan.photos, plan.output, aligned=True)
    assert [getattr(result, "reason", "") for result in results] == ["", "", "", "not-found"]


def test_a_dry_run_does_nothing(work: Path) -> None:
    before = contents(work)
    done = privsdk(work, "privatize", "photos", *SAVED, "--dry-run")
    assert "3 files would be released to" in done.stdout
    assert json.loads(privsdk(work, "privatize", "photos", *SAVED, "--dry-run", "--json").stdout)["photos"]
    assert contents(work) == before


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ((*SAVED, "--labels", "none.csv"), 2, "none.csv cannot be read"),
        ((*SAVED, "--max-leakage", "0.55"), 4, "a private label leaks 0.620"),
        (("--bundle", "./tiny", "--privatizer", "photos/0.jpg"), 3, "no privatizer"),
        (("--bundle", "./tiny", "--private", "nonsense", "--utility", "smiling"), 2, "no label 'nonsense'"),
        (("--bundle", "./tiny", "--private", "male", "--utility", "smiling", "--rho", "2"), 2, "rho is 2"),
    ],
)
def test_a_dry_run_finds_what_the_run_would_fail_of(
    work: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], code: int, said: str
) -> None:
    monkeypatch.chdir(work)
    done = CliRunner().invoke(app, ["privatize", "photos", *arguments, "--dry-run"])
    assert done.exit_code == code
    assert said in done.stderr


def test_labels_for_a_label_aware_filter(work: Path) -> None:
    arguments = ("privatize", "photos", "--bundle", "./tiny", "--privatizer", "aware.privatizer", "--aligned")
    assert "needs the private label of every photo" in privsdk(work, *arguments, code=2).stderr
    (work / "labels.csv").write_text("photo,male,smiling,name\n0.jpg,1,yes,Ann\n1.jpg,0,no,Bob\n")
    done = privsdk(work, *arguments, "--labels", "labels.csv", code=1)
    assert "2 faces released" in done.stdout
    assert "1 photo refused: 1 label-missing" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("photos",), 2, "say what to hide and what to keep"),
        (("photos", *SAVED, "--private", "male"), 2, "holds its labels and settings already"),
        (("photos", *SAVED, "--seed", "3"), 2, "holds its labels and settings already"),
        (("photos", *SAVED, "--output", "photos"), 2, "photos exists already"),
        (("photos", *SAVED, "--preview", "photos/0.jpg"), 2, "exists already"),
        (("photos", *SAVED, "--threads", "0"), 2, "0 threads"),
        (("photos", *SAVED, "--threads", "100000"), 2, "give 1 to 256"),
        (("photos", *SAVED, "--labels", "none.csv"), 2, "none.csv cannot be read"),
        (("photos", *SAVED, "--max-leakage", "0.55"), 4, "a private label leaks 0.620"),
        (("photos", *SAVED, "--max-leakage", "nan"), 2, "max_leakage is nan"),
        (("tiny", *SAVED), 2, "no photo in tiny"),
        (("photso", *SAVED), 2, "there is no photso: check the path"),
        (("", *SAVED), 2, "one of the paths is empty"),
        (("photos", *SAVED, "--output", "photos/0.jpg/x"), 2, "photos/0.jpg is no folder"),
        (("photos", *SAVED, "--preview", "photos/p.jpg"), 2, "would lie among the photos"),
        (("photos", *SAVED, "--labels", "/dev/zero"), 2, "it is no regular file"),
        (("photos", "--bundle", "./tiny", "--privatizer", "/dev/zero"), 3, "it is no regular file"),
        (("photos", "--bundle", "nowhere", "--privatizer", "flow.privatizer"), 3, "neither a shipped bundle"),
        (("photos", "--bundle", "./tiny", "--privatizer", "photos/0.jpg"), 3, "no privatizer"),
        (
            ("photos", "--bundle", "./tiny", "--private", "mal", "--utility", "smiling"),
            2,
            "did you mean Male",
        ),
        (
            ("photos", "--bundle", "./tiny", "--private", "male", "--utility", "Male"),
            2,
            "hidden and kept at once",
        ),
        (
            ("photos", "--bundle", "./tiny", "--private", "male", "--utility", "smiling", "--rho", "2"),
            2,
            "rho is 2",
        ),
        (("photos", "--private", "male", "--utility", "smiling", "--label-aware"), 2, "method minmax"),
    ],
)
def test_errors_are_one_line_with_their_exit_code(work: Path, arguments: tuple[str, ...], code: int, said: str) -> None:
    done = privsdk(work, "privatize", *arguments, "--quiet", code=code)
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("privsdk: ")
    assert said in line
    assert not list(work.glob("*-released"))


@pytest.mark.parametrize("arguments", [("frobnicate",), ("privatize",), ("privatize", "photos", "--method", "x")])
def test_what_is_no_command_is_a_usage_error(work: Path, arguments: tuple[str, ...]) -> None:
    assert "Usage: " in privsdk(work, *arguments, code=2).stderr


def test_a_data_folder_that_cannot_be_used_is_a_store_error(work: Path) -> None:
    (work / "file").write_bytes(b"")
    done = privsdk(work, "privatize", "photos", *SAVED, "--quiet", code=3, PRIVSDK_HOME=str(work / "file"))
    assert "set PRIVSDK_HOME" in done.stderr


def test_a_wish_that_was_fitted_before_is_not_fitted_again(work: Path) -> None:
    """What is in the cache under the wish's name is used: here a privatizer that no fit would give."""
    arguments = (
        "privatize",
        "photos",
        "--bundle",
        "./tiny",
        "--private",
        "male",
        "--utility",
        "smiling",
        "--aligned",
    )
    bundle = Bundle.open(work / "tiny")
    cache = Cache()
    put_in_cache(cache, bundle, flow_privatizer(bundle))
    done = privsdk(work, *arguments, "--json")
    assert json.loads(done.stdout)["record"]["seconds"] == 1.0
    assert "check" not in done.stderr
    missed = privsdk(work, *arguments, "--output", "out", "--max-leakage", "0.55", code=4)
    assert "a private label leaks 0.620" in missed.stderr
    assert not (work / "out").exists()


def put_in_cache(cache: Cache, bundle: Bundle, privatizer: Privatizer) -> None:
    settings = {name: value for name, value in asdict(FitSettings()).items() if name != "max_leakage"}
    wish: dict[str, Any] = {
        "private": ["Male"],
        "utility": ["Smiling"],
        "settings": settings | {"engine": resolved("auto", "flow")},
        "version": "0.1.0",
    }
    cache.put(bundle.digest, wish, privatizer.to_bytes())


def test_bundles_are_checked(work: Path) -> None:
    assert "tiny is whole and works" in privsdk(work, "verify", "./tiny").stdout
    assert json.loads(privsdk(work, "verify", "./tiny", "--json").stdout)["valid"] is True
    (work / "broken").mkdir()
    assert "manifest.json" in privsdk(work, "verify", "broken", code=3).stderr
    assert isinstance(json.loads(privsdk(work, "bundles", "--json").stdout), list)


def test_a_file_name_cannot_write_to_the_terminal(work: Path) -> None:
    (work / "photos" / "x\x1b[31m\n.jpg").write_bytes(b"broken")
    done = privsdk(work, "privatize", "photos", *SAVED, "--quiet", code=1, PYTHONIOENCODING="ascii")
    assert "\x1b" not in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_help_is_quick_and_brings_nothing_heavy(work: Path) -> None:
    program = (
        "import sys; sys.argv = ['privsdk', '--help']\n"
        "from privsdk.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print([name for name in ('torch', 'onnxruntime', 'PIL', 'numpy') if name in sys.modules])"
    )
    began = time.process_time()
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "[]"
    assert time.process_time() - began < 0.5


class Terminal:
    """A stream that says it is a terminal, or not, and keeps what is written."""

    def __init__(self, terminal: bool) -> None:
        self.terminal = terminal
        self.text = ""

    def isatty(self) -> bool:
        return self.terminal

    def write(self, text: str) -> int:
        self.text += text
        return len(text)

    def flush(self) -> None:
        pass


@pytest.mark.parametrize("terminal", [True, False])
def test_progress_is_a_bar_on_a_terminal_and_lines_elsewhere(terminal: bool) -> None:
    stream = Terminal(terminal)
    progress = ProgressText(stream)  # type: ignore[arg-type]
    for done in range(1, 101):
        progress("reading", done, 100)
    progress("checking", 1, 3)
    progress.close()
    assert stream.text.endswith("\n")
    if terminal:
        assert f"reading: [{'#' * 30}] 100/100\n" in stream.text
    else:
        assert stream.text == "reading: 1/100\nreading: 100/100\nchecking: 1/3\n"


def test_the_key_is_told_by_its_fingerprint_and_made_anew_only_if_it_is_said_so(work: Path, home: Path) -> None:
    shown = privsdk(work, "key", "show", "--json")
    told = json.loads(shown.stdout)
    assert told["path"] == str(home / "device.key") == privsdk(work, "key", "path").stdout.strip()
    assert (home / "device.key").read_bytes().hex() not in shown.stdout
    assert "say --yes" in privsdk(work, "key", "rotate", code=2).stderr
    assert told["fingerprint"] in privsdk(work, "key", "show").stdout
    rotated = privsdk(work, "key", "rotate", "--yes").stdout
    assert told["fingerprint"] not in rotated
    assert privsdk(work, "key", "show").stdout[:16] in rotated


def test_another_filter_has_to_be_insisted_on(work: Path) -> None:
    privsdk(work, "privatize", "photos", *SAVED, "--output", "first")
    flow_privatizer(Bundle.open(work / "tiny"), rho=0.5).save(work / "other.privatizer")
    other = ("--bundle", "./tiny", "--privatizer", "other.privatizer", "--aligned")
    refused = privsdk(work, "privatize", "photos", *other, "--output", "second", code=1)
    assert "0 faces released" in refused.stdout
    assert "insist (--insist)" in refused.stderr
    assert "3 faces released" in privsdk(work, "privatize", "photos", *other, "--output", "third", "--insist").stdout
