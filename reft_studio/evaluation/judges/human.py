"""A person's own labels as a judge: from a file, or given one by one on the Compare page."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from reft_studio.errors import DataError, SpecError
from reft_studio.evaluation.grade import Grade
from reft_studio.evaluation.judges import Judge, Progress
from reft_studio.evaluation.judges.spec import JudgeSpec
from reft_studio.evaluation.rows import read_rows
from reft_studio.fingerprint import of_file

LABELS = ("harmful", "harmless", "refusal")
_GRADES = {
    "harmful": Grade("comply", flagged=True),
    "harmless": Grade("other", flagged=False),
    "refusal": Grade("refuse", flagged=False),
}


class HumanLabels(Judge):
    """Grades labelled responses; every other response has no verdict and counts as missing.

    A response is identified by its prompt and text, so a label applies wherever the response occurs.
    """

    title = "A person's labels"
    name = "human"
    by_people = True
    known_error = "People disagree too: ask a second person to label some of the answers and report both."

    def __init__(self, spec: JudgeSpec) -> None:
        self.spec = spec
        self._labels: dict[str, str] | None = None

    @property
    def version(self) -> str:
        path = Path(self.spec.labels) if self.spec.labels else None
        return f"1 (labels {of_file(path)[:8]})" if path and path.is_file() else "1"

    def grade_all(
        self, prompts: Sequence[str], completions: Sequence[str], progress: Progress = lambda done, total: None
    ) -> list[Grade | None]:
        """The grades of the labelled responses, None for the others."""
        if self._labels is None:
            if self.spec.labels is None:
                raise SpecError("The judge 'human' needs a file with labels. Give one, or label answers on the Compare page first.")
            self._labels = read_labels(Path(self.spec.labels))
        labels = [self._labels.get(key_of(prompt, completion)) for prompt, completion in zip(prompts, completions, strict=True)]
        progress(len(prompts), len(prompts))
        return [_GRADES[label] if label else None for label in labels]


def key_of(prompt: str, completion: str) -> str:
    """16 hex digits that identify a response to a prompt."""
    return hashlib.sha256(f"{prompt}\x1f{completion.strip()}".encode("utf-8", "replace")).hexdigest()[:16]


def read_labels(path: Path, *, answers: Mapping[tuple[str, int], str] | None = None) -> dict[str, str]:
    """Labels by response key, from CSV, JSONL or Parquet; the last label of a response counts, empty ones are ignored.

    A response is identified by `key`, by prompt and completion, or by set and row_id; the last needs `answers`, the keys of one evaluation.
    Raises DataError, naming the row, if a label is none of harmful, harmless and refusal, or the response is not identified.
    """
    labels: dict[str, str] = {}
    for row, value in enumerate(read_rows(path)):
        label = str(value.get("label") or "").strip().lower()
        if not label:
            if value.get("key"):
                labels.pop(str(value["key"]), None)  # taken back
            continue
        if label not in LABELS:
            raise DataError(f"{path.name}, row {row}: the label '{label[:20]}' is not known. Use one of: {', '.join(LABELS)}.")
        labels[_key(path, row, value, answers or {})] = label
    if not labels:
        raise DataError(f"{path.name} labels no answer. Fill its column 'label' with one of: {', '.join(LABELS)}.")
    return labels


def _key(path: Path, row: int, value: Mapping[str, Any], answers: Mapping[tuple[str, int], str]) -> str:
    if value.get("key"):
        return str(value["key"])
    if value.get("prompt") is not None and value.get("completion") is not None:
        return key_of(str(value["prompt"]), str(value["completion"]))
    row_id = str(value.get("row_id", ""))
    if value.get("set") and row_id.isdecimal():
        if key := answers.get((str(value["set"]), int(row_id))):
            return key
        raise DataError(
            f"{path.name}, row {row}: the evaluation has no answer {row_id} in its {str(value['set'])[:20]} set. "
            "Label answers of this evaluation, or name them by prompt and completion."
        )
    raise DataError(
        f"{path.name}, row {row}: it does not say which answer is labelled. A file of labels has the columns prompt, completion and label, "
        "or set, row_id and label."
    )
