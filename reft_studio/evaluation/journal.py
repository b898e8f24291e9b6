"""The journal of an unfinished evaluation: every response and grade is on disk before the next one is made."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from typing import Any

from reft_studio.data import sealed_lines
from reft_studio.evaluation.grade import Grade, SetName
from reft_studio.fingerprint import SHORT, of_value
from reft_studio.workspace import Workspace

Answer = tuple[int, str, str]
"""Position of the prompt, text, and stop reason: "end", "length" or "error" (not answered, counted as missing)."""
FOLDER = "unfinished"


class AnswerJournal:
    """Responses and grades of one model on one suite, under a key of everything a response depends on.

    A killed or cancelled evaluation resumes from it; a finished one deletes it. Without a key nothing is stored.
    """

    def __init__(self, workspace: Workspace, key: dict[str, Any] | None) -> None:
        self.folder = workspace.folder(FOLDER, of_value(key)[:SHORT]) if key is not None else None
        self._answers: dict[SetName, dict[int, Answer]] = {}
        self._grades: dict[tuple[str, SetName], dict[int, Grade | None]] = {}
        if self.folder is not None:
            self._read()

    def answers(self, name: SetName) -> dict[int, Answer]:
        """The responses of a set so far, by position."""
        return self._answers.setdefault(name, {})

    def grades(self, judge: str, name: SetName) -> dict[int, Grade | None]:
        """A judge's (name and version) grades of a set, by position."""
        return self._grades.setdefault((judge, name), {})

    def add_answer(self, name: SetName, answer: Answer) -> None:
        """Store a response."""
        self.answers(name)[answer[0]] = answer
        self._write([{"set": name, "position": answer[0], "text": answer[1], "stop": answer[2]}])

    def add_grades(self, judge: str, name: SetName, positions: Sequence[int], grades: Iterable[Grade | None]) -> None:
        """Store the grades of some positions."""
        by_position = dict(zip(positions, grades, strict=True))
        self.grades(judge, name).update(by_position)
        self._write(
            [
                {"judge": judge, "set": name, "position": position, "grade": vars(grade) if grade else None}
                for position, grade in by_position.items()
            ]
        )

    def remove(self) -> None:
        """Delete it: the evaluation is finished."""
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _write(self, values: list[dict[str, Any]]) -> None:
        if self.folder is not None:
            sealed_lines.append(self.folder / "journal.jsonl", values)

    def _read(self) -> None:
        assert self.folder is not None, "only named journals are read"
        for value in sealed_lines.read(self.folder / "journal.jsonl"):
            if "judge" in value:
                grade = Grade(**value["grade"]) if value["grade"] else None
                self.grades(value["judge"], value["set"])[value["position"]] = grade
            else:
                self.answers(value["set"])[value["position"]] = (value["position"], value["text"], value["stop"])
