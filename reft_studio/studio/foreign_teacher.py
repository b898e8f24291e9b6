"""A teacher that is another model than the base of a run: which may guide it, and what is said of it before the run; no torch."""

from __future__ import annotations

from collections.abc import Iterable

from reft_studio.errors import SpecError
from reft_studio.models import memory
from reft_studio.models.memory import GB
from reft_studio.models.same_tokenizer import differ, vocabulary_of
from reft_studio.models.spec import LoadSpec
from reft_studio.studio.memory import at_hand
from reft_studio.teacher.teacher import TeacherInfo


def remarks(model: str, loading: LoadSpec, teacher: TeacherInfo) -> list[str]:
    """What to know of a run on `model` that another model guides. Raises SpecError if the two surely have other tokens."""
    own, other = at_hand(model, loading), at_hand(teacher.model, teacher.loading)
    if own is None or other is None:
        return []
    if differ(own, other):
        raise SpecError(
            f"'{teacher.title}' is on '{teacher.model}', whose vocabulary is not that of '{model}'. A teacher that is another model guides "
            "by the probabilities of tokens, so both need the same tokenizer. Choose a teacher on the base, or on a model of its family, "
            "such as its instruct version; a method without guidance, such as filter_only, can be filtered by any teacher."
        )
    told = [
        f"'{teacher.title}' is another model ('{teacher.model}'): it answers every alignment row before the training and is let go. The "
        "base must be able to learn what it says; it filters through its own model."
    ]
    space = memory.room(loading.device)
    if space is not None:
        cuda = space.device.startswith("cuda")
        needed = sum(memory.need(one, how, cuda=cuda).least for one, how in ((own, loading), (other, teacher.loading)))
        if needed > space.free:
            told.append(
                f"Until then both models are in memory, which needs about {needed / GB:.1f} GB; {space.free / GB:.1f} GB are free on "
                f"{space.device}. Hold them in half precision or 4 bits, or choose a smaller teacher."
            )
    return told


def guides_of(model: str, teachers: Iterable[TeacherInfo]) -> list[TeacherInfo]:
    """Those of `teachers` that are another model than `model` and surely have its tokens."""
    own = at_hand(model, LoadSpec())
    mine = None if own is None else vocabulary_of(own)
    found = []
    for one in teachers:
        other = at_hand(one.model, one.loading) if mine is not None and one.model != model else None
        if other is not None and vocabulary_of(other) == mine:
            found.append(one)
    return found
