"""Costs of runs in comparison, and their multiple of plain finetuning: by each run's own counters, and by the clock of a plain run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from reft_studio.evaluation.costs import ledger_of
from reft_studio.training.ledger import OF_TRAINING, Extra, Ledger
from reft_studio.training.run_folder import RunInfo, list_runs
from reft_studio.training.run_names import titles
from reft_studio.training.spec import RunSpec
from reft_studio.workspace import Workspace

GROUPS: dict[str, tuple[str, ...]] = {
    "Load": ("load", "load again"),
    "Filter and prepare": ("filter", "prepare"),
    "Train": ("train", "finish"),
    "Answers to learn from": ("teacher states", "start weights"),
    "Checks during training": ("looks",),
    "Evaluate": ("answer", "grade"),
}
"""Groups of stages in charts and tables."""
NO_LEDGER = "it was made by a version that kept no ledger"
_ITSELF = "it is plain finetuning itself"
_NONE = "no plain SFT run has the same data, base, steps and settings"


@dataclass(frozen=True)
class Timed:
    """A run and a plain one of the same data and steps: seconds of the method's own work and peak memory of both.

    One run each, by the clock: on a machine with other load, times vary accordingly.
    """

    run: str
    title: str
    seconds: float
    plain_seconds: float
    memory_mb: int | None
    plain_memory_mb: int | None

    @property
    def ratio(self) -> float:
        """Multiple of the plain run's time."""
        return self.seconds / max(self.plain_seconds, 1e-9)

    @property
    def words(self) -> str:
        """`1.84 × the time of 'Plain SFT' (9.4 s against 5.1 s), 108 MB more memory`."""
        words = f"{self.ratio:.2f} × the time of '{self.title}' ({self.seconds:.1f} s against {self.plain_seconds:.1f} s)"
        if self.memory_mb is None or self.plain_memory_mb is None:
            return words
        more = self.memory_mb - self.plain_memory_mb
        return f"{words}, {abs(more):,} MB {'more' if more >= 0 else 'less'} memory at most"


@dataclass(frozen=True)
class RunCost:
    """Costs of one run. `why` is the reason if there is no ledger; `withheld` the reason if it is compared with no plain run."""

    run: str
    title: str
    method: str
    ledger: Ledger | None
    timed: Timed | None
    withheld: str

    @property
    def why(self) -> str:
        return "" if self.ledger is not None else NO_LEDGER

    @property
    def extra(self) -> Extra:
        """By the run's own counters."""
        return Extra(None, None, self.why) if self.ledger is None else self.ledger.extra

    def seconds(self, group: str) -> float:
        """Seconds of a group of stages; 0 without a ledger."""
        return 0.0 if self.ledger is None else self.ledger.time_of(*GROUPS[group])

    def peak(self, group: str) -> int | None:
        """Peak memory of a group of stages, if measured."""
        return None if self.ledger is None else self.ledger.peak_of(*GROUPS[group])


def costs_of(workspace: Workspace, runs: Sequence[str]) -> list[RunCost]:
    """The costs of these runs, in their order; models that are no run, and runs that are gone, are left out."""
    every = {run.run_id: run for run in list_runs(workspace)}
    names = titles(workspace)
    return [_cost(workspace, every[run], every, names) for run in runs if run in every]


def cost_reasons(costs: Sequence[RunCost]) -> list[str]:
    """What is missing in the numbers, one sentence per reason, with the runs it applies to."""
    by_sentence: dict[str, list[str]] = {}
    for cost in costs:
        if cost.why:
            by_sentence.setdefault(f"No costs are known of {{}}: {cost.why}.", []).append(cost.title)
            continue
        if cost.extra.tokens is None:
            by_sentence.setdefault(f"The count beside plain finetuning is withheld for {{}}: {cost.extra.why}.", []).append(cost.title)
        if cost.withheld and cost.withheld != _ITSELF:
            by_sentence.setdefault(f"The time beside plain finetuning is withheld for {{}}: {cost.withheld}.", []).append(cost.title)
    return [sentence.format(", ".join(dict.fromkeys(runs))) for sentence, runs in by_sentence.items()]


def _cost(workspace: Workspace, run: RunInfo, every: dict[str, RunInfo], names: dict[str, str]) -> RunCost:
    ledger = ledger_of(workspace, run)
    timed, withheld = _compare_to_plain(run, ledger, every, names)
    return RunCost(run.run_id, names[run.run_id], run.spec.method, ledger, timed, withheld)


def _compare_to_plain(run: RunInfo, ledger: Ledger | None, every: dict[str, RunInfo], names: dict[str, str]) -> tuple[Timed | None, str]:
    """A plain run to compare with, or the reason why there is none."""
    if ledger is None:
        return None, NO_LEDGER
    if _is_plain(run.spec):
        return None, _ITSELF
    plain_runs = [candidate for candidate in every.values() if _is_plain(candidate.spec) and _alike(candidate.spec, run.spec)]
    if not plain_runs:
        return None, _NONE
    plain = min(reversed(plain_runs), key=lambda candidate: candidate.spec.seed != run.spec.seed)  # of its seed, else the newest
    other = plain.ledger()
    if other is None:
        return None, f"the plain run '{names[plain.run_id]}' kept no ledger"
    if other.device != ledger.device:
        return None, f"the plain run '{names[plain.run_id]}' was on {other.device}, this one on {ledger.device}"
    spent, plain_spent = (candidate.time_of(*OF_TRAINING) for candidate in (ledger, other))
    peaks = (candidate.peak_of(*OF_TRAINING) for candidate in (ledger, other))
    return Timed(plain.run_id, names[plain.run_id], spent, plain_spent, *peaks), ""


def _is_plain(spec: RunSpec) -> bool:
    return spec.method == "sft" and not spec.filter and spec.aligned is None


def _alike(plain: RunSpec, spec: RunSpec) -> bool:
    """Whether the user rows per step, the steps and everything that affects the cost of a pass are the same."""
    same = ("model", "dataset", "template", "stop_after", "optim")
    loadings = (each.loading.model_dump(exclude={"device"}) for each in (plain, spec))
    return (
        all(getattr(plain, name) == getattr(spec, name) for name in same)
        and plain.lora == spec.lora
        and len({repr(loading) for loading in loadings}) == 1
    )
