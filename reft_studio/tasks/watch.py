"""Checks a student while it trains: greedy responses to a few prompts of the evaluation, graded at once.

The run is unaffected: no random number is used, the student's training mode is restored, and the time is excluded from tokens per second.
HS and FA of so few prompts have wide intervals; the evaluation after the run is what counts.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from reft_studio.errors import StudioError, is_out_of_memory
from reft_studio.evaluation.evaluate import Answered, judged
from reft_studio.evaluation.grade import SetName
from reft_studio.evaluation.journal import AnswerJournal
from reft_studio.evaluation.judges import JUDGES, PHRASES, judge_for, needs_model
from reft_studio.evaluation.judges.spec import JudgeSpec
from reft_studio.evaluation.result import Graded, grade_of
from reft_studio.evaluation.suite import PREFERENCE, Suite, suite_from
from reft_studio.jobs.job import JobContext
from reft_studio.models.generation import complete
from reft_studio.models.session import Session
from reft_studio.progress import Progress
from reft_studio.stats import Estimate
from reft_studio.training.context import STUDENT
from reft_studio.training.reporting import report
from reft_studio.training.run_folder import checkpoint_folder
from reft_studio.training.run_names import run_title
from reft_studio.training.spec import RunSpec
from reft_studio.training.watch import Line, Observer, WatchSpec
from reft_studio.workspace import Workspace

SHARE = 0.05
"""Maximum share of the training time spent on checks, unless a person sets the interval."""
TOKENS = 64
"""Maximum response length; whether it refuses shows in its first words."""
SAMPLES = 2
"""Responses of each kind that are stored."""
CUT = 600
"""Maximum characters of a stored prompt or response."""


class Watcher:
    """Implements `StudentCheck` for one run."""

    def __init__(self, workspace: Workspace, session: Session, suite: Suite, judge: JudgeSpec, spec: WatchSpec, progress: Progress) -> None:
        self._workspace, self._session, self._spec, self._progress = workspace, session, spec, progress
        self._judge_spec = judge if usable(judge) else PHRASES.model_copy(update={"name": suite.compliance})
        self._judge = judge_for(self._judge_spec)
        self._suite = quick(suite, spec.prompts)
        self._rows = self._suite.rows(workspace)
        self._asked: list[tuple[SetName, int]] = [(name, index) for name, rows in self._rows.items() for index in range(len(rows))]
        messages = [{"role": "user", "content": self._rows[name][index]["prompt"]} for name, index in self._asked]
        self._ids = [session.encoder.prompt_ids([message]) for message in messages]
        self._started: float | None = None
        self._spent = self._last = 0.0
        self._broken = False

    def check(self, step: int, steps: int, on: Sequence[str] = ()) -> Line | None:
        started = time.perf_counter()
        try:
            line = self._line(step, steps, on)
        except (StudioError, RuntimeError, MemoryError) as exc:  # a look that fails is no reason to lose the run
            self._broken = True
            reason = "there is not enough memory for it" if is_out_of_memory(exc) else f"{type(exc).__name__}: {str(exc)[:200]}"
            self._progress.warn(f"The model is not looked at while it trains: {reason}. Training goes on.")
            return None
        self._last = time.perf_counter() - started
        self._spent += self._last
        return {**line, "seconds": round(self._last, 3)}

    def due(self, step: int, steps: int) -> bool:
        if self._broken:
            return False
        if self._spec.every is not None:
            return step in (1, steps) or step % self._spec.every == 0
        if self._started is None:
            self._started = time.perf_counter()
        trained = time.perf_counter() - self._started - self._spent
        return step == 1 or self._spent + self._last <= SHARE * trained

    def _line(self, step: int, steps: int, on: Sequence[str]) -> Line:
        journal = AnswerJournal(self._workspace, None)
        device = self._session.model.device
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            longest = max(part.max_new_tokens for part in self._suite.sets)
            for answer in complete(self._session.adapted, STUDENT, self._ids, max_new_tokens=longest, on=on):
                self._progress.check()
                name, index = self._asked[answer.index]
                journal.add_answer(name, (index, answer.text, answer.stop))
        result, graded = judged(Answered("student", self._suite, self._rows, {}, journal), self._judge, spec=self._judge_spec)
        scores = {"hs": result.hs, "over_refusal": result.over_refusal, "fa": result.fa}
        return {
            "step": step,
            "steps": steps,
            "judge": self._judge.name,
            **{name: _numbers(estimate) for name, estimate in scores.items()},
            "answers": [_answer(row, self._judge.name) for row in _samples(graded)],
        }


@contextmanager
def observing(
    context: JobContext, session: Session, spec: RunSpec, suite: Suite | None, judge: JudgeSpec, watch: WatchSpec | None
) -> Iterator[Observer]:
    """The observer of one run: its student checks (none without `watch`), its event files, and the tracker it reports to."""
    folder = checkpoint_folder(context.workspace, spec.run_id)
    to = watch.report_to if watch is not None else "none"
    name = run_title(context.workspace, spec)
    tracker = report(to, context.workspace.folder("reports_to", to), name=name, run_id=spec.run_id, config=spec.model_dump(mode="json"))
    student_check = _watcher(context, session, suite, judge, watch)
    observer = Observer(context, student_check=student_check, folder=folder, reports=[tracker] if tracker is not None else [])
    try:
        yield observer
    finally:
        observer.close()


def _watcher(context: JobContext, session: Session, suite: Suite | None, judge: JudgeSpec, spec: WatchSpec | None) -> Watcher | None:
    """The student check of a run; None if not requested, without prompts, or if it would be slow and was not requested explicitly."""
    suite = suite_from(spec.suite) if spec is not None and spec.suite is not None else suite
    if spec is None or suite is None or not spec.prompts:
        return None
    slow = session.model.device.type == "cpu" and not suite.is_lab
    if slow and not spec.always and spec.every is None:
        return None
    return Watcher(context.workspace, session, suite, judge, spec, context)


def usable(judge: JudgeSpec) -> bool:
    """Whether a judge can grade during training: not one that is a model, or a person."""
    return not JUDGES.get(judge.name).by_people and not needs_model(judge.name)


def quick(suite: Suite, prompts: int) -> Suite:
    """The first prompts of each kind, with short responses. Preferences against a reference model are left out."""
    parts = [part for part in suite.sets if part.benchmark != PREFERENCE]
    short = [
        part.model_copy(update={"rows": min(prompts, part.rows or prompts), "max_new_tokens": min(TOKENS, part.max_new_tokens)})
        for part in parts
    ]
    return suite.model_copy(update={"sets": tuple(short)})


def _samples(graded: Sequence[Graded]) -> list[Graded]:
    """The first responses of each kind."""
    kinds = dict.fromkeys(row.set for row in graded)
    return [row for kind in kinds for row in [row for row in graded if row.set == kind][:SAMPLES]]


def _answer(row: Graded, judge: str) -> dict[str, Any]:
    grade = grade_of(row, judge)
    verdict = grade.verdict if grade is not None else None
    return {"set": row.set, "prompt": row.prompt[:CUT], "answer": row.completion[:CUT], "verdict": verdict}


def _numbers(estimate: Estimate | None) -> list[float] | None:
    return [round(estimate.value, 2), round(estimate.low, 2), round(estimate.high, 2), estimate.n] if estimate is not None else None
