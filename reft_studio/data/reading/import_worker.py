"""A process that reads pieces of an upload: `python -m reft_studio.data.reading.import_worker`, spoken to through its pipes."""

from __future__ import annotations

import os
import sys
from contextlib import suppress

from reft_studio.data.reading.import_pool import serve


def main() -> None:
    """Serve until the import is over or gone."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what anything prints must not get between the answers
    with suppress(BrokenPipeError):
        serve(sys.stdin.buffer, answers)


if __name__ == "__main__":
    main()
