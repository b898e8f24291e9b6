"""Parses and checks a GGUF file's header: is the file complete, what does it contain, can it be converted? No torch."""

from __future__ import annotations

import mmap
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reft_studio.errors import PrerequisiteError

_MAGIC = b"GGUF"
_VERSIONS = (2, 3)
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
"""`struct` codes by the format's type numbers; 8 is a string, 9 an array."""
_STRING, _ARRAY = 8, 9
_LONGEST_TEXT = 1 << 20
"""Longer text values, in bytes, are skipped (a chat template is some kB)."""
_SHORT_ARRAY = 64


@dataclass(frozen=True)
class GgufFacts:
    """A complete GGUF file. `parameters` is the number of weights, `types` their number formats, `values` the short metadata."""

    path: Path
    size: int
    architecture: str
    parameters: int
    types: tuple[str, ...]
    largest: int
    """Numbers in the largest tensor."""
    values: dict[str, Any]

    @property
    def title(self) -> str:
        return str(self.values.get("general.name") or self.path.stem)

    @property
    def licence(self) -> str:
        return str(self.values.get("general.license") or "")

    @property
    def languages(self) -> str:
        """As the file names them, like `en, fr`."""
        named = self.values.get("general.languages")
        return ", ".join(str(language) for language in named) if isinstance(named, list) else ""

    @property
    def chat(self) -> bool:
        """Whether the file contains a chat template."""
        return bool(self.values.get("tokenizer.chat_template"))


class _Cut(Exception):
    """The file ends inside its header, or a length in it is impossible."""


class _Reader:
    """Reads little-endian values one after the other from bytes."""

    def __init__(self, data: mmap.mmap | bytes) -> None:
        self.data, self.at = data, 0

    def take(self, code: str) -> Any:
        width = struct.calcsize("<" + code)
        return struct.unpack("<" + code, self.skip(width))[0]

    def skip(self, size: int) -> bytes:
        """The next bytes, returned only if they are few."""
        if size < 0 or self.at + size > len(self.data):
            raise _Cut
        begin, self.at = self.at, self.at + size
        return self.data[begin : self.at] if size <= _LONGEST_TEXT else b""

    def text(self) -> str:
        return self.skip(self.take("Q")).decode("utf-8", "replace")

    def value(self, kind: int) -> Any:
        """A value of a type; of a long array its length."""
        if kind == _STRING:
            return self.text()
        if kind == _ARRAY:
            return self._array()
        if kind not in _SCALARS:
            raise _Cut
        return self.take(_SCALARS[kind])

    def _array(self) -> Any:
        kind, count = self.take("I"), self.take("Q")
        if count > len(self.data) or kind == _ARRAY:  # no model has arrays of arrays; a chain of them would go too deep
            raise _Cut
        if count <= _SHORT_ARRAY:
            return [self.value(kind) for _ in range(count)]
        if kind in _SCALARS:
            self.skip(count * struct.calcsize("<" + _SCALARS[kind]))
        else:
            for _ in range(count):
                self.value(kind)
        return count


def read_gguf(path: Path) -> GgufFacts:
    """Read and check a file's header. Raises PrerequisiteError if it is no GGUF file, truncated, without tokenizer or unsupported here."""
    size = path.stat().st_size
    if size < 32:
        raise _cut(path, size)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        try:
            facts = _facts(path, _Reader(data), size)
        except _Cut as exc:
            raise _cut(path, size) from exc
    parts = facts.values.get("split.count")
    if isinstance(parts, int) and parts > 1:
        raise PrerequisiteError(
            f"{path.name} is one of {parts} parts of a model. Join them first (gguf-split --merge), or take a file in one part."
        )
    _check_tokenizer(facts)
    _check_types(facts)
    return facts


def _facts(path: Path, reader: _Reader, size: int) -> GgufFacts:
    if reader.skip(4) != _MAGIC:
        raise PrerequisiteError(f"{path.name} is no GGUF file: it does not begin with GGUF. Give a .gguf file or a Hugging Face folder.")
    version, tensors, pairs = reader.take("I"), reader.take("Q"), reader.take("Q")
    if version not in _VERSIONS:
        raise PrerequisiteError(f"{path.name} is GGUF of version {version}; versions 2 and 3, little endian, can be read. Convert it anew.")
    values: dict[str, Any] = {}
    for _ in range(pairs):
        key, kind = reader.text(), reader.take("I")
        values[key] = reader.value(kind)
    tensor_facts = [_tensor(reader) for _ in range(tensors)]
    alignment = values.get("general.alignment", 32)
    if not isinstance(alignment, int) or alignment < 1:
        raise _Cut
    begin = -(-reader.at // alignment) * alignment
    end = begin + max((offset + length for _, _, offset, length in tensor_facts), default=0)
    if end > size:
        raise _cut(path, size, end)
    architecture = str(values.get("general.architecture") or "")
    types = tuple(sorted({name for name, *_ in tensor_facts}))
    counts = [count for _, count, *_ in tensor_facts]
    return GgufFacts(path, size, architecture, sum(counts), types, max(counts, default=0), values)


def _tensor(reader: _Reader) -> tuple[str, int, int, int]:
    """Number format, count of numbers, offset and length in bytes of a tensor; an unknown format has length 0."""
    from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType

    reader.text()
    dimensions = reader.take("I")
    if dimensions > 8:
        raise _Cut
    count = 1
    for _ in range(dimensions):
        count *= reader.take("Q")
    number, offset = reader.take("I"), reader.take("Q")
    try:
        kind = GGMLQuantizationType(number)
    except ValueError:
        return f"number {number}", count, offset, 0
    block, width = GGML_QUANT_SIZES[kind]
    return kind.name, count, offset, count * width // block


def _check_tokenizer(facts: GgufFacts) -> None:
    if not facts.values.get("tokenizer.ggml.model") or not facts.values.get("tokenizer.ggml.tokens"):
        raise PrerequisiteError(
            f"{facts.path.name} has no tokenizer in it, so text cannot be turned into its tokens. Take a GGUF file of the whole model, not "
            "one of the weights alone (an adapter or a vision projector)."
        )


def _check_types(facts: GgufFacts) -> None:
    unknown = [name for name in facts.types if not readable(name)]
    if unknown:
        raise PrerequisiteError(
            f"{facts.path.name} has weights in {', '.join(unknown)}, which cannot be turned back into numbers here. Take the model in "
            "another quantisation: Q4_0, Q4_1, Q4_K, Q5_K, Q6_K, Q8_0, F16, BF16 or F32."
        )


def readable(kind: str) -> bool:
    """Whether the package `gguf` can dequantise this number format; tested with one block of zeros."""
    import numpy as np
    from gguf import GGMLQuantizationType, dequantize
    from gguf.constants import GGML_QUANT_SIZES

    if kind not in GGMLQuantizationType.__members__:
        return False
    if kind in ("F32", "F16"):
        return True
    quantised = GGMLQuantizationType[kind]
    try:
        with np.errstate(all="ignore"):
            dequantize(np.zeros((1, GGML_QUANT_SIZES[quantised][1]), np.uint8), quantised)
    except RuntimeError:  # what it raises for a format that it only knows by name is one
        return False
    return True


def _cut(path: Path, size: int, expected: int | None = None) -> PrerequisiteError:
    reason = (
        f"it has {size:,} bytes, but its header promises {expected:,}" if expected else f"it ends after {size:,} bytes, within its header"
    )
    return PrerequisiteError(f"{path.name} is cut off or damaged: {reason}. Copy or download it again.")
