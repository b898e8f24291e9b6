"""Answers one question in SQL in a process of its own, which can read one dataset and nothing else: the other half of `sql.py`.

Run as a script that loads nothing of the app but the grid of scores: a question waits for DuckDB only. It reads one line of JSON and
the decisions as bytes from standard input, and writes one line of JSON, and row ids as bytes, to standard output.
"""

from __future__ import annotations

import json
import math
import os
import re
import sys
import threading
import time
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from reft_studio.data.grid import flagged

MEMORY = "1GB"
DATA_LIMIT = 3_000_000_000
"""Bytes the process may take in all: not everything a question can allocate counts against DuckDB's own limit."""
NICE = 3
"""Added to the niceness: the app answers while questions are computed, and they come before jobs, whose niceness is higher."""
MOST_COLUMNS, MOST_CELL = 100, 2000
ROWS = "SELECT row_id, prompt, response, messages, origin, category, known_harmful FROM read_parquet({file})"


def main() -> int:
    """Answer, or say in one line why not."""
    _limit()
    request, decisions = json.loads(sys.stdin.buffer.readline()), sys.stdin.buffer.read()
    try:
        header, body = answer(request, decisions)
    except duckdb.Error as exc:
        header, body = {"error": type(exc).__name__, "told": _told(exc)}, b""
    except MemoryError:
        header, body = {"error": "OutOfMemoryException", "told": ""}, b""
    sys.stdout.buffer.write(json.dumps(header).encode() + b"\n" + body)
    return 0


def answer(request: dict[str, Any], decisions: bytes = b"") -> tuple[dict[str, Any], bytes]:
    """What was asked: the first rows, or the ids of all of them. `decisions`: row ids (int64), then codes of actions (uint8)."""
    query: str = request["query"]
    with duckdb.connect(":memory:", config={"memory_limit": MEMORY, "threads": "2", "temp_directory": ""}) as engine:
        statements = engine.extract_statements(query)
        if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
            return {"error": "NotOneSelect", "told": ""}, b""
        _furnish(engine, request, decisions)
        timer = threading.Timer(request["limit_s"], engine.interrupt)
        timer.start()
        started = time.perf_counter()
        try:
            found = engine.sql(query)
            header, body = _ids(found) if request["ids"] else (_rows(found, request["limit"]), b"")
        finally:
            timer.cancel()
    return {**header, "seconds": time.perf_counter() - started}, body


def _limit() -> None:
    try:
        import resource
    except ImportError:  # not on Windows: there only the time is limited
        return
    resource.setrlimit(resource.RLIMIT_DATA, (DATA_LIMIT, DATA_LIMIT))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.nice(NICE)


def _furnish(engine: duckdb.DuckDBPyConnection, request: dict[str, Any], decisions: bytes) -> None:
    """Put the tables in, then close the door: no file but these, no setting, no extension, no variable of this program."""
    quoted = _quoted(request["rows"])
    engine.execute(f"SET allowed_paths=[{quoted}]")
    for setting in ("enable_external_access", "python_enable_replacements", "autoinstall_known_extensions", "autoload_known_extensions"):
        engine.execute(f"SET {setting}=false")
    engine.execute("SET lock_configuration=true")
    engine.execute(f"CREATE VIEW rows AS {ROWS.format(file=quoted)}")
    if request["scores"] and _named("scores", request["query"]):
        engine.register("scores", _scores(request))
    if _named("decisions", request["query"]):
        decided = len(decisions) // 9
        ids, codes = np.frombuffer(decisions, np.int64, decided), np.frombuffer(decisions, np.uint8, offset=8 * decided)
        action = pa.DictionaryArray.from_arrays(pa.array(codes.astype(np.int8) - 1), pa.array(request["actions"]))
        engine.register("decisions", pa.table({"row_id": ids, "action": action}))
    if _named("facets", request["query"]):
        engine.register("facets", _facets(request))


def _scores(request: dict[str, Any]) -> pa.Table:
    """Through NumPy: of NaN in a Parquet file DuckDB 2.0 believes statistics that leave it out, and takes `isnan` for never true."""
    table = pq.read_table(request["scores"], columns=["row_id", "score"])
    score = table.column(1).to_numpy().astype(np.float64)
    missing = np.isnan(score)
    over = pa.array(flagged(score, request["threshold"]), mask=missing)
    return pa.table({"row_id": table.column(0), "score": pa.array(score, mask=missing), "flagged": over})


def _facets(request: dict[str, Any]) -> pa.Table:
    columns: dict[str, Any] = {"row_id": pq.read_table(request["rows"], columns=["row_id"]).column(0)}
    for name, (file, labels) in request["facets"].items():
        codes = pa.array(np.load(file, mmap_mode="r", allow_pickle=False))
        columns[name] = pa.DictionaryArray.from_arrays(codes, pa.array(labels, pa.string()))
    return pa.table(columns)


def _named(table: str, query: str) -> bool:
    return re.search(rf"\b{table}\b", query, re.IGNORECASE) is not None


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _rows(found: Any, limit: int) -> dict[str, Any]:
    columns = list(found.columns)[:MOST_COLUMNS]
    rows = found.limit(limit + 1).fetchall()
    return {
        "columns": columns,
        "types": [str(kind) for kind in found.types][:MOST_COLUMNS],
        "rows": [[_cell(value) for value in row[:MOST_COLUMNS]] for row in rows[:limit]],
        "cut": len(rows) > limit or len(found.columns) > MOST_COLUMNS,
    }


def _ids(found: Any) -> tuple[dict[str, Any], bytes]:
    if "row_id" not in found.columns:
        return {"error": "NoRowId", "told": ""}, b""
    values = found.project("TRY_CAST(row_id AS BIGINT) AS row_id").fetchnumpy()["row_id"]
    if np.ma.isMaskedArray(values):
        values = values.compressed()
    ids = np.unique(np.asarray(values)).astype(np.int64)
    return {"count": len(ids)}, ids.tobytes()


def _cell(value: Any) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return value if abs(value) < 1 << 53 else str(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    text = str(value)
    return text[:MOST_CELL] + ("…" if len(text) > MOST_CELL else "")


def _told(error: duckdb.Error) -> str:
    """DuckDB's words where they can only speak of the question; what goes wrong while rows are read may quote them."""
    spoken = isinstance(error, (duckdb.ParserException, duckdb.BinderException, duckdb.CatalogException, duckdb.PermissionException))
    return str(error).split("\n\n")[0][:500] if spoken else ""


if __name__ == "__main__":
    sys.exit(main())
