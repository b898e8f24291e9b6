"""What is looked at while a run trains: a few answers and scores every so many steps, as lines of JSON. Imports no torch.

A line: `{"step": 20, "steps": 160, "seconds": 1.3, "judge": "…", "hs": [value, low, high, n], "over_refusal": […], "fa": […],
"answers": [{"set", "prompt", "answer", "verdict"}]}`; a score is in percent with its 95 % interval, null without such prompts.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

FILE = "watch.jsonl"
EVENT = "watch"
"""Type of a job's event that is such a line."""
ROWS = "rows"
"""Type of a job's event that says on how many of the rows a training that begins learns: `rows`, `kept`."""


def read_watch(folder: Path) -> list[dict[str, Any]]:
    """Lines of a finished run, oldest first; none if nobody looked."""
    path = folder / FILE
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path.is_file() else []
