from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from reft_studio.data.index.facets import TITLES
from reft_studio.data.index.inspect import REPEATS, Inspection, TokenLengths
from reft_studio.data.index.query import Lengths, Profile
from reft_studio.data.reading.readers import ImportReport, preview
from reft_studio.data.rows.mapping import Mapping
from ui.data.row_chats import chats
from ui.shared import dataset_views as views

LENGTHS = Lengths({"median": 5}, [0, 1, 2, 4], [0, 0, 1, 9])
PROFILE = Profile(10, 1, 2, 0, 3, 5, {"a": 9, "b": 1}, {}, LENGTHS, LENGTHS)
REPORT = ImportReport(
    "id",
    10,
    2,
    4,
    1,
    {"not valid JSON: expecting value": 3, "empty prompt": 1},
    "openai",
    "jsonl",
    "utf-8",
    2,
    0,
    warning_reasons={"control characters in the text": 2},
    examples={"not valid JSON: expecting value": [3, 5, 9]},
)
TOKENS = TokenLengths(
    "lab", 500, 512, 1, {part: {"median": 50, "p95": 300, "max": 600} for part in ("prompt", "response", "row")}, [0, 100, 200], [5, 4, 1]
)
FOUND = Inspection(10, 1, 2, [(0, 3)], {"English": 9, "unsure": 1}, TOKENS, 0.1)


def chat(*turns: dict[str, Any], **row: Any) -> dict[str, Any]:
    shown: dict[str, Any] = chats([{"row_id": 1, "prompt": "p", "response": "r", "messages": list(turns), **row}])["rows"][0]
    return shown


def turn(role: str, content: str, **more: Any) -> dict[str, Any]:
    return {"role": role, "content": content, **more}


def test_only_the_last_answer_that_counts_is_marked_as_trained() -> None:
    shown = chat(turn("user", "a"), turn("assistant", "b"), turn("user", "c"), turn("assistant", "d"), turn("assistant", "e", weight=0))
    assert [(part["trained"], part["note"]) for part in shown["turns"]] == [
        (False, ""),
        (False, "context"),
        (False, ""),
        (True, ""),
        (False, "weight: 0"),
    ]


def test_the_preview_shows_what_is_trained_what_is_read_and_what_is_left_out() -> None:
    call = {"function": {"name": "tide", "arguments": "{}"}}
    sound = {"type": "input_audio", "input_audio": {}}
    shown = chat(
        turn("system", "be brief"),
        {"role": "user", "content": [{"type": "text", "text": "a"}, sound]},
        turn("assistant", "draft", loss=False),
        turn("user", "b"),
        {"role": "assistant", "content": "", "tool_calls": [call]},
        turn("user", "c"),
    )["turns"]
    assert [(part["text"], part["note"], part["trained"], part["out"]) for part in shown] == [
        ("be brief", "", False, False),
        ("a\n(audio left out)", "", False, False),
        ("draft", "loss: false", False, False),
        ("b", "", False, False),
        ('<tool_call>\n{"name": "tide", "arguments": {}}\n</tool_call>', "", True, False),
        ("c", "left out", False, True),
    ]


def test_a_chat_without_an_answer_trains_nothing() -> None:
    assert [part["trained"] for part in chat(turn("user", "a"), turn("assistant", "b", weight=0))["turns"]] == [False, False]


def test_flagged_and_known_harmful_rows_are_hidden_until_revealed() -> None:
    assert chat(turn("user", "a"), known_harmful=True)["hide"] and chat(turn("user", "a"), flagged=True, score=0.9)["hide"]
    assert not chat(turn("user", "a"), known_harmful=False)["hide"]


def test_strips_add_up_to_the_rows() -> None:
    strips = views.profiled(10, PROFILE, REPORT, FOUND)["strips"]
    assert {strip["title"]: [part["n"] for part in strip["parts"]] for strip in strips} == {
        "Reading": [8, 2, 4],
        "Repeats": [7, 2, 1],
        "Labels": [5, 3, 2],
    }


def test_before_anything_was_counted_the_import_report_is_shown() -> None:
    shown = views.profiled(10, None, REPORT, None)
    assert [kpi["label"] for kpi in shown["kpis"]] == ["rows", "multi-turn"] and not shown["histograms"] and not shown["bars"]


