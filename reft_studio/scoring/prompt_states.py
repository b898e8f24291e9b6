"""Shared by scorers that read prompts through a teacher's model: its states at the last prompt token, of examples and of a dataset."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from reft_studio.data.dataset import Dataset
from reft_studio.errors import SpecError
from reft_studio.integrity import sealed_folder
from reft_studio.progress import Progress
from reft_studio.scoring.content import teacher_content
from reft_studio.scoring.partial import ScoreHeader, quick_scores
from reft_studio.scoring.prepared import Prepared, PreparedScorer
from reft_studio.scoring.preparing import calibrate, id_of, opened, split
from reft_studio.scoring.scorer import Examples, Scorer, ScorerSpec
from reft_studio.scoring.scores import ScoreSet, score_key
from reft_studio.teacher.quick import calibration_prompts
from reft_studio.teacher.teacher import TeacherInfo, open_teacher
from reft_studio.workspace import Workspace

if TYPE_CHECKING:
    from reft_studio.models.session import Session
    from reft_studio.scoring.engine import Similarity

Labelled = tuple[NDArray[np.float32], NDArray[np.bool_]]
"""States of prompts, (n, d_model), and which of them are harmful, (n,)."""
Fit = Callable[[Path, Labelled, Labelled], NDArray[np.float32]]
"""Fits on the first prompts and writes the result to a folder; returns the scores of the second, held-out ones."""


def teacher_of(workspace: Workspace, spec: ScorerSpec) -> TeacherInfo:
    """The teacher that a spec names, or its base without the adapter. Raises SpecError if none is named."""
    if not spec.teacher:
        raise SpecError(f"'{spec.scorer}' reads through the model of a teacher, and none is named. Name one, e.g. 'lab'.")
    return read_through(workspace, spec.teacher, weights=spec.weights)


def teacher_of_prepared(workspace: Workspace, prepared: Prepared) -> TeacherInfo:
    """The teacher that a scorer was prepared on."""
    return read_through(workspace, str(prepared.spec["teacher"]), weights=str(prepared.spec.get("weights", "teacher")))


def read_through(workspace: Workspace, name: str, *, weights: str) -> TeacherInfo:
    """A teacher by its id; with the weights "base" without its adapter."""
    teacher = open_teacher(workspace, name)
    return teacher if weights == "teacher" else replace(teacher, spec={**teacher.spec, "kind": "ready"})


def facts_of(teacher: TeacherInfo) -> dict[str, Any]:
    """What the spec of a prepared scorer stores about its teacher."""
    return {"teacher": teacher.id, "model": teacher.model, "states": states_content(teacher)}


def states_content(teacher: TeacherInfo) -> dict[str, Any]:
    """Everything a teacher's states depend on, as hashes; its refusal feature is not part of it."""
    return {name: value for name, value in teacher_content(teacher).items() if name != "feature"}


def session_of(teacher: TeacherInfo) -> Session:
    """The teacher's model, loaded as when the teacher was prepared."""
    from reft_studio.models.session import Session

    return Session.open(teacher.model, template=teacher.template, loading=teacher.loading, max_length=teacher.max_length)


def prompt_states(prompts: Sequence[str], teacher: TeacherInfo, session: Session, progress: Progress) -> NDArray[np.float32]:
    """(n, d_model) states at the last prompt token after the teacher's layer."""
    from reft_studio.models.batching import Encoder
    from reft_studio.models.features import last_prompt_features
    from reft_studio.scoring.refusal_similarity import check_match

    check_match(session, teacher)
    encoder = Encoder(session.model, max_length=teacher.max_length)
    ids = [encoder.prompt_ids([{"role": "user", "content": prompt}]) for prompt in prompts]
    with session.adapted.active(session.ensure("teacher", teacher.adapter)) as backbone:
        states = last_prompt_features(
            session.model, backbone, ids, layers=[teacher.layer], progress=lambda done: progress.progress(done, len(ids))
        )
    return np.asarray(states[:, 0].numpy())


def prepare_prompt_states(
    scorer: Scorer, workspace: Workspace, spec: ScorerSpec, examples: Examples, progress: Progress, *, version: int, fit: Fit
) -> PreparedScorer:
    """Fit on the states of one part of the examples' prompts, set the threshold on the rest. Raises SpecError if no teacher is named."""
    teacher = teacher_of(workspace, spec)
    name = id_of(spec, version, teacher_content(teacher), examples.prompts, examples.harmful.tolist())
    if workspace.folder("scorers", name).is_dir():
        return opened(workspace, name)
    fitted, held_out = split(examples.prompts, examples.harmful, seed=spec.seed)
    held_out = examples.calibrating(held_out)
    states = prompt_states(examples.prompts, teacher, session_of(teacher), progress)
    with sealed_folder(workspace.folder("scorers", name)) as building:
        scores = fit(building, *((states[positions], examples.harmful[positions]) for positions in (fitted, held_out)))
        title = f"{scorer.info.title} on {teacher.title}"
        calibrate(building, spec, examples, examples.prompts, held_out, scores, title=title, extra=facts_of(teacher))
    return opened(workspace, name)


def score_prompt_states(
    scorer: Scorer, workspace: Workspace, dataset: Dataset, prepared: Prepared, progress: Progress, *, similarity: Similarity
) -> ScoreSet:
    """Score a dataset by a function of those states, the highest of a row's turns; an interrupted run resumes."""
    from reft_studio.scoring.refusal_similarity import facts, longest_prompt, states_scored

    teacher = teacher_of_prepared(workspace, prepared)
    key = score_key(scorer.info.name, prepared.id, prepared.created)
    header: ScoreHeader = {"key": key, "scorer": scorer.info.name, "teacher": prepared.id, "threshold": prepared.threshold}
    content, first, session = scorer.content(prepared), quick_scores(workspace, dataset), session_of(teacher)
    session.remark(progress)
    scoring = states_scored(
        workspace, dataset, teacher, session, progress, content=content, similarity=similarity, header=header, first=first
    )
    with scoring as (result, numerics):
        metadata = facts(result, teacher, numerics, longest=longest_prompt(session, teacher))
        return scorer.store(workspace, dataset, prepared, result, metadata)


def shipped_prompts() -> Examples:
    """The calibration prompts of the quick teacher: a model reads them in about a minute on two cores."""
    calibration = calibration_prompts()
    return Examples(
        [prompt.prompt for prompt in calibration], [""] * len(calibration), np.array([prompt.side == "harmful" for prompt in calibration])
    )
