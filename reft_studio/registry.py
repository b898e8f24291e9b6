"""Names of interchangeable parts (defenses, scorers, judges, benchmarks, file formats, job kinds), imported only when used."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Generic, TypeVar, cast

from reft_studio.errors import SpecError

T = TypeVar("T")


class Registry(Generic[T]):
    """Maps a name to `module:attribute`, so that listing names imports nothing and one line adds a part."""

    def __init__(self, kind: str, entries: Mapping[str, str]) -> None:
        self.kind = kind
        self._entries = dict(entries)

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def checked(self, name: str) -> str:
        """The name. Raises SpecError, with the allowed names, if nothing is called so."""
        if name not in self._entries:
            raise SpecError(f"There is no {self.kind} '{name}'. Choose one of: {', '.join(self._entries)}.")
        return name

    def get(self, name: str) -> T:
        """The part called `name`. Raises SpecError, with the allowed names, if there is none."""
        module, _, attribute = self._entries[self.checked(name)].partition(":")
        return cast(T, getattr(import_module(module), attribute))

    def all(self) -> dict[str, T]:
        """Every part by name; imports them all."""
        return {name: self.get(name) for name in self}
