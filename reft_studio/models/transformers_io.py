"""What reading and writing weights with transformers lacks: how far it is, a way to stop it, and disk errors that a person understands."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from reft_studio.progress import Progress
from reft_studio.workspace import disk_error


@contextmanager
def told(module: Any, progress: Progress) -> Iterator[None]:
    """Let loops of `module`, of transformers, tell how far they are, and be stopped there if the work was cancelled.

    They have no call-back for that, only the bar `module.tqdm` that is drawn around them: ours takes its place.
    """
    drawn = module.tqdm

    def counted(items: Iterable[Any], **_: Any) -> Iterator[Any]:
        found = list(items)
        for done, item in enumerate(found):
            progress.progress(done, len(found))
            yield item
        progress.progress(len(found), len(found))

    module.tqdm = counted
    try:
        yield
    finally:
        module.tqdm = drawn


@contextmanager
def disk_errors_told(target: Path) -> Iterator[None]:
    """Turn an error of the disk inside into PrerequisiteError or DiskFull; safetensors reports a full disk as an error of its own."""
    try:
        yield
    except OSError as exc:
        raise disk_error(target, exc) from exc
    except Exception as exc:
        if "os error 28" not in str(exc) and "No space left" not in str(exc):
            raise
        raise disk_error(target, OSError(28, "No space left on device")) from exc
