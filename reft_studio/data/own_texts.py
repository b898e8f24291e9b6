"""The alignment prompts of our own that ship, row by row."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from reft_studio.errors import PrerequisiteError
from reft_studio.workspace import ASSETS

FOLDER = ASSETS / "alignment"


@dataclass(frozen=True)
class OwnText:
    """A prompt with its answer, "" where it has none. `kind`: harmful, lookalike, open, task or drawn; all but the first are harmless."""

    prompt: str
    response: str
    kind: str
    category: str

    @property
    def harmful(self) -> bool:
        return self.kind == "harmful"


def own_texts(folder: Path | None = None) -> list[OwnText]:
    """Every row of every file of what ships, or of `folder`, in the order of their names.

    Raises PrerequisiteError if they are missing or damaged.
    """
    folder = folder or FOLDER
    try:
        lines = [line for path in sorted(folder.glob("*.jsonl")) for line in path.read_text("utf-8").splitlines() if line]
        found = [OwnText(**json.loads(line)) for line in lines]
    except (OSError, ValueError, TypeError) as exc:
        raise PrerequisiteError(f"The texts in assets/{folder.name} are damaged. Restore them from the release.") from exc
    if not found:
        raise PrerequisiteError(f"The texts in assets/{folder.name} are missing. Restore them from the release.")
    return found
