"""Two ways to see the whole job at once: a quick start that does it, and the finished example, shipped and copied on request."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reft_studio.data.dataset import open_dataset
from reft_studio.errors import StoreError
from reft_studio.integrity import seal
from reft_studio.jobs.foreground import ProgressReceiver
from reft_studio.jobs.queue import JobQueue
from reft_studio.models.spec import PRESETS
from reft_studio.store import settings
from reft_studio.teacher.spec import source_of
from reft_studio.workspace import ASSETS, Workspace, new_folder, read_json, write_json

if TYPE_CHECKING:
    from reft_studio.tasks.demo import DemoResult as DemoResult
    from reft_studio.tasks.demo import DemoSpec

EXAMPLE = ASSETS / "lab" / "example"
KINDS = ("datasets", "scores", "runs", "evaluations")


@dataclass
class ExampleProject:
    """The example of one workspace."""

    workspace: Workspace
    jobs: JobQueue

    def quick_start(self, **changes: Any) -> str:
        """Do the whole job on a small sample with the lab's ready teacher: plain finetuning beside Ref-Teacher. Returns the job."""
        params = {"shipped_teacher": True, "methods": ["sft", "ref_teacher"], "steps": PRESETS["lab"].optim.steps, "rows": 1000, **changes}
        return self.jobs.submit("demo", params, title="First audit: sample, filter, two runs, comparison")

    def demo_spec(self, wanted: Mapping[str, Any]) -> DemoSpec:
        """The settings of a demo in this process; on a real model with the usual task and steps. Raises SpecError for what cannot be."""
        from reft_studio.tasks.demo import DemoSpec, parts  # loads models

        for name in wanted.get("methods", ()):
            parts(name)
        if wanted.get("model", "lab") != "lab":
            usual = {"task": "sst2" if wanted.get("data") else "sentiment", "steps": PRESETS["real"].optim.steps}
            wanted = {**usual, **wanted, "model": source_of(wanted["model"])}
        return DemoSpec.checked(**wanted)

    def demo(self, spec: DemoSpec, told: ProgressReceiver) -> DemoResult:
        """Do the whole job in this process."""
        from reft_studio.tasks.demo import demo

        return demo(self.workspace, spec, told)

    def load(self) -> str:
        """Copy the finished example into the workspace and choose it; returns its dataset."""
        self.workspace.require_writable()
        dataset = load(self.workspace)
        settings.set(self.workspace, "dataset", open_dataset(self.workspace, dataset).id)
        return dataset

    @property
    def made_on(self) -> str | None:
        """The day the shipped example was made; None if none ships."""
        return made_on()


def available() -> bool:
    """Whether this installation ships the example."""
    return (EXAMPLE / "example.json").is_file()


def load(workspace: Workspace) -> str:
    """Copy what is not there yet; returns the id of its user data. Raises StoreError if the example does not ship."""
    if not available():
        raise StoreError("The finished example does not ship with this installation. Press 'Try it now' to make one.")
    for kind in KINDS:
        for folder in sorted((EXAMPLE / kind).iterdir()):
            final = workspace.folder(kind, folder.name)
            if kind == "scores":
                final.mkdir(parents=True, exist_ok=True)
                for scores in folder.iterdir():
                    _copy(scores, final / scores.name)
            else:
                _copy(folder, final)
    return str(read_json(EXAMPLE / "example.json")["dataset"])


def made_on() -> str | None:
    """The day the example was made, for its badge."""
    return str(read_json(EXAMPLE / "example.json")["made_on"]) if available() else None


def pack(workspace: Workspace, *, dataset: str, runs: list[str], subjects: list[str], made_on: str, target: Path = EXAMPLE) -> None:
    """Write the example from a workspace in which it was made. Every manifest and result is marked as the example's."""
    with new_folder(target) as building:
        for kind, names in (("datasets", [dataset]), ("scores", [dataset]), ("runs", runs), ("evaluations", [*runs, *subjects])):
            for name in names:
                shutil.copytree(workspace.folder(kind, name), building / kind / name)
        for path in (*building.glob("datasets/*/manifest.json"), *building.glob("runs/*/result.json")):
            write_json(path, {**read_json(path), "example": made_on})
            seal(path.parent, [path.name])
        write_json(building / "example.json", {"dataset": dataset, "runs": runs, "made_on": made_on})


def _copy(source: Path, final: Path) -> None:
    if not final.exists():
        with new_folder(final) as building:
            shutil.copytree(source, building, dirs_exist_ok=True)
