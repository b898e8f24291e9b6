"""Teachers: those there are, and the jobs that prepare them or draw their map."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from reft_studio.errors import StoreError
from reft_studio.jobs.queue import JobQueue
from reft_studio.models.spec import DEFAULT, LoadSpec
from reft_studio.studio import memory
from reft_studio.studio.models import Models
from reft_studio.teacher.spec import TeacherSpec as TeacherSpec
from reft_studio.teacher.spec import default_optim as default_optim
from reft_studio.teacher.spec import source_of
from reft_studio.teacher.teacher import TeacherInfo as TeacherInfo
from reft_studio.teacher.teacher import has_prompts, list_teachers, open_teacher
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
