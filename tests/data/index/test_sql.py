"""The SQL box: what it answers, and a hundred ways to misuse it that must do nothing."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from reft_studio.data.dataset import Dataset, write_dataset
from reft_studio.data.index import sql
from reft_studio.data.index.sql import Tables, ask, row_ids
from reft_studio.data.index.sql_child import answer
from reft_studio.errors import PrerequisiteError, SpecError, StudioError
from reft_studio.workspace import Workspace

SECRET = "canary-7f3a"
SCORES = [0.5, -0.5, float("nan"), 0.1]


@pytest.fixture(scope="module", autouse=True)
def patience() -> Iterator[None]:
    """On a machine with much else to do an answer of milliseconds may take longer than a person is kept waiting."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sql, "LIMIT_S", 60.0)
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = Path(tmp_path_factory.mktemp("sql"))
    for name in ("secret.txt", "secret.csv", "secret.json", "it's.csv"):
        (made / name).write_text(json.dumps({"secret": SECRET}), "utf-8")
    pq.write_table(pa.table({"secret": [SECRET]}), made / "secret.parquet")
    return made


@pytest.fixture(scope="module")
def tables(folder: Path) -> Tables:
    dataset: Dataset = write_dataset(
        Workspace.open(folder / "workspace"),
        [{"row_id": 3 * at, "prompt": f"prompt {at} don't read me", "response": "r", "origin": "task"} for at in range(4)],
        name="four",
        role="user",
    )
    scores = folder / "scores.parquet"
    pq.write_table(pa.table({"row_id": [0, 3, 6, 9], "score": pa.array(SCORES, pa.float32())}), scores)
    return Tables(dataset, scores, 0.1, np.array([3, 9]), np.array([1, 2], np.uint8), ("keep", "remove"))


def test_rows_scores_decisions_and_facets_can_be_joined(tables: Tables) -> None:
    found = ask(
        tables,
        "SELECT row_id, score, flagged, action, length FROM rows JOIN scores USING (row_id) LEFT JOIN decisions USING (row_id) "
        "JOIN facets USING (row_id) ORDER BY row_id",
    )
    assert found.columns == ["row_id", "score", "flagged", "action", "length"] and found.selects and not found.cut
    assert [row[:1] + row[2:] for row in found.rows] == [
        [0, True, None, "up to 50"],
        [3, False, "keep", "up to 50"],
        [6, None, None, "up to 50"],
        [9, True, "remove", "up to 50"],
    ]
    assert found.rows[0][1] == 0.5 and found.rows[2][1] is None
    assert tables.columns()["facets"][:2] == ["row_id", "origin"]


def test_the_ids_of_an_answer_are_a_filter(tables: Tables) -> None:
    assert row_ids(tables, "SELECT row_id FROM scores WHERE flagged ORDER BY score DESC").tolist() == [0, 9]
    assert row_ids(tables, "SELECT r.row_id FROM rows r, rows s").tolist() == [0, 3, 6, 9]
    with pytest.raises(SpecError, match="no column row_id"):
        row_ids(tables, "SELECT prompt FROM rows")


def inside(tables: Tables, query: str, *, ids: bool = False) -> dict[str, Any]:
    """The same in this process: a new one for each of a hundred questions would take half a minute."""
    request = {"query": query, "ids": ids, "limit": 1000, "limit_s": 2.0, "rows": str(tables.dataset.path), "scores": str(tables.scores)}
    import duckdb

    try:
        return answer({**request, "threshold": 0.1, "actions": ["keep"], "facets": {}})[0]
    except duckdb.Error as exc:
        return {"error": type(exc).__name__, "told": str(exc)}


def test_at_most_a_thousand_rows_come_back_and_that_there_are_more_is_told(tables: Tables) -> None:
    found = inside(tables, "SELECT * FROM range(5000)")
    assert len(found["rows"]) == 1000 and found["cut"]
    wide = inside(tables, f"SELECT {', '.join(f'{n} AS c{n}' for n in range(300))}")
    assert len(wide["columns"]) == 100 and wide["cut"]
    assert len(inside(tables, "SELECT repeat('x', 100000)")["rows"][0][0]) == 2001


