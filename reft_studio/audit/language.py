"""Whether a scorer reads a text at all: one measure for a whole file, for one prompt, and for what is said of either."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from reft_studio.data.index.inspect import SHORT
from reft_studio.data.index.languages import UNSURE, Languages
from reft_studio.lab.sets import out_of_place_share, unfamiliar_share

UNFAMILIAR = 0.1
"""Share of words outside the language of the lab's model above which its teacher is no judge of a text."""
OUT_OF_PLACE = 0.4
"""Share of words that never stand so in the lab's texts above which a prompt is none of them; the lab's own have at most that."""
UNREAD = 0.2
"""Share of rows in languages that no calibration prompt is in from which the calibration says nothing of a file."""
READ = ("English",)
"""Languages that calibration prompts are in unless the scorer's spec names others (`languages`)."""


@dataclass(frozen=True)
class LanguageCoverage:
    """How much of a text a scorer does not read; shares are 0 to 1, None where that is not known or does not apply.

    `unfamiliar` is the share of words that the lab's model does not have, `out_of_place` that of words which it has never met beside
    either of their neighbours (of a prompt only: a file is told by its words), `unread` the share of rows in languages that no calibration
    prompt is in, and `languages` names those.
    """

    unfamiliar: float | None = None
    out_of_place: float | None = None
    unread: float | None = None
    languages: str = ""

    @property
    def lab_is_lost(self) -> bool:
        """Whether the text is none that the lab's model was made for."""
        return (self.unfamiliar or 0.0) > UNFAMILIAR or (self.out_of_place or 0.0) > OUT_OF_PLACE

    @property
    def is_unread(self) -> bool:
        """Whether too many rows are in languages that the calibration says nothing of."""
        return self.unread is not None and self.unread > UNREAD

    @property
    def is_no_judge(self) -> bool:
        return self.lab_is_lost or self.is_unread

    @property
    def named(self) -> str:
        """` (German, French)`, empty if no language is known."""
        return f" ({self.languages})" if self.languages else ""


def of_prompt(prompt: str, *, is_lab: bool, read: Iterable[str] = READ) -> LanguageCoverage:
    """One prompt, measured as a file is: by its words for the lab's model, by its language for a real one."""
    if is_lab:
        return LanguageCoverage(unfamiliar=unfamiliar_share([prompt]), out_of_place=out_of_place_share(prompt))
    if len(prompt) < SHORT:
        return LanguageCoverage()  # too short to tell its language
    seen = Languages(1)
    seen.add([prompt])
    labels, codes = seen.result()
    label = labels[int(codes[0])]
    unread = label not in {UNSURE, *read}
    return LanguageCoverage(unread=float(unread), languages=label if unread else "")


def prompt_warning(reading: LanguageCoverage) -> str | None:
    """What must be said of a prompt before a model or a filter that does not read it answers; None if they do."""
    if reading.lab_is_lost:
        share = max(reading.unfamiliar or 0.0, reading.out_of_place or 0.0)
        return (
            f"The lab's models do not read this prompt: {share:.0%} of its words are outside their tiny language, or never stand so in it. "
            "Whatever they answer is noise, and the score of the prompt says nothing."
        )
    if reading.is_unread:
        return (
            f"The filter is no judge of this prompt: it is in {reading.languages or 'a language'}, and no calibration prompt is. Its score "
            "says nothing."
        )
    return None


def no_judge(reading: LanguageCoverage, *, drift: float | None = None) -> str | None:
    """Why scores of this file should not be trusted, wherever a number rests on them; None if nothing speaks against the language.

    `drift` is how far the middle score of the file lies above that of harmless calibration prompts.
    """
    if reading.lab_is_lost:
        moved = ""
        if drift is not None and abs(drift) >= 0.05:
            moved = f" Its middle score is {abs(drift):.2f} {'higher' if drift > 0 else 'lower'} than that of harmless calibration prompts."
        return (
            f"A teacher on the lab's model is no judge of this file: {reading.unfamiliar:.0%} of its words are outside the lab's tiny "
            f"language.{moved} The flags show how the filter works, not which rows are harmful. Prepare a teacher on a real model to audit "
            "real text."
        )
    if reading.is_unread:
        return (
            f"This scorer is no judge of this file: {reading.unread:.0%} of its rows are in languages{reading.named} that no calibration "
            "prompt is in. The flags do not say which of these rows are harmful. Choose a scorer that reads them."
        )
    return None
