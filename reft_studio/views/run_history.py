"""Finished runs as people keep them: names, tags and notes, what each cost, and in which settings two of them differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from reft_studio.store import run_notes
from reft_studio.store.run_notes import NOTHING, RunNote
from reft_studio.training.naming import describe
from reft_studio.training.run_folder import cost_words, list_runs, open_run
from reft_studio.training.run_names import resolver, run_names
from reft_studio.workspace import Workspace

UNSET = "not set"


@dataclass(frozen=True)
class Kept:
    """A finished run with what was said of it; `cost` is empty for one of a version that kept no ledger."""

    run_id: str
    title: str
    note: RunNote
    created: str
    steps: int
    seconds: float
    cost: str


@dataclass(frozen=True)
class Difference:
    """A setting in which two runs differ, as the form calls it, with its value in either."""

    key: str
    label: str
    first: str
    second: str


@dataclass(frozen=True)
class RunHistory:
    """The finished runs of a workspace."""

    workspace: Workspace

    def every(self) -> list[Kept]:
        """All of them, newest first."""
        names, notes = run_names(self.workspace), run_notes.every(self.workspace)
        found = []
        for run in reversed(list_runs(self.workspace)):
            costs, result = run.costs(), run.result
            words = "" if costs is None else cost_words(costs)
            found.append(
                Kept(
                    run_id=run.run_id,
                    title=names[run.run_id].title,
                    note=notes.get(run.run_id, NOTHING),
                    created=result["created"],
                    steps=result["steps"],
                    seconds=result["seconds"],
                    cost=words,
                )
            )
        return found

    def say(
        self, run_id: str, *, by: str = "", name: str | None = None, tags: Sequence[str] | None = None, note: str | None = None
    ) -> RunNote:
        """Name, tag or annotate a run; what is None stays, an empty name brings the generated one back.

        Raises StoreError for a run that is not there, SpecError for text that is too long or a name that is taken.
        """
        open_run(self.workspace, run_id)
        return run_notes.write(self.workspace, run_id, by=by, name=name, tags=tags, note=note)

    def differences(self, first: str, second: str) -> list[Difference]:
        """Settings in which two runs differ, in the order in which they tell runs apart; none for the same settings."""
        resolve = resolver(self.workspace)
        one, two = (describe(open_run(self.workspace, run).spec.model_dump(mode="json"), resolve).settings for run in (first, second))
        found = []
        for key in dict.fromkeys([*one, *two]):
            left, right = one.get(key), two.get(key)
            if left is None or right is None or left.value != right.value:
                known = left or right
                assert known is not None, "a key is of one of them"
                label = f"{known.group}: {known.label}" if known.group else known.label
                found.append(Difference(key, label, left.words if left else UNSET, right.words if right else UNSET))
        return found
