"""A loaded model with its adapters and encoder, shared by all stages that run in one process."""

from __future__ import annotations

from pathlib import Path
from typing import overload

from reft_studio.integrity import check
from reft_studio.models.adapters import AdaptedModel
from reft_studio.models.batching import Encoder
from reft_studio.models.loading import LoadedModel, load
from reft_studio.models.memory import MemoryWork
from reft_studio.models.spec import DEFAULT, LoadSpec, LoraSpec
from reft_studio.progress import Progress


class Session:
    """One base per worker: teacher, aligned model and students are adapters on it."""

    def __init__(self, model: LoadedModel, *, max_length: int = 512) -> None:
        self.model = model
        self.adapted = AdaptedModel(model)
        self.encoder = Encoder(model, max_length=max_length)
        self._loaded: dict[str, Path] = {}

    @classmethod
    def open(
        cls, source: str, *, max_length: int = 512, template: str = "auto", loading: LoadSpec = DEFAULT, work: MemoryWork | None = None
    ) -> Session:
        """Load `source` (`lab`, a folder or a Hub id). Raises PrerequisiteError if that fails, or `work` certainly does not fit."""
        return cls(load(source, template=template, loading=loading, work=work), max_length=max_length)

    def remark(self, progress: Progress) -> None:
        """Warn about oddities of the model's folder and how it was read."""
        for remark in self.model.remarks:
            progress.warn(remark)

    def add(self, name: str, spec: LoraSpec, *, seed: int) -> None:
        """A fresh adapter; one loaded under that name is replaced."""
        self._loaded.pop(name, None)
        self.adapted.add(name, spec, seed=seed)

    @overload
    def ensure(self, name: str, folder: Path) -> str: ...
    @overload
    def ensure(self, name: str, folder: Path | None) -> str | None: ...

    def ensure(self, name: str, folder: Path | None) -> str | None:
        """Load the adapter in `folder` under `name` unless it is loaded; returns `name`, or None (the base) for no folder.

        Raises StoreError if its files do not match their recorded hashes.
        """
        if folder is None:
            return None
        if self._loaded.get(name) != folder:
            check(folder.parent, f"{folder.name}/", remedy="Make it again, or restore the folder from a backup.", wait=True)
            self.adapted.load(name, folder)
            self._loaded[name] = folder
        return name
