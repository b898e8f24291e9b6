"""Adds progress, cancellation and readable disk errors to reading and writing weights with transformers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from reft_studio.progress import Progress
from reft_studio.workspace import disk_error


@contextmanager
def with_progress(module: Any, progress: Progress) -> Iterator[None]:
    """Report the progress of loops inside `module`, of transformers, and stop there if the work was cancelled.

    transformers has no call-back for that, only the progress bar `module.tqdm`, which is replaced.
    """
    drawn = module.tqdm

    def counted(items: Iterable[Any], **_: Any) -> Iterator[Any]:
        all_items = list(items)
        for done, item in enumerate(all_items):
            progress.progress(done, len(all_items))
            yield item
        progress.progress(len(all_items), len(all_items))

    module.tqdm = counted
    try:
        yield
    finally:
        module.tqdm = drawn


@contextmanager
def readable_disk_errors(target: Path) -> Iterator[None]:
    """Turn a disk error inside into PrerequisiteError or DiskFull; safetensors reports a full disk as an error of its own."""
    try:
        yield
    except OSError as exc:
        raise disk_error(target, exc) from exc
    except Exception as exc:
        if "os error 28" not in str(exc) and "No space left" not in str(exc):
            raise
        raise disk_error(target, OSError(28, "No space left on device")) from exc
