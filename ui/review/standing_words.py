"""What is known of the rows on both sides of the line, in one short line each and in plain words."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from ui.text import count, counted, number

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reft_studio.audit.assurance import Standing
    from reft_studio.audit.checks import Reader
    from reft_studio.audit.claim import Assurance
    from reft_studio.audit.precision import Precision
    from reft_studio.audit.sample import Sample

CHECKED = (
    "To measure what people overlook, known harmful prompts that ship with the app are mixed in at random places, looking like any other "
    "row until they are decided; they are never part of the data. They are short English prompts with a plain answer: harmful rows of "
    "this file may be harder to see, and then more are left than the claim says."
)
UNSCORED = "Without scores nothing can be said about the rows that nobody reads. Score the dataset on the Filter page."


def standing_words(found: Standing | None, readers: Sequence[Reader] = ()) -> dict[str, str]:
    """`risk`, `reader`, `above`: a line each for the rows below, for the people who read them, and for the rows above.

    `plain`: what the first means, for people who do not work with statistics.
    """
    if found is None:
        return {"risk": UNSCORED, "reader": "", "above": "", "plain": ""}
    return {
        "risk": below_line(found.below),
        "reader": reader_line(found.below, readers),
        "above": above_line(found.above),
        "plain": plain(found.below),
    }


def reader_line(found: Assurance, readers: Sequence[Reader] = ()) -> str:
    """What share of harmful rows reviewers find, as far as it was measured: together and each of them, and what the claim makes of it."""
    if not found.sampled:
        return ""
    if not found.measured:
        return "The claim takes for granted that reviewers overlook nothing: no known harmful prompts were mixed in."
    if not readers:
        return "Reviewers came to no check yet: how many harmful rows they overlook is not known."
    together, *each = readers
    people = f" ({'; '.join(f'{_person(one)} {count(one.found)} of {count(one.checks)}' for one in each)})" if len(each) > 1 else ""
    return (
        f"Reviewers found {count(together.found)} of {counted(together.checks, 'check')}, "
        f"{_interval(together)}{people}. The claim takes them to find at least {100 * found.sensitivity:.0f} % of harmful rows."
    )


def _person(reader: Reader) -> str:
    return reader.by.removeprefix("human:")


def _interval(reader: Reader) -> str:
    low, high = number(math.floor(reader.share.low), digits=0), number(math.ceil(reader.share.high), digits=0)
    return f"{number(reader.share.value, digits=0)} % ({low} to {high} %)"


def file_line(found: Sample) -> str:
    """How many of all rows are harmful by those drawn from the whole file; empty before any was drawn."""
    if not found.read and not found.waiting:
        return ""
    rate, rows = found.rate(), f"all {count(found.rows)} rows"
    if rate is None:
        return f"Random sample of {rows}: {count(found.read)} of {count(found.wanted)} read. Then it says how many of them are harmful."
    low, high = number(rate.low, digits=1), number(rate.high, digits=1)
    share = f"{number(rate.value, digits=1)} % of {rows} are harmful ({low} to {high} %)"
    return f"About {share}: a random sample of {counted(found.read, 'row')} read, {count(int(found.harmful.sum()))} harmful."


def below_line(found: Assurance) -> str:
    """The bound as a share and as rows, what it rests on, and what would make it better."""
    if not found.population:
        return "No row lies below the line, so none is left to doubt."
    rows = f"the {count(found.population)} rows below the line"
    if found.method == "all read":
        at_most = "at most " if found.measured or found.unsure else ""
        doubt = f" ({found.found_words()})" if found.unsure else ""
        return f"All of {rows} were read: {at_most}{share(found.upper_bound)} of them are harmful{doubt}."
    more = ""
    if found.review_more:
        more = f" Read {count(found.review_more)} more, {_clean(found)}, to claim at most {share(found.target)}."
    elif found.review_more is None and found.method != "other line" and found.sampled:
        more = f" Too many were harmful{' or overlooked' if found.measured else ''} to claim at most {share(found.target)}: lower the line."
    if found.method == "nothing read":
        goal = f"{_clean(found)}, to claim at most {share(found.target)}"
        need = f" Read {count(found.review_more)} random rows, {goal}." if found.review_more else ""
        return f"Nothing is known yet of {rows}.{need}"
    claim = f"At most {share(found.upper_bound)} of {rows} are harmful ({counted(most(found), 'row')})"
    if found.method == "other line":
        return (
            f"{claim}, carried over from {counted(found.sampled, 'random row')} read for another line. Read those of this line to say more."
        )
    planned = max(found.planned, found.sampled)
    read = f"{count(found.sampled)} of {count(planned)}" if found.sampled < planned else count(found.sampled)
    if found.upper_bound >= 1:
        claim = f"Nothing can be claimed yet of {rows}"
    return f"{claim}: {read} random rows read, {found.found_words()}.{more}"


def above_line(found: Precision) -> str:
    """How many of the flagged rows are harmful, as far as it is known."""
    if not found.population:
        return "No row lies above the line."
    rows = f"the {count(found.population)} flagged rows"
    if found.share is None:
        return f"Nothing is known yet of {rows}: none of those drawn at random was read."
    if found.share.low == found.share.high:
        return f"All of {rows} were read: {number(found.share.value, digits=0)} % of them are harmful."
    low, high = number(math.floor(found.share.low), digits=0), number(math.ceil(found.share.high), digits=0)
    doubt = f", {count(found.unsure)} unsure" if found.unsure else ""
    read = f"{counted(found.sampled, 'random row')} read, {count(found.harmful_found)} harmful{doubt}"
    return f"About {number(found.share.value, digits=0)} % of {rows} are harmful ({low} to {high} %): {read}."


def plain(found: Assurance) -> str:
    """The statement about the rest, told to a person who does not work with statistics."""
    if not found.population or (found.method == "all read" and not found.measured):
        return ""
    wrong = round(100 * (1 - found.confidence))
    how = (
        "Rows below the line stay in the data, and nobody can read them all. So the app draws some of them by lot, writes the list down "
        "before anybody sees a row, and you read them in that order (marked “random draw”). "
    )
    if found.method == "nothing read" or found.upper_bound >= 1:
        return f"{how}What you find among them says how many harmful rows can be left among the others. {CHECKED * found.measured}".rstrip()
    claim = f"From what was found, there are at most {counted(most(found), 'harmful row')} among all {count(found.population)}"
    stop = ", also if you stop early" if found.method == "at any time" else ""
    return (
        f"{how}{claim}. A statement made in this way is wrong in at most {wrong} of 100 reviews{stop}. "
        "Harmful is what people removed or relabelled, so it is as good as their judgement; rows they were unsure about count against the "
        "claim. " + CHECKED * found.measured
    )


def _clean(found: Assurance) -> str:
    return "none harmful and every check found" if found.measured else "none harmful"


def most(found: Assurance) -> int:
    """Rows that the bound allows to be harmful."""
    return min(found.population, math.floor(found.upper_bound * found.population + 1e-6))


def share(value: float) -> str:
    """A share in percent, rounded up, so that a claim never says less than the bound."""
    digits = 1 if value >= 0.001 or value == 0 else 3
    return f"{math.ceil(value * 100 * 10**digits - 1e-9) / 10**digits:.{digits}f} %"
