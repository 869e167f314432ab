"""UCI Adult: rows of the 1994 US census, as 109 binary inputs (Becker, Kohavi, 1996).

The inputs are one-hot groups, one for each column of ``COLUMNS`` and in that order.  Sex and income are no inputs;
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
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from export.datasets.labelled import TEST, LabelledSamples, held_out
from export.datasets.reading import text_of
from privsdk.errors import TrainingDataError

FILES = ("adult.data", "adult.test")
FIELDS = 15
SEX, INCOME = 9, 14
SEXES, INCOMES = ("Female", "Male"), ("<=50K", ">50K")
ATTRIBUTES = ("Sex", "Income", "Married", "White", "Born in the US", "College degree")
VALID_SHARE = 0.15
SPLIT_SEED = 0
OTHER = "Other"


@dataclass(frozen=True)
class Categories:
    """A column whose inputs are its categories; ``merged``, the last of them stands for all that are not named."""

    name: str
    field: int
    values: tuple[str, ...]
    merged: bool = False

    def __len__(self) -> int:
        return len(self.values)

    def position(self, text: str) -> int:
        """Which of the inputs is 1; raises ValueError for an unknown category."""
        if self.merged and text not in self.values:
            return len(self.values) - 1
        return self.values.index(text)


@dataclass(frozen=True)
class Bins:
    """A column of whole numbers whose inputs are bins; each of ``edges`` is the least number of the next bin."""

    name: str
    field: int
    edges: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.edges) + 1

    def position(self, text: str) -> int:
        """Which of the inputs is 1; raises ValueError for what is no whole number."""
        return int(np.searchsorted(self.edges, int(text), side="right"))


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

COLUMNS: tuple[Categories | Bins, ...] = (
    Bins("age", 0, (21, 25, 29, 33, 37, 41, 45, 49, 54, 60, 66)),
    Categories("workclass", 1, WORKCLASSES),
    Categories("education", 3, EDUCATIONS),
    Categories("marital-status", 5, MARITAL_STATUSES),
    Categories("occupation", 6, OCCUPATIONS),
    Categories("relationship", 7, RELATIONSHIPS),
    Categories("race", 8, RACES),
    Bins("capital-gain", 10, (1, 4000, 5100, 7000, 10_000, 20_000)),
    Bins("capital-loss", 11, (1, 1600, 1840, 1980, 2200)),
    Bins("hours-per-week", 12, (20, 30, 36, 40, 41, 46, 51, 60)),
    Categories("native-country", 13, COUNTRIES, merged=True),
)
SIZES = tuple(len(column) for column in COLUMNS)

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
    )


def read_rows(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Samples uint8 [N, 109] and labels uint8 [N, 6] of a file's rows, N at least 1."""
    text = text_of(path, f"Adult is the files {' and '.join(FILES)}")
    samples, labels = [], []
    for number, row in enumerate(csv.reader(text.splitlines(), skipinitialspace=True, quoting=csv.QUOTE_NONE), 1):
        # The test file begins with a comment; both end with an empty line.
        if not row or row[0].startswith("|") or "?" in row:
            continue
        if len(row) != FIELDS:
            raise TrainingDataError(f"{path}, line {number}: {len(row)} fields, not {FIELDS}; get the file again")
        try:
            samples.append(sample_of(row))
            labels.append(labels_of(row))
        except ValueError as error:
            raise TrainingDataError(f"{path}, line {number}: {error}; get the file again") from error
    if not samples:
        raise TrainingDataError(f"{path} has no row without a '?'; get the file again")
    return np.stack(samples), np.array(labels, np.uint8)


def sample_of(row: list[str]) -> np.ndarray:
    """The inputs of a row, uint8 [109]; raises ValueError, naming the column, for what it does not know."""
    sample = np.zeros(sum(SIZES), np.uint8)
    begin = 0
    for column in COLUMNS:
        try:
            sample[begin + column.position(row[column.field])] = 1
        except ValueError as error:
            raise ValueError(f"{column.name} is {row[column.field]!r}, which is unknown") from error
        begin += len(column)
    return sample


def labels_of(row: list[str]) -> list[bool]:
    """The labels of a row; raises ValueError for an unknown sex or income."""
    sex, income = row[SEX], row[INCOME].removesuffix(".")
    if sex not in SEXES or income not in INCOMES:
        raise ValueError(f"sex and income are {sex!r} and {row[INCOME]!r}, which are unknown")
    return [
        sex == "Male",
        income == ">50K",
        row[5].startswith("Married"),
        row[8] == "White",
        row[13] == "United-States",
        row[3] in DEGREES,
    ]
