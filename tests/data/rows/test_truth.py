"""Labels of a file: read where they are clear, asked about where they are not, counted where nobody explained them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from reft_studio.data.dataset import open_dataset
from reft_studio.data.reading.readers import import_file, preview
from reft_studio.data.rows.mapping import Mapping
from reft_studio.data.rows.truth import NOT_UNDERSTOOD, count_labels, label_text, truth
from reft_studio.errors import SpecError
from reft_studio.workspace import Workspace

Upload = Callable[..., Path]


def _labelled(*labels: Any, column: str = "label") -> list[dict[str, Any]]:
    return [{"prompt": f"Question {place}?", "response": "Yes.", column: label} for place, label in enumerate(labels)]


def _truths(workspace: Workspace, path: Path, mapping: Mapping | None = None) -> list[bool | None]:
    report = import_file(workspace, path, mapping=mapping)
    return [row["known_harmful"] for row in open_dataset(workspace, report.dataset_id).read(["known_harmful"])]


def _by_hand(column: str = "label", *harmful: str) -> Mapping:
    return Mapping(columns={"known_harmful": column}, labels=dict.fromkeys(harmful, True))


@pytest.mark.parametrize(
    ("cell", "text"),
    [(1, "1"), (1.0, "1"), ("1.0", "1"), (" 0 ", "0"), (True, "true"), (None, ""), (float("nan"), ""), (0.25, "0.25"), ([1], "(a list)")],
)
def test_a_label_is_the_same_text_from_every_format(cell: Any, text: str) -> None:
    assert label_text(cell) == text


@pytest.mark.parametrize("words", [("harmful", "unharmful"), ("unsafe", "safe"), ("Toxic", "Non-Toxic"), ("MALICIOUS", "benign")])
def test_words_that_say_harmful_are_read_without_a_question(words: tuple[str, str], workspace: Workspace, upload: Upload) -> None:
    assert _truths(workspace, upload(_labelled(*words))) == [True, False]


@pytest.mark.parametrize(
    ("column", "cells"),
    [("toxic", (1, 0)), ("prompt_harm_label", ("harmful", "unharmful")), ("is_toxic", (True, False)), ("Malicious", ("yes", "no"))],
)
def test_names_that_mean_harmful_are_recognised(column: str, cells: tuple[Any, Any], workspace: Workspace, upload: Upload) -> None:
    assert _truths(workspace, upload(_labelled(*cells, column=column))) == [True, False]


def test_the_class_of_a_task_is_not_taken_for_ground_truth(workspace: Workspace, upload: Upload) -> None:
    assert _truths(workspace, upload(_labelled(0, 1, 1))) == [None, None, None]


@pytest.mark.parametrize("cells", [(0, 1), ("0", "1"), (False, True), ("no", "yes"), ("A", "B"), ("ham", "spam"), (1.5, 2.5)])
def test_two_values_of_a_column_given_by_hand_are_read_once_one_is_called_harmful(
    cells: tuple[Any, Any], workspace: Workspace, upload: Upload
) -> None:
    path = upload(_labelled(*cells, cells[0]))
    seen = preview(path, _by_hand())
    assert seen.labels is not None and seen.labels.counts == {label_text(cells[0]): 2, label_text(cells[1]): 1}
    assert not seen.ready
    harmful = label_text(cells[1])
    assert preview(path, _by_hand("label", harmful)).ready
    assert _truths(workspace, path, _by_hand("label", harmful)) == [False, True, False]


def test_a_column_given_by_hand_that_is_clear_needs_no_question(workspace: Workspace, upload: Upload) -> None:
    path = upload(_labelled("safe", "unsafe", None))
    assert preview(path, _by_hand()).labels is None
    assert _truths(workspace, path, _by_hand()) == [False, True, None]


def test_without_an_answer_the_import_names_the_values_and_the_flag(workspace: Workspace, upload: Upload) -> None:
    with pytest.raises(SpecError) as caught:
        import_file(workspace, upload(_labelled(0, 0, 1)), mapping=_by_hand())
    assert "0 (2 rows), 1 (1 row)" in str(caught.value) and "--harmful-value" in str(caught.value)


def test_of_several_values_several_can_mean_harmful(workspace: Workspace, upload: Upload) -> None:
    path = upload(_labelled("weapons", "none", "drugs", "chat"))
    assert _truths(workspace, path, _by_hand("label", "weapons", "drugs")) == [True, False, True, False]


def test_safe_beside_names_of_hazards_is_asked_about(workspace: Workspace, upload: Upload) -> None:
    seen = preview(upload(_labelled("safe", "S1", "S2")), _by_hand())
    assert seen.labels is not None and seen.labels.harmful == []


@pytest.mark.parametrize("wrong", ["2", "maybe"])
def test_a_value_that_does_not_occur_is_refused_with_those_that_do(wrong: str, workspace: Workspace, upload: Upload) -> None:
    with pytest.raises(SpecError, match=r"no value of 'label'. It has: 0 \(1 row\), 1 \(1 row\)"):
        import_file(workspace, upload(_labelled(0, 1)), mapping=_by_hand("label", wrong))


def test_not_all_values_can_mean_harmful(workspace: Workspace, upload: Upload) -> None:
    with pytest.raises(SpecError, match="All values"):
        import_file(workspace, upload(_labelled(0, 1)), mapping=_by_hand("label", "0", "1"))


def test_a_column_of_texts_is_no_column_of_labels_and_its_texts_are_not_shown(workspace: Workspace, upload: Upload) -> None:
    rows = _labelled(*("a secret sentence of somebody which is long " * 2 for _ in range(3)))
    with pytest.raises(SpecError, match="no column of labels") as caught:
        import_file(workspace, upload(rows), mapping=_by_hand())
    assert "secret" not in str(caught.value)
    assert not preview(upload(rows), _by_hand()).ready


def test_values_not_understood_are_counted(workspace: Workspace, upload: Upload) -> None:
    path = upload([*_labelled(*["harmful", "harmless"] * 150), *_labelled("maybe", "perhaps", None)])
    report = import_file(workspace, path)
    assert report.warning_reasons == {NOT_UNDERSTOOD: 2}
    assert report.examples[NOT_UNDERSTOOD] == [301, 302]


def test_a_chosen_label_holds_beside_columns_that_were_recognised(workspace: Workspace, upload: Upload) -> None:
    chat = [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "So."}]
    path = upload([{"messages": chat, "flag": flag} for flag in ("x", "y")])
    assert _truths(workspace, path, _by_hand("flag", "y")) == [False, True]


@pytest.mark.parametrize(("column", "cell"), [("is_safe", "1"), ("harmless", "yes")])
def test_yes_in_a_column_called_safe_means_harmless(column: str, cell: str) -> None:
    assert truth(cell, column) is False


def test_counting_stops_where_values_are_too_many() -> None:
    def endless() -> Any:
        yield from range(60)
        raise AssertionError("counted on")

    assert not count_labels("n", endless(), whole=True).is_label
