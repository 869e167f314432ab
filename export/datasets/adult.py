"""UCI Adult: rows of the 1994 US census, as 109 binary inputs (Becker, Kohavi, 1996).

The inputs are one-hot groups, one for each column of ``TABLE`` and in that order.  Sex and income are no inputs;
neither are the sampling weight ``fnlwgt`` and ``education-num``, which repeats ``education``.  Rows with a ``?`` are
left out.  Of ``adult.data`` 15 in 100 rows, drawn with a fixed seed, are the valid partition.

| column | inputs |
|---|---|
| age | 12: below 21, 21-24, 25-28, 29-32, 33-36, 37-40, 41-44, 45-48, 49-53, 54-59, 60-65, 66 and above |
| workclass | 7, those of ``adult.names`` without Never-worked, which has no row without a ``?`` |
| education | 16 |
| marital-status | 7 |
| occupation | 14 |
| relationship | 6 |
| race | 5 |
| capital-gain | 7: 0, 1-3,999, 4,000-5,099, 5,100-6,999, 7,000-9,999, 10,000-19,999, 20,000 and above |
| capital-loss | 6: 0, 1-1,599, 1,600-1,839, 1,840-1,979, 1,980-2,199, 2,200 and above |
| hours-per-week | 9: below 20, 20-29, 30-35, 36-39, 40, 41-45, 46-50, 51-59, 60 and above |
| native-country | 20: the 19 most frequent, and all others as one |
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from export.datasets.labelled import TEST, LabelledSamples, held_out
from export.datasets.reading import text_of
from privsdk.errors import TrainingDataError
from privsdk.samples.tables import Categories, LabelColumn, Numbers, Table

FILES = ("adult.data", "adult.test")
FIELDS = (
    "age", "workclass", "fnlwgt", "education", "education-num", "marital-status", "occupation", "relationship", "race",
    "sex", "capital-gain", "capital-loss", "hours-per-week", "native-country", "income",
)  # fmt: skip
ATTRIBUTES = ("Sex", "Income", "Married", "White", "Born in the US", "College degree")
VALID_SHARE = 0.15
SPLIT_SEED = 0
OTHER = "Other"


WORKCLASSES = (
    "Private", "Self-emp-not-inc", "Self-emp-inc", "Federal-gov", "Local-gov", "State-gov", "Without-pay",
)  # fmt: skip
EDUCATIONS = (
    "Preschool", "1st-4th", "5th-6th", "7th-8th", "9th", "10th", "11th", "12th", "HS-grad", "Some-college",
    "Assoc-voc", "Assoc-acdm", "Bachelors", "Masters", "Prof-school", "Doctorate",
)  # fmt: skip
MARITAL_STATUSES = (
    "Married-civ-spouse", "Married-AF-spouse", "Married-spouse-absent", "Divorced", "Never-married", "Separated",
    "Widowed",
)  # fmt: skip
OCCUPATIONS = (
    "Tech-support", "Craft-repair", "Other-service", "Sales", "Exec-managerial", "Prof-specialty", "Handlers-cleaners",
    "Machine-op-inspct", "Adm-clerical", "Farming-fishing", "Transport-moving", "Priv-house-serv", "Protective-serv",
    "Armed-Forces",
)  # fmt: skip
RELATIONSHIPS = ("Wife", "Own-child", "Husband", "Not-in-family", "Other-relative", "Unmarried")
RACES = ("White", "Asian-Pac-Islander", "Amer-Indian-Eskimo", "Other", "Black")
COUNTRIES = (
    "United-States", "Mexico", "Philippines", "Germany", "Puerto-Rico", "Canada", "India", "El-Salvador", "Cuba",
    "England", "China", "Jamaica", "South", "Italy", "Dominican-Republic", "Japan", "Guatemala", "Vietnam", "Columbia",
    OTHER,
)  # fmt: skip

# Numbers come back as the median of their bin in the train partition.  A column repeats an attribute where its category
# alone says it, with 99 in 100 or more, of half of those who have it, or have it not.
TABLE = Table(
    columns=(
        Numbers(
            "age",
            (21, 25, 29, 33, 37, 41, 45, 49, 54, 60, 66),
            (19, 23, 27, 31, 35, 38, 42, 46, 51, 56, 62, 70),
            least=17,
            most=90,
        ),
        Categories("workclass", WORKCLASSES),
        Categories("education", EDUCATIONS, repeats=("College degree",)),
        Categories("marital-status", MARITAL_STATUSES, repeats=("Married",)),
        Categories("occupation", OCCUPATIONS),
        Categories("relationship", RELATIONSHIPS, repeats=("Sex", "Married")),
        Categories("race", RACES, repeats=("White",)),
        Numbers(
            "capital-gain",
            (1, 4000, 5100, 7000, 10_000, 20_000),
            (0, 2885, 4650, 5178, 7688, 15_024, 99_999),
            least=0,
            most=99_999,
        ),
        Numbers("capital-loss", (1, 1600, 1840, 1980, 2200), (0, 1485, 1719, 1902, 2042, 2415), least=0, most=4356),
        Numbers(
            "hours-per-week",
            (20, 30, 36, 40, 41, 46, 51, 60),
            (13, 20, 32, 38, 40, 45, 50, 55, 60),
            least=1,
            most=99,
        ),
        Categories("native-country", COUNTRIES, others=True, repeats=("Born in the US",)),
    ),
    labels=(
        LabelColumn("sex", "Sex", {"Female": 0, "Male": 1}),
        LabelColumn("income", "Income", {"<=50K": 0, ">50K": 1, "<=50K.": 0, ">50K.": 1}),
    ),
    ignored=("fnlwgt", "education-num"),
)
SIZES = tuple(len(column) for column in TABLE.columns)

DEGREES = ("Bachelors", "Masters", "Prof-school", "Doctorate")


def load(folder: Path) -> LabelledSamples:
    """The rows in ``folder``: samples uint8 [N, 109], 0 or 1, with one 1 in each column's group.

    The labels are "Sex" (1: male), "Income" (1: above 50,000 dollars), "Married" (whether or not the spouse is there),
    "White", "Born in the US" and "College degree" (a bachelor's or higher).  Raises TrainingDataError if a file is
    missing or a row is of another form.
    """
    samples, labels = read_rows(folder / FILES[0])
    test_samples, test_labels = read_rows(folder / FILES[1])
    return LabelledSamples(
        samples=np.concatenate([samples, test_samples]),
        labels=np.concatenate([labels, test_labels]),
        attributes=ATTRIBUTES,
        groups={},
        partition=np.concatenate(
            [held_out(len(samples), VALID_SHARE, SPLIT_SEED), np.full(len(test_samples), TEST, np.uint8)]
        ),
        table=TABLE,
    )


def read_rows(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Samples uint8 [N, 109] and labels uint8 [N, 6] of a file's rows, N at least 1."""
    text = text_of(path, f"Adult is the files {' and '.join(FILES)}")
    samples, labels = [], []
    for number, row in enumerate(csv.reader(text.splitlines(), skipinitialspace=True, quoting=csv.QUOTE_NONE), 1):
        # The test file begins with a comment; both end with an empty line.
        if not row or row[0].startswith("|") or "?" in row:
            continue
        if len(row) != len(FIELDS):
            raise TrainingDataError(f"{path}, line {number}: {len(row)} fields, not {len(FIELDS)}; get the file again")
        cells = dict(zip(FIELDS, row, strict=True))
        try:
            samples.append(TABLE.sample([cells[column.name] for column in TABLE.columns]))
            labels.append(labels_of(cells))
        except ValueError as error:
            raise TrainingDataError(f"{path}, line {number}: {error}; get the file again") from error
    if not samples:
        raise TrainingDataError(f"{path} has no row without a '?'; get the file again")
    return np.stack(samples), np.array(labels, np.uint8)


def labels_of(cells: Mapping[str, str]) -> list[bool]:
    """The labels of a row; raises ValueError for an unknown sex or income."""
    try:
        sex, income = (column.side(cells[column.name]) for column in TABLE.labels)
    except ValueError as error:
        raise ValueError(f"a label {error}") from error
    return [
        sex == 1,
        income == 1,
        cells["marital-status"].startswith("Married"),
        cells["race"] == "White",
        cells["native-country"] == "United-States",
        cells["education"] in DEGREES,
    ]
