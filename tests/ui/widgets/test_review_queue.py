from __future__ import annotations

from collections.abc import Callable
from typing import Any

Run = Callable[..., Any]
BOX = "const sent = []; const box = makeOutbox((message) => sent.push(message));"


def outbox(run_js: Run, steps: str) -> Any:
    return run_js("review_queue", f"(() => {{ {BOX} {steps} }})()")


def test_the_next_row_is_the_next_undecided_one_going_round(run_js: Run) -> None:
    queue = [{"row": 1, "action": None}, {"row": 2, "action": "keep"}, {"row": 3, "action": None}]
    assert run_js("review_queue", "[nextOpen(data, 0), nextOpen(data, 2), decidedIn(data)]", queue) == [2, 0, 1]


def test_there_is_no_next_row_when_all_are_decided(run_js: Run) -> None:
    assert run_js("review_queue", "nextOpen(data, 0)", [{"row": 1, "action": "keep"}]) == -1


def test_a_row_that_was_asked_for_comes_after_the_current_one(run_js: Run) -> None:
    steps = "const queue = [{row: 1}, {row: 2}]; return [insertAfter(queue, 0, {row: 9}), queue.map((item) => item.row)];"
    assert outbox(run_js, steps) == [1, [1, 9, 2]]


def test_decisions_are_sent_one_at_a_time_in_order(run_js: Run) -> None:
    steps = """box.push({row: 1}); box.push({row: 2}); const before = sent.length;
    box.settle({n: 1, ok: true}); return [before, sent.map((m) => m.row), box.busy];"""
    assert outbox(run_js, steps) == [1, [1, 2], True]


def test_a_late_receipt_changes_nothing(run_js: Run) -> None:
    steps = "box.push({row: 1}); box.settle({n: 1, ok: false}); return [box.settle({n: 1, ok: true}), box.failures];"
    assert outbox(run_js, steps) == [None, 1]


def test_after_a_failure_nothing_is_sent_until_it_is_tried_again(run_js: Run) -> None:
    steps = """box.push({row: 1}); box.push({row: 2}); box.settle({n: 1, ok: false}); box.push({row: 3});
    const stopped = sent.length; box.retry(); box.settle({n: 2, ok: true}); box.settle({n: 3, ok: true}); box.settle({n: 4, ok: true});
    return [stopped, sent.map((m) => m.row), box.busy, box.failures];"""
    assert outbox(run_js, steps) == [1, [1, 1, 2, 3], False, 0]


def test_giving_up_hands_back_what_was_not_saved(run_js: Run) -> None:
    steps = "box.push({row: 1}); box.push({row: 2}); box.settle({n: 1, ok: false}); return [box.drop().map((m) => m.row), box.failures];"
    assert outbox(run_js, steps) == [[1, 2], 0]


def test_what_is_not_saved_yet_is_kept_for_a_new_start_without_steps_back(run_js: Run) -> None:
    steps = """const kept = []; const one = makeOutbox(() => 0, (messages) => kept.push(messages.map((m) => m.row)));
    one.push({kind: 'decide', row: 1}); one.push({kind: 'undo'}); one.push({kind: 'decide', row: 2});
    one.settle({n: 1, ok: true}); one.settle({n: 2, ok: false}); one.drop(); return kept;"""
    assert outbox(run_js, steps) == [[1], [1], [1, 2], [2], [2], []]


def test_a_reason_is_its_chips_and_the_comment(run_js: Run) -> None:
    assert run_js("review_queue", "[reasonText(['a', 'b'], ' c '), reasonText([], ''), reasonText([], 'c')]") == ["a, b: c", "", "c"]


def test_a_break_is_proposed_each_time_the_count_passes_a_multiple(run_js: Run) -> None:
    assert run_js("review_queue", "[nudgeDue(39, 40, 40), nudgeDue(40, 41, 40), nudgeDue(79, 81, 40), nudgeDue(39, 40, 0)]") == [
        True,
        False,
        True,
        False,
    ]


def test_what_others_decide_meanwhile_closes_open_rows_and_opens_them_again(run_js: Run) -> None:
    steps = """const queue = [{row: 1, action: null, by: null, was: null}, {row: 2, action: 'keep', by: null, was: null},
      {row: 3, action: null, by: null, was: {action: 'remove', by: 'Ana'}}];
    const ana = {action: 'remove', by: 'Ana'}, first = mergeHeld(queue, {1: ana, 2: {action: 'keep', by: 'Ben'}, 3: ana}, 'Ben');
    const then = [queue[0].action, queue[0].by, queue[1].action, queue[2].action];
    const second = mergeHeld(queue, {}, 'Ben');
    return [first, then, second, queue[0].action, queue[1].action];"""
    assert outbox(run_js, steps) == [[1], ["remove", "Ana", "keep", None], [1], None, "keep"]


def test_the_rows_fetched_ahead_are_the_next_open_ones_and_the_one_below(run_js: Run) -> None:
    queue = [{"row": 1}, {"row": 2, "action": "keep"}, {"row": 3}, {"row": 4}]
    assert run_js("review_queue", "comingRows(data, 0, 2)", queue) == [3, 4, 2]
    assert run_js("review_queue", "comingRows(data, 0, 3)", [{"row": 1}]) == []
