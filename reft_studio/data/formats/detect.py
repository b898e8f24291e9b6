"""What a file is, read from its bytes and never from its name."""

from __future__ import annotations

from pathlib import Path

from reft_studio.data.formats import FORMATS, allowed
from reft_studio.data.formats.format import DataFile
from reft_studio.data.formats.head import FileHead, head_of
from reft_studio.data.formats.layout import FileLayout
from reft_studio.errors import DataError


def detect(path: Path) -> DataFile:
    """The file with its layout. Raises DataError if it is empty, binary, compressed or of another kind."""
    with head_of(path) as head:
        return DataFile(path, _layout(head), head.stamp)


def _layout(head: FileHead) -> FileLayout:
    for one in sorted(FORMATS.all().values(), key=lambda one: one.asked):
        if (layout := one.sniff(head)) is not None:
            return layout
    raise DataError(f"{head.path.name} is of no format that is read here. {allowed()}")
