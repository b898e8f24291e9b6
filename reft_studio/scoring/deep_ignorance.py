"""Two stages, after Deep Ignorance: a block list escalates a row, then a classifier decides on prompt and response together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from reft_studio import fingerprint
from reft_studio.data.dataset import Dataset
from reft_studio.data.origin.own_texts import own_texts
from reft_studio.integrity import sealed_folder
from reft_studio.progress import Progress
from reft_studio.scoring import text_fit, text_model, whole_rows
from reft_studio.scoring.keywords import FILE, Terms, read_words, spaced
from reft_studio.scoring.ngrams import fold
from reft_studio.scoring.prepared import Prepared, PreparedScorer
from reft_studio.scoring.preparing import calibrate, id_of, opened, split
from reft_studio.scoring.scorer import Examples, Scorer, ScorerInfo, ScorerSpec, Word
from reft_studio.scoring.scores import ScoreSet
from reft_studio.scoring.text_model import TextModel
from reft_studio.scoring.texts import joined_text, score_texts
from reft_studio.scoring.texts import whole_rows as read_whole
from reft_studio.workspace import Workspace

VERSION = 1
"""Incremented when the same row would get another score from this code."""
LEAST_PROMPTS, LEAST_LETTERS, MOST_TERMS = 5, 4, 500
"""Minimum harmful prompts with a term, minimum letters (shorter terms are inside many words), maximum number of terms."""
LOG_ODDS = float(np.log(4))
"""A term must be at least four times as frequent in harmful prompts, as a substring."""
ESCALATING = 2
"""Distinct terms that escalate a row, as in the paper's code."""


class DeepIgnorance(Scorer):
    """A classifier's log odds for rows that use two terms of a block list, -1 for all others."""

    info: ClassVar[ScorerInfo] = ScorerInfo(
        name="deep_ignorance",
        title="Block list, then words",
        reads="both",
        misses=(
            "Every row with fewer than two terms of its list, however harmful; then what the classifier of words misses. It was made "
            "for documents, which are longer than rows."
        ),
        needs="nothing",
        cost="about 30,000 rows a second",
        measure="word score of an escalated row (log odds of harm, scaled; -1 where the block list lets it pass)",
    )

    def shipped(self) -> Examples:
        """The alignment prompts without their responses, which only the harmless ones have, and the judge's responses."""
        judged = whole_rows.judged_answers()
        prompts, harmful = [text.prompt for text in own_texts()], [text.harmful for text in own_texts()]
        twins = [text.twin for text in own_texts()]
        return Examples(
            [*prompts, *judged.prompts],
            [*([""] * len(prompts)), *judged.responses],
            np.array([*harmful, *judged.harmful.tolist()]),
            fit_only=np.array([*twins, *([False] * len(judged.prompts))]),
        )

    def prepare(self, workspace: Workspace, spec: ScorerSpec, examples: Examples, progress: Progress) -> PreparedScorer:
        """Build the block list and fit the classifier on one part of the examples; the rest measures the quality of both.

        The threshold is even odds of the classifier, as in the paper: no threshold of a second stage flags what the first lets pass.
        """
        texts = [joined_text([prompt], response) for prompt, response in zip(examples.prompts, examples.responses, strict=True)]
        name = id_of(spec, VERSION, texts, examples.harmful.tolist())
        if workspace.folder("scorers", name).is_dir():
            return opened(workspace, name)
        fitted, held_out = split(examples.prompts, examples.harmful, seed=spec.seed)
        held_out = examples.calibrating(held_out)
        progress.progress(0, len(texts))
        words = block_list([examples.prompts[index] for index in fitted], examples.harmful[fitted])
        rest = pa.array([texts[index] for index in held_out], pa.string())
        with sealed_folder(workspace.folder("scorers", name)) as building:
            (building / FILE).write_text("".join(f"{word}\n" for word in words), "utf-8")
            model = text_fit.fit([texts[index] for index in fitted], examples.harmful[fitted], building)
            model = text_fit.scaled(model, model.log_odds(rest), building)
            scores = staged(rest, Terms(words, whole=False), model)
            title = f"{self.info.title} ({len(words)} terms)"
            calibrate(building, spec, examples, texts, held_out, scores, title=title, threshold=0.0)
        progress.progress(len(texts), len(texts))
        return opened(workspace, name)

    def content(self, prepared: Prepared) -> dict[str, Any]:
        files = {name: fingerprint.of_file(prepared.folder / name) for name in (FILE, text_model.FILE)}
        return {"version": VERSION, **files}

    def score(self, workspace: Workspace, dataset: Dataset, prepared: Prepared, progress: Progress) -> ScoreSet:
        """From the user turns and the response of a row."""
        terms, model = Terms(read_words(prepared.folder), whole=False), TextModel.load(prepared.folder)

        def function(texts: pa.Array) -> NDArray[np.float32]:
            return staged(texts, terms, model)

        columns = ("prompt", "messages", "response")
        return score_texts(self, workspace, dataset, prepared, progress, read=read_whole, columns=columns, function=function)

    def explain(self, prepared: Prepared, row: dict[str, Any]) -> list[Word]:
        """The words of an escalated row with their shares of the log odds; empty for a row that the block list lets pass."""
        (text,) = read_whole(
            pa.RecordBatch.from_pylist([{word: row[word] for word in ("prompt", "messages", "response")}])
        ).texts.to_pylist()
        if len(Terms(read_words(prepared.folder), whole=False).used(text)) < ESCALATING:
            return []
        return [Word(*word) for word in TextModel.load(prepared.folder).words(text)]


