"""What the row table's server answers to anybody who asks: pages, choices and answers, masked."""

from __future__ import annotations

from pathlib import Path

import pytest

from reft_studio.studio.studio import Studio
from reft_studio.workspace import Workspace
from tests.ui.scored import ROWS, Scored, scored
from ui.filter.rows_panel import choices_server, page_server, sql_server

HARMFUL = "enter a house unseen"


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Studio:
    return Studio(Workspace.open(Path(tmp_path_factory.mktemp("rows")) / "workspace"))


@pytest.fixture(scope="module")
def audit(studio: Studio) -> Scored:
    return scored(studio, "rows panel")


def asked(audit: Scored, **more: object) -> dict[str, object]:
    return {"dataset": audit.dataset, "key": audit.key, "t": 0.0, **more}


def test_a_page_is_at_most_200_rows_whatever_is_asked_for(studio: Studio, audit: Scored) -> None:
    found = page_server(studio)(asked(audit, filter={"side": "all"}, limit=10_000, offset=-5))
    assert (found["ok"], found["total"], found["offset"], len(found["rows"])) == (True, ROWS, 0, 200)
    assert page_server(studio)(asked(audit, filter={"search": ["kind"], "label": ["origin:task"]}, limit=1))["total"] > 0


@pytest.mark.parametrize("given", [{"side": "left"}, {"low": "x"}, {"label": "origin"}, {"sql": "DROP VIEW rows"}, {"search": "x" * 600}])
def test_a_filter_that_cannot_be_is_told(studio: Studio, audit: Scored, given: dict[str, str]) -> None:
    found = page_server(studio)(asked(audit, filter=given))
    assert not found["ok"] and "Traceback" not in found["error"]


@pytest.mark.parametrize("request_", [{}, None, {"dataset": "../x"}, {"dataset": "a", "key": "b", "t": "high"}])
def test_anything_else_that_is_asked_is_no_more_than_an_error(studio: Studio, request_: object) -> None:
    for server in (page_server, choices_server, sql_server):
        assert server(studio)(request_)["ok"] is False


def test_flagged_text_leaves_the_server_masked(studio: Studio, audit: Scored) -> None:
    request = asked(audit, filter={"side": "flagged"}, limit=200)
    assert HARMFUL not in str(page_server(studio)(request))
    assert HARMFUL in str(page_server(studio)({**request, "mask": False}))
    query = asked(audit, query="SELECT row_id, prompt, upper(prompt) AS loud FROM rows")
    found = sql_server(studio)(query)
    assert found["ok"] and found["selects"] and found["sensitive"] and HARMFUL not in str(found).lower()
    assert HARMFUL in str(sql_server(studio)({**query, "reveal": True}))


def test_choices_name_facets_with_counts_tables_and_examples_that_run(studio: Studio, audit: Scored) -> None:
    found = choices_server(studio)(asked(audit))
    origins = next(one for one in found["facets"] if one["name"] == "origin")
    assert sum(label["rows"] for label in origins["labels"]) == ROWS
    assert found["tables"]["scores"] == ["row_id", "score", "flagged"]
    for example in found["examples"]:
        answered = sql_server(studio)(asked(audit, query=example["query"]))
        assert answered["ok"], (example, answered)
    unscored = choices_server(studio)({"dataset": audit.dataset, "key": None})
    assert "scores" not in unscored["tables"] and not any("scores" in one["query"] for one in unscored["examples"])