def test_the_cut_of_training_lies_where_it_is_among_the_bars() -> None:
    mark = views.profiled(10, PROFILE, REPORT, FOUND)["histograms"][0]["mark"]
    assert mark == {"at": 5.12, "text": "cut at 512"}


def test_bars_are_filters_with_the_label_as_it_is_kept() -> None:
    bars = {group["facet"]: group["items"] for group in views.profiled(10, PROFILE, REPORT, FOUND, ["origin:a"])["bars"]}
    assert [item["pick"] for item in bars["origin"]] == ["a", "b"] and "category" not in bars


def test_what_a_bar_of_the_whole_says_is_said_once_and_narrows_the_rows() -> None:
    shown = views.profiled(10, PROFILE, REPORT, FOUND)
    strips = {strip["title"]: strip for strip in shown["strips"]}
    assert strips["Reading"]["facet"] == "" and not any("pick" in part for part in strips["Reading"]["parts"])
    assert strips["Labels"]["facet"] == "truth"
    assert [(part["pick"], part["n"]) for part in strips["Labels"]["parts"]] == [("harmless", 5), ("harmful", 3), ("unknown", 2)]
    assert strips["Repeats"]["facet"] == "repeats"
    assert [(part["pick"], part["n"]) for part in strips["Repeats"]["parts"]] == [(REPEATS[0], 7), (REPEATS[2], 2), (REPEATS[1], 1)]
    assert not {group["facet"] for group in shown["bars"]} & {"truth", "repeats"}


def test_a_chip_names_its_filter_in_words() -> None:
    assert [chip["text"] for chip in views.chips([("truth", "harmful"), ("origin", "a")], 3)] == [
        "Label in the file: harmful",
        f"{TITLES['origin']}: a",
        "rows that repeat each other",
    ]


def test_a_long_origin_is_picked_by_the_label_its_rows_have_and_the_rest_cannot_be() -> None:
    profile = replace(PROFILE, origins={"x" * 500: 6, "(other)": 4})
    items = next(group["items"] for group in views.profiled(10, profile, None, None)["bars"] if group["facet"] == "origin")
    assert items[0]["pick"] == "x" * 120 and "pick" not in items[1]


def test_another_mapping_is_offered_only_where_it_can_help() -> None:
    rows = views.reasons(REPORT)["rows"]
    assert [(row["reason"][:14], row["without"]) for row in rows] == [
        ("not valid JSON", ["fix"]),
        ("control charac", ["fix"]),
        ("empty prompt", []),
    ]
    assert rows[0]["lines"] == "3, 5, 9"


def test_the_passport_has_every_hash_whole() -> None:
    source = {"file": "a.jsonl", "bytes": 10, "sha256": "a" * 64, "container": "jsonl", "encoding": "utf-8", "format": "openai"}
    origin = {
        "place": "hub",
        "text": "org/name",
        "revision": "c" * 40,
        "part": "train",
        "files": [{"name": "x", "bytes": 1, "sha256": "b" * 64}],
    }
    manifest = {"fingerprint": "f" * 64, "created": "2026-01-02T03:04:05+00:00", "source": source}
    copied = {item["label"]: item["value"] for item in views.passport(manifest, origin)["items"] if item.get("copy")}
    assert copied == {"SHA-256 of the file": "a" * 64, "Commit": "c" * 40, "x": "b" * 64, "Fingerprint": "f" * 64}


def test_the_question_which_value_means_harmful_is_asked_with_the_values_and_their_rows(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("prompt,response,label\n" + "Why?,So.,0\n" * 2 + "Who?,She.,1\n")
    asked = views.doubt(preview(path, Mapping(columns={"known_harmful": "label"})))
    assert asked is not None and "0 (2 rows), 1 (1 row)" in asked["text"] and "Which value means harmful" in asked["text"]
    assert views.doubt(preview(path, Mapping(columns={"known_harmful": "label"}, labels={"1": True}))) is None
    assert views.doubt(preview(path)) is None


def test_what_is_said_of_a_file_as_a_whole_stands_above_the_reasons_of_its_rows() -> None:
    shown = views.reasons(replace(REPORT, notes=["a comma after each line"]))["rows"]
    assert (shown[0]["reason"], shown[0]["rows"], shown[0]["without"]) == ("a comma after each line", "file", ["fix"])
    assert len(shown) == 4
