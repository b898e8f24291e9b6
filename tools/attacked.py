"""Writes what the app says of scorers under attack from the results of recipes/stress.yaml.

python launch.py sweep recipes/stress.yaml --out docs/results/stress-lab.md --out docs/results/stress-lab.csv
python -m tools.attacked
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from reft_studio.errors import DataError
from reft_studio.scoring import SCORERS
from reft_studio.scoring.attacked import FILE
from reft_studio.workspace import write_json

RESULTS = Path(__file__).resolve().parents[1] / "docs" / "results" / "stress-lab.csv"


def recalls(results: Path = RESULTS) -> dict[str, Any]:
    """`rows` of each attack, and `recall` in percent by scorer and attack, from the table of a sweep.

    Controls and filters of several scorers are left out. Raises DataError if attacks differ in rows, or a seed is not alone.
    """
    with results.open(encoding="utf-8", newline="") as opened:
        lines = [line for line in csv.DictReader(opened) if line["filter"] in SCORERS and line["filter"] not in ("random", "oracle")]
    found: dict[str, dict[str, float]] = {}
    for line in lines:
        known = found.setdefault(line["filter"], {})
        if line["attack"] in known:
            raise DataError(f"{results.name} has '{line['filter']}' under '{line['attack']}' twice: give the results of one seed.")
        known[line["attack"]] = round(float(line["filter_recall"]), 1)
    if len(sizes := {int(line["filter_harmful"]) for line in lines}) != 1:
        raise DataError(f"{results.name} has attacks of {sorted(sizes)} rows. Shares of different sizes do not stand side by side.")
    return {"rows": sizes.pop(), "recall": found}


if __name__ == "__main__":
    write_json(FILE, recalls())
