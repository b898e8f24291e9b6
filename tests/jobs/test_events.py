from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reft_studio.data.sealed_lines import decode, encode
from reft_studio.errors import PrerequisiteError, SpecError
from reft_studio.jobs.events import FILE, EventWriter, continued, earlier_events, read_events


def write(folder: Path, count: int) -> bytes:
    writer = EventWriter(folder)
    for number in range(count):
        writer.add("metric", step=number, loss=1 / (number + 1), note="größe")
    writer.close()
    return (folder / FILE).read_bytes()


def steps(events: list[dict[str, Any]]) -> list[int]:
    return [event["step"] for event in events]


def test_what_is_written_is_read_in_order(tmp_path: Path) -> None:
    write(tmp_path, 3)
    events, offset = read_events(tmp_path)
    assert steps(events) == [0, 1, 2] and events[1]["loss"] == 0.5 and events[0]["note"] == "größe"
    assert read_events(tmp_path, offset) == ([], offset)


def test_every_line_is_plain_json_for_other_tools(tmp_path: Path) -> None:
    for line in write(tmp_path, 2).splitlines():
        assert set(json.loads(line)) == {"t", "type", "step", "loss", "note", "crc"}


def test_cut_at_every_byte_of_the_last_two_lines_all_whole_lines_are_read_and_the_rest_waits(tmp_path: Path) -> None:
    whole = write(tmp_path, 5)
    lines = whole.splitlines(keepends=True)
    path = tmp_path / FILE
    for cut in range(len(whole) - len(lines[-1]) - len(lines[-2]), len(whole) + 1):
        path.write_bytes(whole[:cut])
        events, offset = read_events(tmp_path)
        complete = whole[:cut].count(b"\n")
        assert steps(events) == [*range(complete)]
        path.write_bytes(whole)  # the writer goes on
        assert steps(events + read_events(tmp_path, offset)[0]) == [0, 1, 2, 3, 4]


def test_a_damaged_line_is_left_out_and_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    whole = bytearray(write(tmp_path, 3))
    at = whole.index(b'"step": 1') + 8
    whole[at] ^= 1
    (tmp_path / FILE).write_bytes(bytes(whole))
    with caplog.at_level(logging.WARNING):
        assert steps(read_events(tmp_path)[0]) == [0, 2]
    assert "1 damaged lines left out" in caplog.text


def test_every_flipped_bit_of_a_line_is_noticed() -> None:
    line = encode({"t": 1.5, "type": "metric", "loss": 0.25})[:-1]
    for at in range(len(line)):
        for bit in range(8):
            damaged = line[:at] + bytes([line[at] ^ (1 << bit)]) + line[at + 1 :]
            assert decode(damaged) is None


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_no_bytes_make_the_reader_raise(data: bytes) -> None:
    decode(data)


@settings(deadline=None, max_examples=50)
@given(st.dictionaries(st.text(max_size=5), st.none() | st.booleans() | st.integers() | st.text(max_size=9)))
def test_a_line_gives_back_the_event(values: dict[str, Any]) -> None:
    event = {**values, "type": "metric"}
    assert decode(encode(event)[:-1]) == event


def test_after_a_torn_line_a_new_writer_loses_only_that_line(tmp_path: Path) -> None:
    whole = write(tmp_path, 2)
    (tmp_path / FILE).write_bytes(whole[:-7])
    writer = EventWriter(tmp_path)
    writer.add("state", step=7)
    writer.close()
    assert steps(read_events(tmp_path)[0]) == [0, 7]


def test_an_offset_beyond_the_file_starts_anew(tmp_path: Path) -> None:
    write(tmp_path, 2)
    assert steps(read_events(tmp_path, 10**9)[0]) == [0, 1]


def test_no_file_yet_is_no_events(tmp_path: Path) -> None:
    assert read_events(tmp_path, 17) == ([], 0)


def test_a_long_file_is_read_in_parts_that_lose_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, 50)
    monkeypatch.setattr("reft_studio.jobs.events.READ_LIMIT", 250)
    found: list[dict[str, Any]] = []
    offset = 0
    while True:
        events, end = read_events(tmp_path, offset)
        if end == offset:
            break
        found, offset = found + events, end
    assert steps(found) == [*range(50)]


def test_numbers_that_are_not_finite_become_null(tmp_path: Path) -> None:
    import numpy as np

    writer = EventWriter(tmp_path)
    writer.add("metric", loss=float("nan"), norm=np.float32(0.5), step=np.int64(3), other=float("inf"))
    writer.close()
    (event,) = read_events(tmp_path)[0]
    assert (event["loss"], event["norm"], event["step"], event["other"]) == (None, 0.5, 3, None)


def test_names_the_file_uses_itself_are_refused(tmp_path: Path) -> None:
    writer = EventWriter(tmp_path)
    with pytest.raises(SpecError, match="cannot have a value called 't'"):
        writer.add("metric", t=1.0)
    writer.close()


def test_a_full_disk_is_told_as_such(tmp_path: Path) -> None:
    (tmp_path / FILE).symlink_to("/dev/full")
    writer = EventWriter(tmp_path)
    with pytest.raises(PrerequisiteError, match="No space left on device"):
        writer.add("metric", loss=1.0)
    writer.close()


def metric(stage: str, done: int) -> dict[str, Any]:
    return {"type": "metric", "stage": stage, "done": done}


def test_attempts_of_a_job_are_one_run_of_it() -> None:
    rows = {"type": "rows", "kept": 9}
    first = [{**rows, "t": 1}, metric("train", 1), metric("train", 2), metric("train", 3)]
    resumed = [{**rows, "t": 2}, metric("train", 3), metric("train", 4)]
    assert continued(first, resumed) == [*first[:3], *resumed[1:]], "what was done twice, and told twice, stands there once"
    assert continued(first, [rows]) == first, "one that has done nothing yet changes nothing"
    anew = [rows, metric("train", 1)]
    assert continued(first, anew) == [first[0], metric("train", 1)]
    assert continued(first, [metric("evaluate", 1)]) == [*first, metric("evaluate", 1)], "a later stage follows"
    assert continued([], anew) == anew


def test_events_of_earlier_attempts_are_joined_in_their_order(tmp_path: Path) -> None:
    for attempt, steps in ((2, (2, 3)), (10, (3, 4)), (1, (1, 2))):
        writer = EventWriter(tmp_path)
        for step in steps:
            writer.add("metric", stage="train", done=step, attempt=attempt)
        writer.close()
        (tmp_path / FILE).rename(tmp_path / f"events-{attempt}.jsonl")
    assert [(event["done"], event["attempt"]) for event in earlier_events(tmp_path, ("metric",))] == [(1, 1), (2, 2), (3, 10), (4, 10)]
    assert earlier_events(tmp_path, ("warning",)) == []
