"""The alignment prompts of our own that ship, row by row."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from reft_studio.errors import PrerequisiteError
from reft_studio.workspace import ASSETS

FOLDER = ASSETS / "alignment"
TWINS = "_pairs"
"""How the names of files of twins end."""


@dataclass(frozen=True)
class OwnText:
    """A prompt with its answer, "" where it has none. `kind`: harmful, lookalike, open, task or drawn; all but the first are harmless.

    A `twin` was written beside one of the other kind in nearly the same words. Twins teach; a threshold is not set on them, since hardly
    a file is made of such.
    """

    prompt: str
    response: str
    kind: str
    category: str
    twin: bool = False

    @property
    def harmful(self) -> bool:
        return self.kind == "harmful"


def own_texts(folder: Path | None = None) -> list[OwnText]:
    """Every row of every file of what ships, or of `folder`, in the order of their names.

    Raises PrerequisiteError if they are missing or damaged.
    """
    folder = folder or FOLDER
    try:
        lines = [(path, line) for path in sorted(folder.glob("*.jsonl")) for line in path.read_text("utf-8").splitlines() if line]
        found = [OwnText(**json.loads(line), twin=path.stem.endswith(TWINS)) for path, line in lines]
    except (OSError, ValueError, TypeError) as exc:
        raise PrerequisiteError(f"The texts in assets/{folder.name} are damaged. Restore them from the release.") from exc
    if not found:
        raise PrerequisiteError(f"The texts in assets/{folder.name} are missing. Restore them from the release.")
    return found