def staged(texts: pa.Array, terms: Terms, model: TextModel) -> NDArray[np.float32]:
    """(n,) the classifier's scores of texts that use at least two distinct terms, -1 of all others."""
    scores = np.full(len(texts), -1, dtype=np.float32)
    escalated = np.flatnonzero(terms.counts(texts) >= ESCALATING)
    if len(escalated):
        scores[escalated] = model.scores(texts.take(pa.array(escalated)))
    return scores


def block_list(prompts: Sequence[str], harmful: NDArray[np.bool_]) -> list[str]:
    """Words and word pairs typical of harmful prompts, those of the highest log odds first.

    A prompt with one harmful row is a harmful prompt, however often it is refused elsewhere. The paper keeps a term if more than 0.4 of its
    documents are positive, where few are; log odds do not depend on the class balance.
    """
    kinds = {prompt: False for prompt in prompts} | {
        prompt: True for prompt, is_harmful in zip(prompts, harmful, strict=True) if is_harmful
    }
    texts, truth = pa.array(list(kinds), pa.string()), np.array(list(kinds.values()))
    counts: dict[bool, Counter[str]] = {True: Counter(), False: Counter()}
    for text, kind in zip(fold(texts).to_pylist(), truth.tolist(), strict=True):
        words = text.split()
        counts[kind].update({*words, *(" ".join(pair) for pair in pairwise(words))})
    sizes = int(truth.sum()), int((~truth).sum())

    def odds(with_it: tuple[int, int]) -> float:
        shares = [(count + 0.5) / (size + 1) for count, size in zip(with_it, sizes, strict=True)]
        return float(np.log(shares[0] / shares[1]))

    likely = [word for word, count in counts[True].items() if count >= LEAST_PROMPTS and len(word) >= LEAST_LETTERS]
    likely = [word for word in likely if odds((counts[True][word], counts[False][word])) >= LOG_ODDS]
    ranked, plain = [], spaced(texts)
    for word in sorted(likely):  # a substring occurs in more prompts than the word
        uses = pc.match_substring(plain, word).to_numpy(zero_copy_only=False)
        ranked.append((-odds((int(uses[truth].sum()), int(uses[~truth].sum()))), word))
    return [word for minus, word in sorted(ranked)[:MOST_TERMS] if -minus >= LOG_ODDS]