FILES = (
    "secret.txt",
    "secret.csv",
    "secret.json",
    "secret.parquet",
    "it''s.csv",
    "../secret.txt",
    "./secret.csv",
    "s*.csv",
    "workspace/studio.sqlite",
)
READERS = (
    "SELECT * FROM '{file}'",
    "SELECT * FROM read_text('{file}')",
    "SELECT * FROM read_blob('{file}')",
    "SELECT * FROM read_csv('{file}')",
    "SELECT * FROM read_json('{file}')",
    "SELECT * FROM read_parquet('{file}')",
    "SELECT * FROM glob('{file}')",
    "SELECT * FROM sniff_csv('{file}')",
    "SELECT * FROM parquet_metadata('{file}')",
    "SELECT (SELECT content FROM read_text('{file}') LIMIT 1)",
    "FROM rows WHERE EXISTS (FROM read_text('{file}'))",
)
CHANGES = (
    "DROP VIEW rows",
    "CREATE TABLE t AS SELECT 1",
    "CREATE OR REPLACE VIEW rows AS SELECT 1",
    "INSERT INTO decisions VALUES (1, 'keep')",
    "UPDATE decisions SET action = 'keep'",
    "DELETE FROM decisions",
    "COPY rows TO 'out.csv'",
    "COPY (SELECT 1) TO 'out.parquet' (FORMAT parquet)",
    "EXPORT DATABASE 'out'",
    "IMPORT DATABASE 'out'",
    "ATTACH 'out.db' AS o",
    "DETACH memory",
    "USE memory",
    "INSTALL httpfs",
    "LOAD httpfs",
    "SET enable_external_access=true",
    "SET lock_configuration=false",
    "SET memory_limit='100GB'",
    "SET allowed_paths=['/']",
    "RESET ALL",
    "PRAGMA database_list",
    "PRAGMA enable_profiling",
    "CALL pragma_version()",
    "CHECKPOINT",
    "VACUUM",
    "ANALYZE",
    "BEGIN",
    "EXPLAIN ANALYZE SELECT 1",
    "PREPARE p AS SELECT 1",
    "EXECUTE p",
    "CREATE SECRET s (TYPE s3)",
    "CREATE MACRO m() AS 1",
    "CREATE FUNCTION f() AS 1",
    "ALTER TABLE rows ADD COLUMN x INT",
    "SELECT 1; DROP VIEW rows",
    "SELECT 1; SELECT 2",
    "; ;",
    "SELECT 1 /* open",
    "SELECT 1); DROP VIEW rows; --",
    "WITH x AS (DELETE FROM decisions RETURNING *) SELECT * FROM x",
    "SELECT 1 INTO OUTFILE 'out.csv'",
    "",
    "--",
    "SELECT",
    "rows",
    "\x00",
    "' OR 1=1 --",
    "SELEC row_id FROM rows",
)
OTHERS = (
    "SELECT getenv('HOME')",
    "SELECT * FROM tables",
    "SELECT * FROM request",
    "SELECT * FROM engine",
    "SELECT * FROM decisions_file",
    "SELECT * FROM 'https://example.invalid/x.csv'",
    "SELECT * FROM 's3://bucket/x.parquet'",
    "SELECT * FROM read_csv('http://127.0.0.1:1/x')",
    "SELECT * FROM sqlite_scan('workspace/studio.sqlite', 'decisions')",
    "SELECT * FROM postgres_scan('', '', '')",
    "SELECT system('id')",
    "SELECT shell('id')",
    "SELECT load_extension('x')",
    "SELECT * FROM query('DROP VIEW rows')",
    "SELECT * FROM which_secret('s3://x', 's3')",
    "SELECT * FROM read_parquet('/proc/self/environ')",
    "SELECT * FROM read_text('/etc/passwd')",
    "SELECT CAST(prompt AS INT) FROM rows",
    "SELECT error(prompt) FROM rows",
    "SELECT prompt::DATE FROM rows",
    "SELECT strptime(prompt, '%Y') FROM rows",
)
HOSTILE = [reader.format(file=file) for reader in READERS for file in FILES] + [*CHANGES, *OTHERS]


def test_a_hundred_and_more_hostile_questions_are_refused_and_nothing_is_read_or_written(
    tables: Tables, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    before = {path: path.stat().st_mtime_ns for path in sorted(folder.rglob("*"))}
    assert len(HOSTILE) > 150
    for query in HOSTILE:
        found = inside(tables, query)
        assert "error" in found or not found["rows"], (query, found)
        assert SECRET not in json.dumps(found), query
    assert {path: path.stat().st_mtime_ns for path in sorted(folder.rglob("*"))} == before


@pytest.mark.parametrize(
    "query",
    [
        "SELECT CAST(prompt AS INT) FROM rows",
        "SELECT error(prompt) FROM rows",
        "SELECT prompt::DATE FROM rows",
        "SELECT strptime(prompt, '%Y') FROM rows",
    ],
)
def test_an_error_never_repeats_the_text_of_a_row(tables: Tables, query: str) -> None:
    with pytest.raises(SpecError) as told:
        ask(tables, query)
    assert "read me" not in str(told.value)


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("DROP VIEW rows", "Only one SELECT"),
        ("SELECT 1; SELECT 2", "Only one SELECT"),
        ("   ", "no question yet"),
        ("SELECT x" + " " * 20_000, "At most 20,000"),
        ("SELECT nothing FROM rows", "nothing"),
        ("SELEC 1", "syntax"),
        ("SELECT '\ud800' FROM nowhere", "nowhere"),
    ],
)
def test_a_question_that_is_none_is_told_what_to_do(tables: Tables, query: str, told: str) -> None:
    with pytest.raises(SpecError, match=told):
        ask(tables, query)


def test_a_question_without_end_is_stopped(tables: Tables, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sql, "LIMIT_S", 0.3)
    with pytest.raises(PrerequisiteError, match="was stopped"):
        ask(tables, "SELECT count(*) FROM range(100000000000) a, range(1000) b WHERE hash(a.range) % 7 = b.range")


@pytest.mark.skipif(sys.platform != "linux", reason="the memory of a process is limited on Linux only")
def test_a_question_for_too_much_memory_ends_and_the_app_goes_on(tables: Tables) -> None:
    with pytest.raises(StudioError, match=r"memory|stopped|failed"):
        ask(tables, "SELECT list(range) FROM range(2000000000)")
    assert ask(tables, "SELECT 1").rows == [[1]]
