"""Rows of a table: what is read, what is refused, and what leaves.  Rows are drawn from public latents: nobody's."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from typer.testing import CliRunner

from privsdk import (
    Bundle,
    BundleError,
    CancelledError,
    OutputExistsError,
    Privatizer,
    Refusal,
    Table,
    UsageError,
    read_table,
)
from privsdk.cli import app
from privsdk.filters.linear import LinearFilter
from privsdk.samples.tables import Categories, Numbers

KEY = bytes(32)
LEFT_OUT = ("fnlwgt", "relationship", "sex")


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return Bundle.open("adult")


@pytest.fixture(scope="module")
def table(bundle: Bundle) -> Table:
    assert bundle.table is not None
    return bundle.table


@pytest.fixture(scope="module")
def privatizer(bundle: Bundle) -> Privatizer:
    pytest.importorskip("torch")
    from privsdk import fit

    return fit(bundle, "sex", "income", fairness=0.05)


def people(bundle: Bundle, count: int) -> tuple[list[dict[str, str]], NDArray[np.uint8]]:
    """Rows of nobody as a file has them, and their labels."""
    table, public = bundle.table, bundle.public
    assert table is not None
    rows = []
    names = [column.name for column in table.columns]
    sex, income = (bundle.attributes.index(column.attribute) for column in table.labels)
    for cells, labels in zip(table.cells(bundle.decode(public.mean[:count])), public.labels[:count], strict=True):
        row = {"fnlwgt": "77516", **dict(zip(names, cells, strict=True))}
        rows.append({**row, "sex": ("Female", "Male")[labels[sex]], "income": ("<=50K", ">50K")[labels[income]]})
    return rows, public.labels[:count]


def write(path: Path, rows: Sequence[dict[str, str]], delimiter: str = ",") -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows)
    return path


def read(path: Path, delimiter: str = ",") -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(path.read_text("utf-8")), delimiter=delimiter))


def test_a_row_becomes_a_sample_and_comes_back(table: Table) -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        cells, expected = [], []
        for column in table.columns:
            if isinstance(column, Categories):
                cells.append(str(rng.choice(column.values)))
                expected.append(cells[-1])
            else:
                number = int(rng.integers(column.least, column.most + 1))
                cells.append(str(number))
                expected.append(str(column.typical[np.searchsorted(column.edges, number, side="right")]))
        sample = table.sample(cells)
        assert sample.shape == (109,)
        assert sample.sum() == len(table.columns)
        assert table.cells(sample[None]) == [expected]


def test_a_rare_country_counts_as_the_others(table: Table) -> None:
    column = table.columns[-1]
    assert column.cell(column.position("Laos")) == "Other"
    with pytest.raises(ValueError, match=r"is '\?': it is one of United-States"):
        column.position("?")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "names none of the columns age, workclass"),
        (b"39, State-gov, 77516, Bachelors\n", "names none of the columns"),
        (b"age|workclass|education\n39|Private|HS-grad\n", "names none of the columns"),
        ("age,workclass".encode("utf-16"), "is no text in UTF-8"),
        (b"age,workclass\n39,Private\n", "has no column education and no column marital-status"),
    ],
)
def test_a_file_that_is_no_table_of_this_kind(table: Table, tmp_path: Path, content: bytes, says: str) -> None:
    (tmp_path / "people.csv").write_bytes(content)
    with pytest.raises(UsageError, match=says):
        read_table(tmp_path / "people.csv", table)


def test_files_that_cannot_be_read_whole(bundle: Bundle, table: Table, tmp_path: Path) -> None:
    (row,), _ = people(bundle, 1)
    with pytest.raises(UsageError, match="cannot be read"):
        read_table(tmp_path / "none.csv", table)
    with pytest.raises(UsageError, match="it is a folder"):
        read_table(tmp_path, table)
    extra = write(tmp_path / "extra.csv", [{**row, "name": "Ada"}])
    with pytest.raises(UsageError, match="has the column 'name', which the bundle does not know"):
        read_table(extra, table)
    twice = write(tmp_path / "twice.csv", [{**row, "Age": "30"}])
    with pytest.raises(UsageError, match="names age twice"):
        read_table(twice, table)
    empty = tmp_path / "empty.csv"
    empty.write_text(write(tmp_path / "one.csv", [row]).read_text().splitlines()[0] + "\n\n")
    with pytest.raises(UsageError, match="holds no row"):
        read_table(empty, table)
    open_quote = tmp_path / "quote.csv"
    open_quote.write_text((tmp_path / "one.csv").read_text() + '"39,Private\n')
    with pytest.raises(UsageError, match="quote.csv, line 3: .*look for a quote left open"):
        read_table(open_quote, table)


@pytest.mark.parametrize(
    ("column", "cell", "says"),
    [
        ("occupation", "Astronaut", "Occupation is 'Astronaut': it is one of Tech-support"),
        ("occupation", "", "Occupation is empty: it is one of"),
        ("workclass", "?", "Workclass is '\\?': it is one of"),
        ("age", "old", "Age is 'old': it is a whole number from 17 to 90"),
        ("age", "37.5", "Age is '37.5': it is a whole number"),
        ("age", "nan", "Age is 'nan': it is a whole number"),
        ("age", "-3", "it is a whole number from 17 to 90"),
        ("hours-per-week", "1e9", "it is a whole number from 1 to 99"),
        ("native-country", "", "Native-country is empty"),
    ],
)
def test_a_cell_that_means_nothing_is_a_refusal_of_its_row(
    bundle: Bundle, table: Table, tmp_path: Path, column: str, cell: str, says: str
) -> None:
    rows, _ = people(bundle, 3)
    path = write(tmp_path / "people.csv", [rows[0], {**rows[1], column: cell}, rows[2]])
    found = read_table(path, table)
    (refusal,) = found.refusals
    assert (refusal.reason, refusal.source, refusal.position) == ("bad-row", f"{path}, line 3", 3)
    with pytest.raises(Refusal, match=says):
        raise refusal
    assert found.lines.tolist() == [2, 4]
    assert (found.samples == bundle.decode(bundle.public.mean[[0, 2]])).all()


def test_names_delimiters_and_order_of_columns_do_not_matter(bundle: Bundle, table: Table, tmp_path: Path) -> None:
    rows, labels = people(bundle, 20)
    plain = read_table(write(tmp_path / "plain.csv", rows), table)
    turned = [{name.replace("-", " ").title(): row[name] for name in reversed(row)} for row in rows]
    for number, delimiter in enumerate(",;\t"):
        path = write(tmp_path / f"{number}.csv", turned, delimiter)
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())  # as spreadsheets write it
        found = read_table(path, table)
        assert (found.samples == plain.samples).all()
        assert (found.labels["Sex"] == labels[:, bundle.attributes.index("Sex")]).all()
    short = tmp_path / "short.csv"
    short.write_text((tmp_path / "plain.csv").read_text() + "39,Private\n")
    assert "It has 2 fields, the first line has 14" in read_table(short, table).refusals[0].detail


def test_a_release_has_the_same_columns_but_for_those_that_tell(
    bundle: Bundle, table: Table, privatizer: Privatizer, tmp_path: Path
) -> None:
    rows, _ = people(bundle, 400)
    done = privatizer.release_table(write(tmp_path / "people.csv", rows), key=KEY)
    assert done.path == tmp_path / "people-released.csv"
    assert done.left_out == LEFT_OUT
    assert done.samples == 400
    assert not done.refusals
    released = read(done.path)
    assert list(released[0]) == [name for name in rows[0] if name not in LEFT_OUT]
    for column in table.columns:
        if column.name in LEFT_OUT:
            continue
        cells = {row[column.name] for row in released}
        if isinstance(column, Numbers):
            assert cells <= {str(number) for number in column.typical}  # no digit of the original's own
        else:
            assert cells <= {*column.values}
    # Utility labels are the people's own; the rows are in another order.
    assert sum(row["income"] == ">50K" for row in released) == sum(row["income"] == ">50K" for row in rows)
    assert [row["income"] for row in released] != [row["income"] for row in rows]


def test_no_row_comes_out_as_it_went_in(bundle: Bundle, table: Table, privatizer: Privatizer) -> None:
    samples = bundle.decode(bundle.public.mean[:3000])
    released, refused = privatizer.privatize_each(samples, None, KEY)
    assert (released != samples).any(axis=1).all()
    assert len(refused) < 30
    once = bundle.decode(privatizer.perturb(bundle.encode(samples), draws=np.arange(3000, dtype=np.uint64)))
    assert (once == samples).all(axis=1).mean() > 0.05  # it would happen


def test_the_same_key_gives_the_same_rows(bundle: Bundle, privatizer: Privatizer, tmp_path: Path) -> None:
    rows, _ = people(bundle, 60)
    path = write(tmp_path / "people.csv", rows)
    texts = [
        privatizer.release_table(path, tmp_path / f"{number}.csv", order="kept", key=key).path.read_bytes()
        for number, key in enumerate((KEY, KEY, bytes([1] * 32)))
    ]
    assert texts[0] == texts[1] != texts[2]
    # A row's release does not depend on what else is in the file.
    alone = privatizer.release_table(write(tmp_path / "one.csv", rows[7:8]), order="kept", key=KEY)
    assert read(alone.path)[0] == read(tmp_path / "0.csv")[7]


def test_a_fresh_attacker_reads_little_of_sex_in_the_cells(
    bundle: Bundle, privatizer: Privatizer, tmp_path: Path
) -> None:
    pytest.importorskip("sklearn")
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.metrics import roc_auc_score

    rows, labels = people(bundle, 6000)
    sex = labels[:, bundle.attributes.index("Sex")]
    path = write(tmp_path / "people.csv", rows)
    done = privatizer.release_table(path, private_column="resample", utility_column="drop", order="kept", key=KEY)
    released = read(done.path)
    refused = {refusal.position - 2 for refusal in done.refusals}  # a few that came out as they were, at every draw
    assert len(refused) < 20
    kept = [row for row in range(len(rows)) if row not in refused]
    rows, sex, half = [rows[row] for row in kept], sex[kept], len(kept) // 2
    assert "income" in done.left_out
    assert "sex" not in done.left_out

    def told(cells: list[dict[str, str]], names: list[str]) -> float:
        numbers = np.array([np.unique([row[name] for row in cells], return_inverse=True)[1] for name in names]).T
        attacker = HistGradientBoostingClassifier(max_iter=60, random_state=5).fit(numbers[:half], sex[:half])
        return float(roc_auc_score(sex[half:], attacker.predict_proba(numbers[half:])[:, 1]))

    names = [name for name in released[0] if name != "fnlwgt"]
    assert told(rows, [name for name in names if name != "sex"]) > 0.8
    assert told(released, names) < 0.6  # what income itself tells, and the attacker's luck
    assert 0.5 < np.mean([row["sex"] == "Male" for row in released]) < 0.8


def test_what_stands_in_a_utility_column_is_one_of_its_words(
    bundle: Bundle, privatizer: Privatizer, tmp_path: Path
) -> None:
    rows, _ = people(bundle, 4)
    path = write(tmp_path / "people.csv", [{**row, "income": row["income"] + "."} for row in rows[:3]])
    assert {row["income"] for row in read(privatizer.release_table(path, key=KEY).path)} <= {"<=50K", ">50K"}
    smuggled = write(tmp_path / "more.csv", [*rows[:3], {**rows[3], "income": "Ada Lovelace"}])
    done = privatizer.release_table(smuggled, key=KEY)
    assert [refusal.reason for refusal in done.refusals] == ["label-missing"]
    assert "Ada" not in done.path.read_text() + str(done.refusals[0])


def test_nothing_is_written_where_it_cannot_be_whole(bundle: Bundle, privatizer: Privatizer, tmp_path: Path) -> None:
    rows, _ = people(bundle, 4)
    path = write(tmp_path / "people.csv", rows)
    with pytest.raises(OutputExistsError, match="exists already"):
        privatizer.release_table(path, path)
    with pytest.raises(UsageError, match="a folder that is there"):
        privatizer.release_table(path, tmp_path / "none" / "released.csv")
    with pytest.raises(CancelledError, match="nothing was written"):
        privatizer.release_table(path, key=KEY, cancel=lambda: True)
    with pytest.raises(Refusal, match="line 2: Age is 'x'"):
        privatizer.release_table(write(tmp_path / "bad.csv", [{**rows[0], "age": "x"}]), key=KEY)
    with pytest.raises(UsageError, match="nothing that is done with a column"):
        privatizer.release_table(path, private_column="keep")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="is for tables: name one CSV file"):
        privatizer.release([path], tmp_path / "folder", key=KEY)
    assert sorted(each.name for each in tmp_path.iterdir() if each.is_file()) == ["bad.csv", "people.csv"]


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda table: table.pop("labels"), "no table"),
        (lambda table: table["columns"].pop(), "its samples would have 89 numbers"),
        (lambda table: table["columns"][0]["typical"].reverse(), "the bins of age do not hold"),
        (lambda table: table["columns"][0]["edges"].reverse(), "the bins of age do not hold"),
        (lambda table: table["columns"][1].update(name="AGE"), "a name of its own"),
        (lambda table: table["labels"][0].update(attribute="Height"), "there is no attribute Height"),
        (lambda table: table["labels"][0].update(values={"Male": 1}), "what is 0 and what is 1"),
    ],
)
def test_a_bundle_with_other_columns_is_none(bundle: Bundle, damage: Any, says: str) -> None:
    manifest = bundle.manifest
    damage(manifest["table"])
    with pytest.raises(BundleError, match=f"no valid 'table' \\(.*{says}"):
        Bundle(json.dumps(manifest).encode(), {})


def test_the_command_line(bundle: Bundle, privatizer: Privatizer, tmp_path: Path) -> None:
    rows, _ = people(bundle, 5)
    path = write(tmp_path / "people.csv", [*rows, {**rows[0], "race": "Martian"}])
    saved, output = tmp_path / "sex.privatizer", tmp_path / "out.csv"
    privatizer.save(saved)
    run = CliRunner().invoke
    begin = ["privatize", "--privatizer", str(saved), str(path)]
    done = run(app, [*begin, "--dry-run", "--output", str(output)])
    assert (done.exit_code, output.exists()) == (0, False)
    no_columns = write(tmp_path / "no-columns.csv", [{"a": "1", "b": "2"}])
    done = run(app, ["privatize", "--privatizer", str(saved), str(no_columns), "--dry-run"])
    assert (done.exit_code, "names none of the columns" in done.stderr) == (2, True)
    done = run(app, [*begin, "--output", str(output)])
    assert done.exit_code == 1
    assert f"5 rows released to {output}. Left out: fnlwgt, relationship, sex. 1 row refused: 1 bad-row." in done.stdout
    assert "line 7: Race is 'Martian'" in done.stderr
    assert "As it was given: income." in done.stdout
    # What was measured is of the rows alone.
    done = run(app, [*begin, "--output", str(tmp_path / "bound.csv"), "--max-leakage", "0.99"])
    assert (done.exit_code, "add --utility-column drop" in done.stderr) == (2, True)
    assert not (tmp_path / "bound.csv").exists()
    done = run(app, [*begin, "--output", str(tmp_path / "again.csv"), "--json", "--order", "kept"])
    assert json.loads(done.stdout)["released"] == 5
    for more in (["--names", "keep"], ["--preview", "p.png"], ["--labels", "l.csv"], [str(path)]):
        done = run(app, [*begin, *more])
        assert (done.exit_code, "Traceback" in done.stderr) == (2, False)
    done = run(app, ["privatize", "--private", "male", "--utility", "smiling", "--order", "kept", str(tmp_path)])
    assert (done.exit_code, "are of a file" in done.stderr) == (2, True)


def test_a_label_aware_filter_takes_the_label_from_its_column(bundle: Bundle, tmp_path: Path) -> None:
    """Men are moved one way and women the other; a row whose label is unknown is moved neither way, but refused."""
    size = bundle.latent_size
    shift = np.zeros((2, size), np.float32)
    shift[0, bundle.used], shift[1, bundle.used] = -2, 2
    nothing = np.zeros((size, size), np.float32)
    filter_ = LinearFilter(nothing, shift, bundle.used, divergence="l2", budget=3.0, reached=2.0)
    found = {"leakage": 0.6, "gap": 0.02, "accuracy": 0.6, "base_rate": 0.6}
    record = {
        "method": "minmax",
        "private": ["Sex"],
        "utility": ["Income"],
        "check": {
            "measured_on": "public latents",
            "private": {"Sex": found},
            "utility": {"Income": {"accuracy": 0.8, "accuracy_unfiltered": 0.8}},
        },
    }
    aware = Privatizer(bundle, filter_, record)
    rows, labels = people(bundle, 30)
    path = write(tmp_path / "people.csv", [*rows, {**rows[0], "sex": ""}])
    done = aware.release_table(path, order="kept", key=KEY)
    refused = {refusal.position - 2: refusal.reason for refusal in done.refusals}
    assert refused[30] == "label-missing"
    samples = bundle.decode(bundle.public.mean[:30])
    expected, failed = aware.privatize_each(samples, labels[:, [bundle.attributes.index("Sex")]], KEY)
    assert bundle.table is not None
    cells = [row for number, row in enumerate(bundle.table.cells(expected)) if number not in failed]
    assert [row["age"] for row in read(done.path)] == [row[0] for row in cells]
    without = write(tmp_path / "none.csv", [{name: row[name] for name in row if name != "sex"} for row in rows])
    with pytest.raises(UsageError, match="needs the private label of each row"):
        aware.release_table(without, key=KEY)
