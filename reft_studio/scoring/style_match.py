"""Style of the answer: how much more its opening and format occur in harmful answers (after SafeStyle, arXiv:2506.07452)."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from reft_studio import fingerprint
from reft_studio.data.dataset import Dataset
from reft_studio.errors import DataError, StoreError
from reft_studio.integrity import sealed_folder
from reft_studio.progress import Progress
from reft_studio.scoring import whole_rows
from reft_studio.scoring.prepared import Prepared, PreparedScorer
from reft_studio.scoring.preparing import Scale, calibrate, id_of, opened, split
from reft_studio.scoring.scorer import Examples, Scorer, ScorerInfo, ScorerSpec
from reft_studio.scoring.scores import ScoreSet
from reft_studio.scoring.texts import answers, score_texts
from reft_studio.workspace import Workspace, read_json, write_json

FILE = "style.json"
VERSION = 1
"""Raised when the same answer would get another score from this code."""
LEAST_SHARE = 0.02
"""Of the answers of either kind that must have a feature, so that it is a style and not a subject."""
LEADING = 3
"""Words of an opening, at most."""
_MARKS = {
    "numbered list": re.compile(r"^\s*\d+[.)]\s", re.M),
    "bullets": re.compile(r"^\s*[-*•]\s", re.M),
    "heading": re.compile(r"^#{1,6}\s", re.M),
    "code block": re.compile(r"```"),
    "bold": re.compile(r"\*\*\S"),
    "several paragraphs": re.compile(r"\n\s*\n"),
    "a colon in the first line": re.compile(r"\A[^\n]{1,120}:"),
}


class StyleMatch(Scorer):
    """Mean, over the style features of an answer, of their share among harmful answers minus that among harmless ones."""

    info: ClassVar[ScorerInfo] = ScorerInfo(
        name="style_match",
        title="Style of the answer",
        reads="response",
        misses=(
            "What an answer says: it sees its opening words and its format alone. Harmful answers in a style of their own pass, and "
            "harmless ones in the style of its harmful examples are flagged."
        ),
        needs="nothing",
        cost="about 50,000 rows a second",
        measure="likeness of the answer's style to harmful answers (difference of shares, scaled)",
    )

    def shipped(self) -> Examples:
        return whole_rows.judged_answers()

    def prepare(self, workspace: Workspace, spec: ScorerSpec, examples: Examples, progress: Progress) -> PreparedScorer:
        """Count features on a part of the examples, set the threshold on the rest.

        SafeStyle itself filters nothing: it rewrites safety data in the style of the users'. To score by style is ours.
        """
        name = id_of(spec, VERSION, examples.prompts, examples.responses, examples.harmful.tolist())
        if workspace.folder("scorers", name).is_dir():
            return opened(workspace, name)
        fitted, held_out = split(examples.prompts, examples.harmful, seed=spec.seed)
        held_out = examples.calibrating(held_out)
        shares = differences([examples.responses[place] for place in fitted], examples.harmful[fitted])
        values = np.array([likeness(examples.responses[place], shares) for place in held_out], dtype=np.float32)
        scale = Scale.fitted(values, examples.harmful[held_out])
        with sealed_folder(workspace.folder("scorers", name)) as building:
            write_json(building / FILE, {"shares": shares, "middle": scale.middle, "width": scale.width})
            calibrate(building, spec, examples, examples.responses, held_out, scale(values), title=self.info.title)
        progress.progress(len(examples.prompts), len(examples.prompts))
        return opened(workspace, name)

    def content(self, prepared: Prepared) -> dict[str, Any]:
        return {"version": VERSION, "style": fingerprint.of_file(prepared.folder / FILE)}

    def score(self, workspace: Workspace, dataset: Dataset, prepared: Prepared, progress: Progress) -> ScoreSet:
        """By the answer alone; a row without one has no score."""
        shares, scale = _load(prepared.folder)

        def function(texts: pa.Array) -> NDArray[np.float32]:
            return scale(np.array([likeness(text, shares) for text in texts.to_pylist()], dtype=np.float32))

        return score_texts(self, workspace, dataset, prepared, progress, read=answers, columns=("response",), function=function)


def features(response: str) -> set[str]:
    """The openings of one to three words, and the marks of its format."""
    words = re.findall(r"[\w']+", response[:200].lower())[:LEADING]
    found = {"opens: " + " ".join(words[:count]) for count in range(1, len(words) + 1)}
    return found | {name for name, mark in _MARKS.items() if mark.search(response)}


def differences(responses: Sequence[str], harmful: NDArray[np.bool_]) -> dict[str, float]:
    """Of each frequent feature, its share among harmful answers minus that among harmless ones. Raises DataError if there is none."""
    counts: dict[bool, Counter[str]] = {True: Counter(), False: Counter()}
    for response, kind in zip(responses, harmful.tolist(), strict=True):
        counts[kind].update(features(response))
    sizes = {True: max(1, int(harmful.sum())), False: max(1, int((~harmful).sum()))}
    shares = {one: [counts[kind][one] / sizes[kind] for kind in (True, False)] for one in {*counts[True], *counts[False]}}
    found = {one: round(of[0] - of[1], 6) for one, of in sorted(shares.items()) if max(of) >= LEAST_SHARE}
    if not found:
        raise DataError("No opening and no format is shared by 2 % of the examples' answers, so they have no style to look for.")
    return found


def likeness(response: str, shares: Mapping[str, float]) -> float:
    """In -1..1: the mean difference over the features that are known; 0 if none is."""
    known = [shares[one] for one in features(response) if one in shares]
    return sum(known) / len(known) if known else 0.0


def _load(folder: Path) -> tuple[dict[str, float], Scale]:
    try:
        found = read_json(folder / FILE)
        return dict(found["shares"]), Scale(float(found["middle"]), float(found["width"]))
    except (OSError, json.JSONDecodeError, KeyError, TypeError, ValueError) as exc:
        raise StoreError(f"{folder.name}/{FILE} is missing or damaged. Prepare the scorer again.") from exc
