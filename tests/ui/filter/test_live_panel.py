"""The strip over the histogram says how far scoring is, what the first scores miss, and offers the one thing to do."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from reft_studio.jobs.view import JobView
from reft_studio.scoring.scores import ScoreSet
from reft_studio.studio.scoring import LiveScores
from ui.filter.live_panel import ORDER, strip
from ui.filter.panels import score_name, tabs

WORDS = ScoreSet("d", "w", Path("w"), "tfidf", "tfidf", 0.0, 2000, 0, {})
PARTIAL = ScoreSet("d", "k1", Path("00000007"), "refusal_feature", "real", 0.0, 2000, 1110, {"reached": 900})
MISSES = "Meaning that is not in the words."
OFFER: Any = SimpleNamespace(id="real", title="Real teacher")
JOB = JobView("score-1", "score", "Score d", "running", "", 1, 1, 900, 2000, 31.4, 35.0, 0.0, None, "", {}, None, None)


@pytest.mark.parametrize(
    ("found", "text", "detail", "action"),
    [
        (LiveScores(None, None, "", "", None), "", "", ""),
        (LiveScores(WORDS, None, "Words", MISSES, None), "", "", ""),
        (
            LiveScores(WORDS, None, "Words", MISSES, OFFER),
            "First scores, by words.",
            "They miss: meaning that is not in the words.",
            "Score with Real teacher",
        ),
        (
            LiveScores(WORDS, JOB, "Real teacher", MISSES, None),
            "Real teacher is starting.",
            "Until its first scores are there, these stay in use.",
            "Stop",
        ),
        (LiveScores(None, replace(JOB, state="queued"), "Real teacher", "", None), "Real teacher waits for its turn.", "", "Stop"),
        (
            LiveScores(PARTIAL, JOB, "Real teacher", "", None),
            "900 of 2,000 rows scored, by Real teacher.",
            f"31 rows per second, about 35 s left. {ORDER}",
            "Stop",
        ),
        (LiveScores(PARTIAL, replace(JOB, rate=None, eta_s=None), "Real teacher", "", None), None, ORDER, "Stop"),
        (LiveScores(PARTIAL, None, "Real teacher", "", None), "Stopped at 900 of 2,000 rows scored.", ORDER, "Go on"),
    ],
)
def test_the_strip_says_one_thing_at_a_time(found: LiveScores, text: str | None, detail: str, action: str) -> None:
    said = strip(found)
    assert (said["detail"], said["action"]) == (detail, action)
    assert text is None or said["text"] == text


def test_unfinished_scores_are_named_so_and_nothing_is_concluded_from_them() -> None:
    assert score_name(PARTIAL, {"real": "Real teacher"}) == "Real teacher, k1, unfinished"
    assert score_name(WORDS, {}) == "tfidf, w"
    view: Any = SimpleNamespace(score=PARTIAL)
    assert tabs(view, [("empty prompt", 10)]) == []
    assert (PARTIAL.unscored, strip(LiveScores(PARTIAL, JOB, "", "", None))["share"]) == (10, 0.45)
