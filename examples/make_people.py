"""Makes ``people.csv``: rows of nobody, decoded from public latents of the bundle ``adult``, with labels drawn too.

python examples/make_people.py examples/people.csv
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import privsdk

ROWS = 200


def main() -> None:
    bundle = privsdk.Bundle.open("adult")
    table, public = bundle.table, bundle.public
    if table is None:
        raise SystemExit("the bundle adult has no table: get it again")
    places = [bundle.attributes.index(column.attribute) for column in table.labels]
    with Path(sys.argv[1]).open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([column.name for column in (*table.columns, *table.labels)])
        for cells, labels in zip(table.cells(bundle.decode(public.mean[:ROWS])), public.labels, strict=False):
            sides = (column.cell(int(labels[place])) for column, place in zip(table.labels, places, strict=True))
            writer.writerow([*cells, *sides])


if __name__ == "__main__":
    main()
