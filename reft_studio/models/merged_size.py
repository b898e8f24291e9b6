"""The disk size of a merged model before it is written; from headers, without torch."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path
from typing import Literal, cast, get_args

from reft_studio.errors import PrerequisiteError, SpecError
from reft_studio.models.source import ModelSource

Format = Literal["auto", "bfloat16", "float16", "float32"]
COPIED = (
    *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "chat_template.jinja"),
    *("chat_template.json", "tokenizer.model", "spiece.model", "vocab.json", "vocab.txt", "merges.txt", "tekken.json"),
    *("generation_config.json", "LICENSE*", "NOTICE*", "USE_POLICY*"),
)
"""Files of a base copied into the merged folder: tokenizer, chat template, generation settings, licence files."""
_WIDTH = {"bfloat16": 2, "float16": 2, "float32": 4}
_STORED = {"BF16": "bfloat16", "F16": "float16"}
_SPARE = 64_000_000
"""Bytes to leave free, for the job's own files and the file system."""


def format_named(name: str) -> Format:
    """The number format of this name. Raises SpecError, listing the formats, for any other."""
    if name not in get_args(Format):
        raise SpecError(f"dtype is {name[:20]!r}, but merged weights are in one of: {', '.join(get_args(Format))}.")
    return cast(Format, name)


def format_of(source: ModelSource, wanted: Format) -> str:
    """The number format of the merged weights; auto: that of most of the base's weights."""
    if wanted != "auto":
        return wanted
    numbers: Counter[str] = Counter()
    for facts in source.tensors.values():
        numbers[_STORED.get(facts.dtype, "float32")] += facts.numbers
    return numbers.most_common(1)[0][0] if numbers else "float32"


def needed(source: ModelSource, kind: str) -> int:
    """Bytes of the merged folder: all weights in the new format, and the copied files."""
    copied_bytes = sum(path.stat().st_size for path in copied(source.folder)) if source.folder is not None else 0
    return sum(facts.numbers for facts in source.tensors.values()) * _WIDTH[kind] + copied_bytes


def copied(folder: Path) -> list[Path]:
    """The files of a base's folder to copy."""
    return sorted({path for pattern in COPIED for path in folder.glob(pattern) if path.is_file()})


def check_disk(source: ModelSource, kind: str, folder: Path) -> None:
    """Raise PrerequisiteError, with required and free bytes, if the merged folder does not fit on the disk of `place`."""
    size, free = needed(source, kind), free_at(folder)
    if size + _SPARE > free:
        raise PrerequisiteError(
            f"The merged model of '{source.name}' takes {size_words(size)} in {kind}, but {size_words(free)} are free on the disk of "
            f"{folder}. Nothing was written. Free some space, choose a smaller number format, or another folder with --to."
        )


def size_words(size: float) -> str:
    """Bytes in GB, small sizes in MB."""
    return f"{size / 1e9:.2f} GB" if size >= 50e6 else f"{size / 1e6:.1f} MB"


def free_at(target: Path) -> int:
    """Bytes free on the disk of a folder, which need not exist yet."""
    existing = next(folder for folder in (target, *target.absolute().parents) if folder.exists())
    return shutil.disk_usage(existing).free
