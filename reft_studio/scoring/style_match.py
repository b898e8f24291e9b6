"""Style of the response: how much more frequent its opening and format are in harmful responses (after SafeStyle, arXiv:2506.07452)."""

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
from reft_studio.scoring.texts import responses, score_texts
from reft_studio.workspace import Workspace, read_json, write_json

FILE = "style.json"
VERSION = 1
"""Incremented when the same response would get another score from this code."""
LEAST_SHARE = 0.02
"""Minimum share of the responses of either kind with a feature, so that it is a style and not a subject."""
LEADING = 3
"""Maximum words of an opening."""
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
    """Mean, over a response's style features, of their share among harmful responses minus that among harmless ones."""

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
        """Count features on one part of the examples, set the threshold on the rest.

        SafeStyle itself filters nothing: it rewrites safety data in the style of the users'. Scoring by style is ours.
        """
        name = id_of(spec, VERSION, examples.prompts, examples.responses, examples.harmful.tolist())
        if workspace.folder("scorers", name).is_dir():
            return opened(workspace, name)
        fitted, held_out = split(examples.prompts, examples.harmful, seed=spec.seed)
        held_out = examples.calibrating(held_out)
        shares = differences([examples.responses[index] for index in fitted], examples.harmful[fitted])
        values = np.array([likeness(examples.responses[index], shares) for index in held_out], dtype=np.float32)
        scale = Scale.fitted(values, examples.harmful[held_out])
        with sealed_folder(workspace.folder("scorers", name)) as building:
            write_json(building / FILE, {"shares": shares, "middle": scale.middle, "width": scale.width})
            calibrate(building, spec, examples, examples.responses, held_out, scale(values), title=self.info.title)
        progress.progress(len(examples.prompts), len(examples.prompts))
        return opened(workspace, name)

    def content(self, prepared: Prepared) -> dict[str, Any]:
        return {"version": VERSION, "style": fingerprint.of_file(prepared.folder / FILE)}

    def score(self, workspace: Workspace, dataset: Dataset, prepared: Prepared, progress: Progress) -> ScoreSet:
        """From the response alone; a row without one has no score."""
        shares, scale = _load(prepared.folder)

        def function(texts: pa.Array) -> NDArray[np.float32]:
            return scale(np.array([likeness(text, shares) for text in texts.to_pylist()], dtype=np.float32))

        return score_texts(self, workspace, dataset, prepared, progress, read=responses, columns=("response",), function=function)


def features(response: str) -> set[str]:
    """The openings of one to three words, and the format features."""
    words = re.findall(r"[\w']+", response[:200].lower())[:LEADING]
    openings = {"opens: " + " ".join(words[:count]) for count in range(1, len(words) + 1)}
    return openings | {name for name, mark in _MARKS.items() if mark.search(response)}


def differences(responses: Sequence[str], harmful: NDArray[np.bool_]) -> dict[str, float]:
    """For each frequent feature, its share among harmful responses minus that among harmless ones. Raises DataError if there is none."""
    counts: dict[bool, Counter[str]] = {True: Counter(), False: Counter()}
    for response, kind in zip(responses, harmful.tolist(), strict=True):
        counts[kind].update(features(response))
    sizes = {True: max(1, int(harmful.sum())), False: max(1, int((~harmful).sum()))}
    shares = {feature: [counts[kind][feature] / sizes[kind] for kind in (True, False)] for feature in {*counts[True], *counts[False]}}
    by_feature = {feature: round(pair[0] - pair[1], 6) for feature, pair in sorted(shares.items()) if max(pair) >= LEAST_SHARE}
    if not by_feature:
        raise DataError("No opening and no format is shared by 2 % of the examples' answers, so they have no style to look for.")
    return by_feature


def likeness(response: str, shares: Mapping[str, float]) -> float:
    """In -1..1: the mean difference over the known features; 0 if there is none."""
    known = [shares[feature] for feature in features(response) if feature in shares]
    return sum(known) / len(known) if known else 0.0


def _load(folder: Path) -> tuple[dict[str, float], Scale]:
    try:
        stored = read_json(folder / FILE)
        return dict(stored["shares"]), Scale(float(stored["middle"]), float(stored["width"]))
    except (OSError, json.JSONDecodeError, KeyError, TypeError, ValueError) as exc:
        raise StoreError(f"{folder.name}/{FILE} is missing or damaged. Prepare the scorer again.") from exc
