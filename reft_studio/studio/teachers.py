"""Teachers: those there are, and the jobs that prepare them or draw their map."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from reft_studio.errors import StoreError
from reft_studio.jobs.queue import JobQueue
from reft_studio.models.spec import DEFAULT, LoadSpec
from reft_studio.studio import memory
from reft_studio.studio.models import Models
from reft_studio.tasks import lab_data
from reft_studio.tasks.lab_data import AlignmentSets
from reft_studio.teacher.pool import PoolSpec as PoolSpec
from reft_studio.teacher.spec import TeacherSpec as TeacherSpec
from reft_studio.teacher.spec import default_optim as default_optim
from reft_studio.teacher.spec import source_of
from reft_studio.teacher.teacher import SHIPPED as SHIPPED
from reft_studio.teacher.teacher import TeacherInfo as TeacherInfo
from reft_studio.teacher.teacher import adopt, deliver, has_prompts, list_teachers, open_teacher
from reft_studio.teacher.teacher import check_target as check_target
from reft_studio.workspace import Workspace


@dataclass
class Teachers:
    """The teachers of one workspace and those that ship."""

    workspace: Workspace
    jobs: JobQueue
    models: Models

    def every(self) -> list[TeacherInfo]:
        """All of them: those that ship first."""
        return list_teachers(self.workspace)

    def find(self, teacher_id: str) -> TeacherInfo:
        """One of them by its id. Raises StoreError if there is none, or it is damaged."""
        return open_teacher(self.workspace, teacher_id)

    def adopt(self, folder: Path) -> str:
        """Copy a teacher's folder into the workspace; returns its id there. Raises StoreError if it holds no teacher, or a damaged one."""
        return adopt(self.workspace, folder)

    def deliver(self, teacher: TeacherInfo, out: Path) -> None:
        """Copy a finished teacher to a folder of the user's, whole or not at all. Raises PrerequisiteError if another thing is there."""
        deliver(teacher, out)

    def lab_sets(self, *, seed: int = 0) -> AlignmentSets:
        """The lab's prompts that a teacher is made of, as datasets of the workspace."""
        return lab_data.alignment(self.workspace, seed=seed)

    def prepare(self, spec: TeacherSpec, *, pool: dict[str, Sequence[str]] | None = None) -> str:
        """Queue a preparation, with the spec's sets or ones split from `pool` (harmful and harmless sets); returns the job.

        Raises PrerequisiteError if the model surely does not fit into memory.
        """
        memory.fit_teacher(spec)
        return self.jobs.submit("teacher", spec.params(pool=pool), title=f"Prepare a teacher for {spec.model}")

    def quick(self, model: str, *, loading: LoadSpec = DEFAULT, template: str = "auto") -> str:
        """Queue a teacher without training, from the prompts that ship; returns the job. Raises PrerequisiteError as `Models.fits`."""
        self.models.fits(model, loading)
        params = {"model": source_of(model), "loading": loading.model_dump(mode="json"), "template": template}
        return self.jobs.submit("quick_teacher", params, title=f"Quick teacher for {model}")

    def has_prompts(self, teacher: TeacherInfo) -> bool:
        """Whether the prompts it was made of are in this workspace."""
        return has_prompts(self.workspace, teacher)

    def draw_map(self, teacher_id: str) -> str:
        """Queue the map of a teacher at all token positions; returns the job.

        Raises StoreError if the prompts it was made of are not in this workspace, MissingModel if its base has to be added first.
        """
        teacher = open_teacher(self.workspace, teacher_id)
        if not self.has_prompts(teacher):
            raise StoreError(f"The prompts that '{teacher.title}' was made of are not in this workspace, so its map cannot be drawn here.")
        self.models.require(teacher.model)
        return self.jobs.submit_once("teacher_map", {"teacher": teacher_id}, title=f"Draw the map of {teacher.title}")
