"""A person's labels of responses, stored in the workspace: appended one by one, so that any can be withdrawn."""

from __future__ import annotations

from pathlib import Path

from reft_studio.data import sealed_lines
from reft_studio.errors import SpecError
from reft_studio.evaluation.judges.human import LABELS, read_labels
from reft_studio.evaluation.regrade import answer_keys
from reft_studio.workspace import Workspace


def store(workspace: Workspace) -> Path:
    """The file with all labels of a workspace, which the judge "human" reads."""
    return workspace.folder("labels") / "human.jsonl"


def stored(workspace: Workspace) -> dict[str, str]:
    """Every current label, by response key."""
    labels: dict[str, str] = {}
    for line in sealed_lines.read(store(workspace)):
        if line["label"] is None:
            labels.pop(line["key"], None)
        else:
            labels[line["key"]] = line["label"]
    return labels


def put(workspace: Workspace, labels: dict[str, str | None]) -> None:
    """Append labels by response key; None withdraws one. Raises SpecError for an unknown label."""
    if unknown := {label for label in labels.values() if label is not None} - set(LABELS):
        raise SpecError(f"'{min(unknown)[:20]}' is no label. Use one of: {', '.join(LABELS)}.")
    sealed_lines.append(store(workspace), [{"key": key, "label": label} for key, label in labels.items()])


def import_labels(workspace: Workspace, path: Path, *, subject: str) -> int:
    """Import a file of labels; responses may be identified by set and row of the subject's evaluation. Returns the number of labels."""
    labels = read_labels(path, answers=answer_keys(workspace, subject))
    put(workspace, dict(labels))
    return len(labels)
