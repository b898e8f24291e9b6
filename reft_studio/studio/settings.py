"""Small choices that outlive the app: the reviewer's name, whether texts are masked, and what else pages remember."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from reft_studio.store import settings
from reft_studio.workspace import Workspace


@dataclass(frozen=True)
class StoredSettings:
    """The settings of one workspace, each of them anything JSON can hold."""

    workspace: Workspace

    def get(self, key: str, default: Any = None) -> Any:
        """The value kept under `key`, or `default`."""
        return settings.get(self.workspace, key, default)

    def set(self, key: str, value: Any) -> None:
        """Keep a value under `key`; it is on disk when this returns."""
        settings.set(self.workspace, key, value)
