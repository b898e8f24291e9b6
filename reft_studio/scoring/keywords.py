"""Scores by the number of distinct words of a list that a row uses: the oldest filter, as a baseline."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from reft_studio import fingerprint
from reft_studio.data.dataset import Dataset
from reft_studio.data.origin.own_texts import own_texts
from reft_studio.errors import SpecError, StoreError
from reft_studio.integrity import sealed_folder
from reft_studio.progress import Progress
from reft_studio.scoring.prepared import SHIPPED, Prepared, PreparedScorer
from reft_studio.scoring.preparing import calibrate, id_of, opened
from reft_studio.scoring.scorer import Examples, Scorer, ScorerInfo, ScorerSpec, Word
from reft_studio.scoring.scores import ScoreSet
from reft_studio.scoring.texts import joined_text, score_texts, whole_rows
from reft_studio.workspace import Workspace

FILE = "words.txt"
VERSION = 1
"""Incremented when the same row would get another score from this code."""


class Keywords(Scorer):
    """Counts the distinct terms of a list in prompt and response."""

    info: ClassVar[ScorerInfo] = ScorerInfo(
        name="keywords",
        title="Word list",
        reads="both",
        misses=(
            "Everything that is said in other words or another language. It flags harmless uses of its words (kill a process), and as "
            "substrings also words that contain them (skill, grape)."
        ),
        needs="nothing",
        cost="about 30,000 rows a second",
        measure="share of words of the list (1 - 2/2^n for n distinct ones)",
    )

    def shipped(self) -> Examples:
        """The shipped alignment prompts: nothing is fitted on them, they measure a list's quality."""
        texts = [text for text in own_texts() if not text.twin]
        return Examples([text.prompt for text in texts], [text.response for text in texts], np.array([text.harmful for text in texts]))

    def prepare(self, workspace: Workspace, spec: ScorerSpec, examples: Examples, progress: Progress) -> PreparedScorer:
        """Take the words of the spec, or the shipped ones, and measure on the examples how many of each kind use `least` of them.

        The threshold is that number of words, whatever share of the harmful examples it flags.
        """
        words = _checked(spec.words or read_words(SHIPPED / self.info.name))
        name = id_of(spec, VERSION, words, examples.prompts, examples.responses, examples.harmful.tolist())
        if workspace.folder("scorers", name).is_dir():
            return opened(workspace, name)
        texts = [joined_text([prompt], response) for prompt, response in zip(examples.prompts, examples.responses, strict=True)]
        held_out = examples.calibrating(list(range(len(texts))))
        terms = Terms(words, whole=spec.match == "word")
        scores = scores_of(terms.counts(pa.array([texts[index] for index in held_out], pa.string())))
        with sealed_folder(workspace.folder("scorers", name)) as building:
            (building / FILE).write_text("".join(f"{word}\n" for word in words), "utf-8")
            title = f"{self.info.title} ({len(words)} {'words' if spec.match == 'word' else 'substrings'})"
            calibrate(building, spec, examples, texts, held_out, scores, title=title, threshold=float(scores_of(np.array([spec.least]))[0]))
        progress.progress(len(texts), len(texts))
        return opened(workspace, name)

    def content(self, prepared: Prepared) -> dict[str, Any]:
        return {"version": VERSION, "words": fingerprint.of_file(prepared.folder / FILE), "match": prepared.spec["match"]}

    def score(self, workspace: Workspace, dataset: Dataset, prepared: Prepared, progress: Progress) -> ScoreSet:
        """From the number of distinct terms in the user turns and the response."""
        terms = _terms(prepared)

        def function(texts: pa.Array) -> NDArray[np.float32]:
            return scores_of(terms.counts(texts))

        columns = ("prompt", "messages", "response")
        return score_texts(self, workspace, dataset, prepared, progress, read=whole_rows, columns=columns, function=function)

    def explain(self, prepared: Prepared, row: dict[str, Any]) -> list[Word]:
        """The terms that it uses, all with the same share."""
        (text,) = whole_rows(
            pa.RecordBatch.from_pylist([{name: row[name] for name in ("prompt", "messages", "response")}])
        ).texts.to_pylist()
        used = _terms(prepared).used(text)
        return [Word(term, 1 / len(used)) for term in used]


class Terms:
    """Case-insensitive words and phrases, matched as whole words or as substrings."""

    def __init__(self, words: Sequence[str], *, whole: bool) -> None:
        self.words, self.whole = tuple(words), whole

    def counts(self, texts: pa.Array) -> NDArray[np.int64]:
        """(n,) number of distinct terms in each text."""
        plain, counts = self._plain(texts), np.zeros(len(texts), dtype=np.int64)
        if not self.words:
            return counts
        any_term = pc.match_substring_regex(plain, "|".join(self._patterns))  # one look at each text leaves few of them
        using = np.flatnonzero(pc.fill_null(any_term, False).to_numpy(zero_copy_only=False))
        chosen = plain.take(pa.array(using))
        for pattern in self._patterns:
            counts[using] += pc.match_substring(chosen, pattern).to_numpy(zero_copy_only=False)
        return counts

    def used(self, text: str) -> list[str]:
        """The terms in a text, in the order of the list."""
        (plain,) = self._plain(pa.array([text], pa.string())).to_pylist()
        return [word for word, pattern in zip(self.words, self._patterns, strict=True) if pattern in plain]

    @property
    def _patterns(self) -> list[str]:
        return [f" {word} " if self.whole else word for word in self.words]

    def _plain(self, texts: pa.Array) -> pa.Array:
        """Lower case; all but letters, digits and apostrophes becomes a space, also at both ends, so that a whole word is between two."""
        return pc.binary_join_element_wise("", pc.utf8_trim_whitespace(spaced(texts)), "", " ")


def spaced(texts: pa.Array) -> pa.Array:
    """Lower case, with a single space for everything but letters, digits and apostrophes."""
    return pc.replace_substring_regex(pc.utf8_lower(texts), r"[^\p{L}\p{N}']+", " ")


def scores_of(counts: NDArray[np.int64]) -> NDArray[np.float32]:
    """1 - 2/2^n for n distinct terms: -1 without one, 0 with one, 0.5 with two."""
    return np.asarray(1 - 2.0 ** (1 - np.minimum(counts, 30)), dtype=np.float32)


def _checked(words: Sequence[str]) -> list[str]:
    """The words in lower case with single spaces, deduplicated. Raises SpecError if none is left."""
    unique = sorted({word.strip() for word in spaced(pa.array(list(words), pa.string())).to_pylist()} - {""})
    if not unique:
        raise SpecError("The word list is empty. Give words, or none to use the list that ships.")
    return unique


def read_words(folder: Path) -> list[str]:
    """The words of a prepared scorer. Raises StoreError if they are missing or damaged."""
    try:
        return [line for line in (folder / FILE).read_text("utf-8").splitlines() if line]
    except (OSError, ValueError) as exc:
        raise StoreError(f"{folder.name}/{FILE} is missing or damaged. Prepare the scorer again.") from exc


def _terms(prepared: Prepared) -> Terms:
    return Terms(read_words(prepared.folder), whole=prepared.spec["match"] == "word")
