"""Files for people: whole or not at all, wherever they want them."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from reft_studio.workspace import disk_error


@contextmanager
def replacing(target: Path) -> Iterator[BinaryIO]:
    """A file that takes the target's place when it is complete, and is gone otherwise."""
    temporary = target.with_name(f"{target.name}.tmp-{os.getpid()}-{uuid.uuid4().hex[:8]}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    except OSError as exc:
        raise disk_error(target, exc) from exc
    finally:
        temporary.unlink(missing_ok=True)
