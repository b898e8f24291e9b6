"""The models that chat has in memory: published by the model host in a file, for every process that wants to delete one."""

from __future__ import annotations

import json
from collections.abc import Collection

from reft_studio.jobs.process import Process
from reft_studio.workspace import Workspace, write_json

FILE = "chat-models.json"


def tell(workspace: Workspace, models: Collection[str]) -> None:
    """Publish the ids of the models in memory, replacing the earlier ones."""
    write_json(workspace.root / FILE, {"process": str(Process.current()), "models": sorted(models)})


def loaded(workspace: Workspace) -> set[str]:
    """The ids of the models that chat has in memory; empty once its process is gone."""
    try:
        content = json.loads((workspace.root / FILE).read_bytes())
        return set(map(str, content["models"])) if Process.parse(content["process"]).alive() else set()
    except FileNotFoundError:
        return set()
    except (OSError, ValueError, KeyError, TypeError):  # damaged: its process writes it anew at the next answer
        return set()
