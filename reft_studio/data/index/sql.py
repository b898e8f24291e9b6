"""Questions in SQL about one dataset, answered by DuckDB in a process of its own that can read nothing else.

A process, because neither a time nor a memory limit inside of one holds for everything that SQL can ask for.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from reft_studio.admission import Admission
from reft_studio.data.dataset import Dataset
from reft_studio.data.index.facets import facet, facet_file, facet_names
from reft_studio.errors import PrerequisiteError, SpecError

LIMIT_S = 5.0
START_S = 4.0
"""For the process to come up and to end, beside the time of the question; a busy machine needs some seconds."""
MOST_ROWS = 1000
MAX_QUERY = 20_000
TABLES = {
    "rows": ["row_id", "prompt", "response", "messages", "origin", "category", "known_harmful"],
    "scores": ["row_id", "score", "flagged"],
    "decisions": ["row_id", "action"],
    "facets": ["row_id"],
}
"""Columns of each table; `facets` has one more for each facet that is known."""
EXAMPLES = (
    (
        "Flagged rows that nobody decided",
        "SELECT row_id, score FROM scores LEFT JOIN decisions USING (row_id)\nWHERE flagged AND action IS NULL",
    ),
    (
        "High scores without a certain word",
        "SELECT row_id, score FROM rows JOIN scores USING (row_id)\nWHERE score > 0 AND prompt NOT ILIKE '%please%' ORDER BY score DESC",
    ),
    (
        "Flagged share by origin",
        "SELECT origin, count(*) AS rows, round(100 * avg(flagged::INT), 1) AS percent\n"
        "FROM rows JOIN scores USING (row_id) GROUP BY origin ORDER BY percent DESC",
    ),
    (
        "Prompts that occur more than once",
        "SELECT min(row_id) AS row_id, count(*) AS times FROM rows\nGROUP BY prompt HAVING count(*) > 1 ORDER BY times DESC",
    ),
    (
        "Longest answers",
        "SELECT row_id, length(response) AS characters FROM rows\nORDER BY characters DESC LIMIT 100",
    ),
)
"""A title and a question each."""
_CHILD = Path(__file__).with_name("sql_child.py")
QUESTIONS = Admission("questions in SQL", at_once=2, waiting=4, wait_s=2.0)
"""A person's own tab asks two at once: the answer, and the rows that it selects."""

Ids = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Tables:
    """What can be asked about: the rows, and if given their scores (a file, flagged from `threshold` on) and decisions.

    `codes` say which of `actions` holds for a row, counted from 1.
    """

    dataset: Dataset
    scores: Path | None = None
    threshold: float | None = None
    row_ids: Ids = field(default_factory=lambda: np.zeros(0, np.int64))
    codes: npt.NDArray[np.uint8] = field(default_factory=lambda: np.zeros(0, np.uint8))
    actions: Sequence[str] = ()

    def columns(self) -> dict[str, list[str]]:
        """Columns of each table that there is."""
        found = {name: list(columns) for name, columns in TABLES.items() if name != "scores" or self.scores}
        found["facets"] += facet_names(self.dataset)
        return found


@dataclass(frozen=True)
class SqlResult:
    """The first rows of an answer; `cut` says that there are more. Cells are JSON values, texts at most 2,000 characters long.

    `selects`: it has a column row_id, so it can be used as a filter of rows.
    """

    columns: list[str]
    types: list[str]
    rows: list[list[Any]]
    cut: bool
    seconds: float

    @property
    def selects(self) -> bool:
        return "row_id" in self.columns


def ask(tables: Tables, query: str) -> SqlResult:
    """Answer one SELECT: at most 1,000 rows, within 5 s.

    Raises SpecError for a question that is none, PrerequisiteError for one that takes too much time or memory, or if too many are asked.
    """
    header, _ = _asked(tables, query, ids=False)
    return SqlResult(*(header[name] for name in ("columns", "types", "rows", "cut", "seconds")))


def row_ids(tables: Tables, query: str) -> Ids:
    """Ids in the column row_id of the answer, ascending and each once, of all its rows. Raises as `ask` does."""
    return np.frombuffer(_asked(tables, query, ids=True)[1], dtype=np.int64)


def _asked(tables: Tables, query: str, *, ids: bool) -> tuple[dict[str, Any], bytes]:
    if not query.strip():
        raise SpecError("There is no question yet. Write a SELECT, such as: SELECT row_id, score FROM scores WHERE flagged.")
    if len(query) > MAX_QUERY:
        raise SpecError(f"The question has {len(query):,} characters. At most {MAX_QUERY:,} are read.")
    request = {
        "query": query.encode("utf-16", "surrogatepass").decode("utf-16", "replace").replace("\0", " "),
        "ids": ids,
        "limit": MOST_ROWS,
        "limit_s": LIMIT_S,
        "rows": str(tables.dataset.path),
        "scores": str(tables.scores) if tables.scores else None,
        "threshold": tables.threshold if tables.threshold is not None else 1.0,
        "actions": list(tables.actions),
        "facets": _facet_files(tables.dataset) if "facets" in query.lower() else {},
    }
    data = json.dumps(request).encode() + b"\n" + tables.row_ids.tobytes() + tables.codes.tobytes()
    header, body = _run(data)
    if "error" in header:
        raise _refused(header["error"], header["told"])
    return header, body


def _facet_files(dataset: Dataset) -> dict[str, tuple[str, list[str]]]:
    found = {name: facet(dataset, name) for name in facet_names(dataset)}
    return {name: (str(facet_file(dataset, name)), one.labels) for name, one in found.items() if one is not None}


def _run(data: bytes) -> tuple[dict[str, Any], bytes]:
    """Ask the other process. -P: the folder of its script holds modules with names of the standard library."""
    command = [sys.executable, "-P", str(_CHILD)]
    with QUESTIONS.turn():
        try:
            done = subprocess.run(command, input=data, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=LIMIT_S + START_S)
        except subprocess.TimeoutExpired:
            return {"error": "InterruptException", "told": ""}, b""
    line, _, body = done.stdout.partition(b"\n")
    if done.returncode or not line:  # it died, which with these limits is nearly always for memory
        return {"error": "OutOfMemoryException", "told": ""}, b""
    return json.loads(line), body


def _refused(kind: str, told: str) -> SpecError | PrerequisiteError:
    if kind == "InterruptException":
        return PrerequisiteError(f"The question took longer than {LIMIT_S:.0f} s and was stopped. Ask for less, or add a LIMIT.")
    if kind in ("OutOfMemoryException", "FatalException"):
        return PrerequisiteError(
            "The question needs more memory than it may use (1 GB). Ask for less: fewer columns, or no sorting of texts."
        )
    if kind == "NotOneSelect":
        return SpecError("Only one SELECT is answered here: nothing can be changed, and files cannot be read or written.")
    if kind == "NoRowId":
        return SpecError("The answer has no column row_id, so it names no rows. Add row_id to the SELECT.")
    if told:
        return SpecError(f"The question cannot be answered. {told}")
    return SpecError(f"The question failed while rows were read ({kind.removesuffix('Exception')} error). Check types and casts.")
