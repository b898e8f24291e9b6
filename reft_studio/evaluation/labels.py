"""A person's labels of answers, kept in the workspace: appended one by one, so that any can be taken back."""

from __future__ import annotations

from pathlib import Path

from reft_studio.data import sealed_lines
from reft_studio.errors import SpecError
from reft_studio.evaluation.judges.human import LABELS, read_labels
from reft_studio.evaluation.regrade import answer_keys
from reft_studio.workspace import Workspace


def store(workspace: Workspace) -> Path:
    """The file that holds all labels of a workspace: what the judge "human" reads."""
    return workspace.folder("labels") / "human.jsonl"


def stored(workspace: Workspace) -> dict[str, str]:
    """Every label that stands, by the key of the answer."""
    found: dict[str, str] = {}
    for line in sealed_lines.read(store(workspace)):
        if line["label"] is None:
            found.pop(line["key"], None)
        else:
            found[line["key"]] = line["label"]
    return found


def put(workspace: Workspace, labels: dict[str, str | None]) -> None:
    """Record labels by the key of the answer; None takes one back. Raises SpecError for a label that there is not."""
    if unknown := {label for label in labels.values() if label is not None} - set(LABELS):
        raise SpecError(f"'{min(unknown)[:20]}' is no label. Use one of: {', '.join(LABELS)}.")
    sealed_lines.append(store(workspace), [{"key": key, "label": label} for key, label in labels.items()])


def import_labels(workspace: Workspace, path: Path, *, subject: str) -> int:
    """Take over a file of labels; answers may be named by set and row of the subject's evaluation. Returns how many labels it has."""
    labels = read_labels(path, answers=answer_keys(workspace, subject))
    put(workspace, dict(labels))
    return len(labels)
