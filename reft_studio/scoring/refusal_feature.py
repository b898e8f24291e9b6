"""A teacher's refusal feature as a scorer: any teacher, trained or an unchanged model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from reft_studio.data.dataset import Dataset
from reft_studio.errors import SpecError
from reft_studio.progress import Progress
from reft_studio.scoring.content import teacher_content
from reft_studio.scoring.prepared import Prepared
from reft_studio.scoring.scorer import Scorer, ScorerInfo
from reft_studio.scoring.scores import ScoreSet
from reft_studio.teacher.teacher import TeacherInfo
from reft_studio.workspace import Workspace

if TYPE_CHECKING:
    from reft_studio.models.session import Session


class RefusalFeatureScorer(Scorer):
    """Similarity of the prompt to the refusal feature."""

    info: ClassVar[ScorerInfo] = ScorerInfo(
        name="refusal_feature",
        title="Refusal feature of a teacher",
        reads="prompt",
        misses="Harmful answers to harmless prompts, prompts worded to evade it, and languages that the teacher's model does not read.",
        needs="model",
        cost="as long as the model takes to read the prompts",
        measure="similarity of the prompt to the refusal feature",
    )

    def content(self, prepared: Prepared) -> dict[str, Any]:
        return teacher_content(_teacher(prepared))

    def score(
        self, workspace: Workspace, dataset: Dataset, prepared: Prepared, progress: Progress, *, session: Session | None = None
    ) -> ScoreSet:
        """Similarities to the refusal feature; if there are text scores, the rows with the highest of them are scored first.

        Loads the teacher's model unless a `session` with it is given.
        """
        teacher = _teacher(prepared)
        if (ready := self.stored(workspace, dataset, teacher)) is not None:
            return ready
        from reft_studio.models.session import Session
        from reft_studio.scoring.partial import quick_scores
        from reft_studio.scoring.refusal_similarity import score

        if session is None:
            progress.stage("load the model", 1, 2)
            session = Session.open(teacher.model, template=teacher.template, loading=teacher.loading)
            session.remark(progress)
            progress.stage("score the rows", 2, 2)
        return score(workspace, dataset, teacher, session, progress, first=quick_scores(workspace, dataset))


def _teacher(prepared: Prepared) -> TeacherInfo:
    if not isinstance(prepared, TeacherInfo):
        raise SpecError(f"'{prepared.id}' is no teacher, so it has no refusal feature. Choose a teacher, or its own scorer.")
    return prepared
