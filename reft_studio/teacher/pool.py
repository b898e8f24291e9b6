"""Pools harmful and harmless prompts from any files into a teacher's sets: deduplicated, split by groups of near-duplicates."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field

from reft_studio import seeding
from reft_studio.data.dataset import Dataset, Role, Row, write_dataset
from reft_studio.data.splits import normalise_prompt, split_groups
from reft_studio.errors import DataError
from reft_studio.models.spec import Settings
from reft_studio.teacher.refusals import refusal
from reft_studio.workspace import Workspace

Kind = Literal["harmful", "harmless"]
KINDS: tuple[Kind, Kind] = ("harmful", "harmless")
LEAST = 30
"""Minimum number of held-out prompts of each kind for a threshold."""
ROLES: dict[Kind, Role] = {"harmful": "harmful", "harmless": "helpful"}


class PoolSpec(Settings):
    """How pooled prompts are split. The remainder is the training set."""

    rows: int = Field(5000, ge=1, le=1_000_000, description="prompts of each kind at most, drawn evenly from the files")
    selection: float = Field(0.1, gt=0, lt=0.5, description="share of the prompts that chooses layer, λ and when to stop")
    calibration: float = Field(0.2, gt=0, lt=0.5, description="share of the prompts that sets the threshold and nothing else")

    taught: tuple[str, ...] = Field(
        (), description="categories whose prompts train and choose, but set no threshold: no file looks like them"
    )

    @property
    def shares(self) -> dict[str, float]:
        return {
            "training": 1 - self.selection - self.calibration,
            "selection": self.selection,
            "calibration": self.calibration,
        }

    @property
    def least(self) -> int:
        """Prompts of a kind needed for its calibration part to reach LEAST."""
        return math.ceil(LEAST / self.calibration)


@dataclass(frozen=True)
class Pool:
    """`sets` are fields of TeacherSpec with dataset ids; `facts` say how they were made, for teacher.json."""

    sets: dict[str, str]
    facts: dict[str, Any]


@dataclass(frozen=True)
class _Row:
    prompt: str
    response: str
    origin: str
    category: str | None


def pool(
    workspace: Workspace,
    harmful: Sequence[Dataset],
    harmless: Sequence[Dataset],
    *,
    spec: PoolSpec,
    seed: int,
    is_refusal: Callable[[str], bool],
) -> Pool:
    """Write training, selection and calibration sets of both kinds to the workspace.

    Prompts that are equal after `normalise_prompt` count once; a row that its own file labels as the other kind is left
    out. A harmful row whose response is no refusal by `is_refusal` gets one of ours. A harmless row without a response
    is not trained on; it still counts for the regulariser and the feature. Of a conversation the last user turn is used.
    Raises DataError if a kind is missing, too small, or shares prompts with the other.
    """
    rows, counts = {}, {}
    for kind, datasets in zip(KINDS, (harmful, harmless), strict=True):
        rows[kind], counts[kind] = _gathered(datasets, kind)
    _check(rows, counts, spec)
    sets: dict[str, str] = {}
    facts: dict[str, Any] = {"seed": seed, "shares": spec.shares, "rows": spec.rows, "files": counts}
    for kind in KINDS:
        chosen = _evenly(rows[kind], spec.rows, seed=seed, kind=kind)
        if kind == "harmful":
            chosen, facts["refusals"] = _refused(chosen, seed=seed, is_refusal=is_refusal)
        else:
            facts["answers"] = {"file": sum(bool(row.response) for row in chosen), "none": sum(not row.response for row in chosen)}
        parts = split_groups([row.prompt for row in chosen], spec.shares, seed=seeding.derive(seed, "pool", kind), near=True)
        parts["calibration"] = [index for index in parts["calibration"] if chosen[index].category not in spec.taught]
        facts[kind] = {part: len(indices) for part, indices in parts.items()}
        for part, indices in parts.items():
            sets[_field(kind, part)] = _stored(workspace, [chosen[index] for index in indices], kind, part)
    return Pool(sets, facts)


def pool_summary(facts: dict[str, Any]) -> str:
    """A summary of the pooled prompts, one sentence per kind, for the person who gave them."""
    sentences = []
    for kind in KINDS:
        parts = ", ".join(f"{count:,} {part}" for part, count in facts[kind].items())
        sentences.append(f"{sum(facts[kind].values()):,} {kind} prompts: {parts}.")
    origin = facts["refusals"]
    sentences.append(f"Refusals: {origin['file']:,} from the files, {origin['ours']:,} ours.")
    sentences.append(f"Harmless prompts without an answer: {facts['answers']['none']:,}.")
    return " ".join(sentences)


def _field(kind: Kind, part: str) -> str:
    if part == "training":
        return "harmful" if kind == "harmful" else "helpful"
    return f"{part}_{kind}"


def _gathered(datasets: Iterable[Dataset], kind: Kind) -> tuple[dict[str, _Row], list[dict[str, Any]]]:
    """One row per prompt group, preferably with a response, and counts per file."""
    by_group: dict[str, _Row] = {}
    counts = []
    for dataset in datasets:
        tally: Counter[str] = Counter(other_label=0, repeated=0, new=0)
        for record in dataset.read(["prompt", "response", "category", "known_harmful"]):
            if record["known_harmful"] is (kind == "harmless"):
                tally["other_label"] += 1
                continue
            group = normalise_prompt(record["prompt"])
            if known := by_group.get(group):
                tally["repeated"] += 1
                if known.response or not record["response"]:
                    continue
            else:
                tally["new"] += 1
            by_group[group] = _Row(record["prompt"], record["response"], known.origin if known else dataset.name, record["category"])
        counts.append({"name": dataset.name, "fingerprint": dataset.fingerprint, "rows": dataset.rows, **tally})
    return by_group, counts


def _check(rows: dict[Kind, dict[str, _Row]], counts: dict[Kind, list[dict[str, Any]]], spec: PoolSpec) -> None:
    for kind, other in zip(KINDS, reversed(KINDS), strict=True):
        if not rows[kind]:
            mislabelled = sum(file["other_label"] for file in counts[kind])
            more = f" All {mislabelled:,} rows given as {kind} are labelled {other} in their files." if mislabelled else ""
            raise DataError(f"There are only {other} prompts. A teacher learns to tell both kinds apart: give {kind} prompts too.{more}")
    if shared := rows["harmful"].keys() & rows["harmless"].keys():
        files = sorted({rows[kind][group].origin for kind in rows for group in shared})
        many = "prompts are" if len(shared) > 1 else "prompt is"
        raise DataError(
            f"{len(shared):,} {many} given both as harmful and as harmless (in {', '.join(files[:6])}). Take them out of one side."
        )
    for kind in KINDS:
        if min(len(rows[kind]), spec.rows) < spec.least:
            raise DataError(
                f"There are {min(len(rows[kind]), spec.rows):,} different {kind} prompts; at least {spec.least} are needed, so that "
                f"{LEAST} of them ({spec.calibration:.0%}) can set the threshold."
            )


def _evenly(rows: dict[str, _Row], most: int, *, seed: int, kind: Kind) -> list[_Row]:
    """At most `most` rows, the same number from each file as far as it has so many, in the order of the files."""
    by_file: dict[str, list[_Row]] = {}
    for row in rows.values():
        by_file.setdefault(row.origin, []).append(row)
    chosen: list[_Row] = []
    remaining, files = most, sorted(by_file.items(), key=lambda item: len(item[1]))
    for index, (name, own) in enumerate(files):
        take = min(len(own), remaining // (len(files) - index))
        chosen += own if take == len(own) else seeding.generator(seed, "pool", kind, name).sample(own, take)
        remaining -= take
    return chosen


def _refused(rows: list[_Row], *, seed: int, is_refusal: Callable[[str], bool]) -> tuple[list[_Row], dict[str, int]]:
    """Every row with a refusal, and the numbers of refusals from files and of ours."""
    rng, kept, refusals = seeding.generator(seed, "refusals"), 0, []
    for row in rows:
        own = bool(row.response) and is_refusal(row.response)
        kept += own
        refusals.append(row if own else _Row(row.prompt, refusal(rng), row.origin, row.category))
    return refusals, {"file": kept, "ours": len(rows) - kept}


def _stored(workspace: Workspace, rows: list[_Row], kind: Kind, part: str) -> str:
    made: list[Row] = [
        {"prompt": row.prompt, "response": row.response, "origin": row.origin, "category": row.category, "known_harmful": kind == "harmful"}
        for row in rows
    ]
    return write_dataset(workspace, made, name=f"pooled {kind} prompts, {part}", role=ROLES[kind], extra={"made_by": "pool"}).id
