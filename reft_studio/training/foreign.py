"""A teacher that is another model than the student's base, with the same tokenizer: such as the base's instruct version.

It reads every alignment row once, before the training, and is unloaded. Its hidden states after the final norm, (tokens, d_model), and
its head are stored: their product is its logits, exactly, in a fraction of the space that logits of a vocabulary would take.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from reft_studio.errors import SpecError, StoreError
from reft_studio.models.accumulate import MicroBatches
from reft_studio.models.batching import Encoder, Example, by_length, collate
from reft_studio.models.fused import Head, check_head
from reft_studio.models.generation import free_memory
from reft_studio.models.loading import LoadedModel, load_tokenizer, settled
from reft_studio.models.session import Session
from reft_studio.models.source import locate
from reft_studio.models.supervised import hidden_states
from reft_studio.models.vocabulary import embeddings
from reft_studio.progress import Progress
from reft_studio.scoring.prompt_states import session_of
from reft_studio.scoring.refusal_similarity import check_match
from reft_studio.teacher.teacher import TeacherInfo
from reft_studio.training.context import AlignmentData
from reft_studio.training.cost import Costs
from reft_studio.training.teacher_states import CacheLocation, TeacherStates
from reft_studio.workspace import Workspace, write_atomic

HEAD = "head.safetensors"
"""The teacher's head, stored with the states."""
BUDGET = 8192
"""Padded tokens per batch."""


def is_foreign(teacher: TeacherInfo, model: LoadedModel) -> bool:
    """Whether a teacher is another model than this base; the same weights under another name are not."""
    return teacher.model != model.source and teacher.base_fingerprint != model.fingerprint


def guide(
    workspace: Workspace,
    teacher: TeacherInfo,
    student: Session,
    data: AlignmentData,
    rows: Iterable[Mapping[str, Any]],
    progress: Progress,
    costs: Costs,
) -> None:
    """Compute the foreign teacher's states of every row of `data`, made of `rows` in this order, and unload it.

    States already stored in the workspace are reused. Raises SpecError for another tokenizer, StoreError if the disk has no room.
    """
    model = student.model
    tokenizer = load_tokenizer(teacher.model, revision=teacher.loading.revision)
    check_tokenizer(student, tokenizer, rows, name=teacher.model)
    if teacher.template_hash != model.template.hash:
        progress.warn(
            f"'{teacher.title}' was prepared with another prompt template than this run has. It guides in the run's, so that both models "
            "read the same tokens; an instruct model refuses less surely in a template that is not its own."
        )
    with costs.stage("teacher states"):
        states, head = _answers(workspace, teacher, data.examples, progress, costs)
    head = replace(
        head,
        weight=head.weight.to(model.device),
        bias=None if head.bias is None else head.bias.to(model.device),
    )
    mine, its = model.eos_id, int(tokenizer.eos_token_id)
    if mine != its:
        progress.warn(
            f"'{teacher.model}' ends an answer with token {its} ({tokenizer.eos_token}) and '{model.source}' with {mine} "
            f"({model.tokenizer.eos_token}): the two change places in the teacher's answers, so that the student learns to end its own."
        )
        head = head.exchanged(mine, its)
    data.cache_foreign(states, head)


def check_tokenizer(student: Session, tokenizer: Any, rows: Iterable[Mapping[str, Any]], *, name: str) -> None:
    """Raises SpecError, naming the difference, unless the other model's tokenizer gives the same tokens for the same rows.

    Compares the vocabulary, the special tokens added around a text, and the tokens of every row in the student's template.
    """
    model = student.model
    theirs, ours = tokenizer.get_vocab(), model.tokenizer.get_vocab()
    between = f"a teacher that is another model guides by the probabilities of tokens, and '{name}' and '{model.source}'"
    remedy = "Choose a teacher with the tokenizer of the base, such as its own instruct version, or prepare one on the base itself."
    if theirs != ours:
        missing, more = len(ours.keys() - theirs.keys()), len(theirs.keys() - ours.keys())
        renumbered = sum(theirs[token] != number for token, number in ours.items() if token in theirs)
        raise SpecError(
            f"The vocabulary differs: {between} have {len(theirs):,} and {len(ours):,} tokens, of which {more:,} and {missing:,} are in "
            f"one only, and {renumbered:,} have another number. {remedy}"
        )
    special = [_around(each) for each in (tokenizer, model.tokenizer)]
    if model.template.special_tokens and special[0] != special[1]:
        raise SpecError(f"The special tokens differ: {between} put tokens {special[0]} and {special[1]} around a text. {remedy}")
    reader = Encoder(replace(model, tokenizer=tokenizer), max_length=student.encoder.max_length)
    before, count = student.encoder.truncated, 0
    different = []
    for count, row in enumerate(rows, 1):
        actual, expected = reader.example(row, 0), student.encoder.example(row, 0)
        if (actual.ids[:-1], actual.prompt) != (expected.ids[:-1], expected.prompt):  # the last one ends the text: see `guide`
            different.append(row.get("row_id", count - 1))
    student.encoder.truncated = before
    if different:
        raise SpecError(
            f"The tokens differ: {between} read {len(different):,} of the {count:,} alignment rows in this run's prompt template as other "
            f"tokens (first: row {different[0]}). {remedy}"
        )


def _around(tokenizer: Any) -> list[int]:
    """The special tokens that a tokenizer adds around a text, without its end-of-text token."""
    ids: list[int] = tokenizer("", add_special_tokens=True, verbose=False)["input_ids"]
    return [token for token in ids if token != tokenizer.eos_token_id]


def _answers(
    workspace: Workspace, teacher: TeacherInfo, examples: Sequence[Example], progress: Progress, costs: Costs
) -> tuple[TeacherStates, Head]:
    """States of the supervised tokens of every row, and the head, from the workspace or from the model."""
    settings = settled(locate(teacher.model, revision=teacher.loading.revision), teacher.loading)
    facts = {"foreign": teacher.base_fingerprint, "loading": [settings.dtype, settings.quantization, settings.attention]}
    location = CacheLocation.at(workspace, facts, teacher.adapter, examples)
    assert location.folder is not None, "a workspace has a folder"
    head = _stored(location.folder / HEAD)
    if head is not None:
        states = _opened(examples, head, location)
        if not states.missing(range(len(examples))):
            return states, head
    progress.warn(f"'{teacher.model}' answers {len(examples):,} alignment rows before the training, and is let go then.")
    session = session_of(teacher)
    session.remark(progress)
    check_match(session, teacher)
    head = Head.of(session.model)
    states = _opened(examples, head, location)
    _store(location.folder / HEAD, head)
    _answer(session, teacher, examples, states, progress, costs)
    del session
    free_memory()
    return states, head


def _answer(
    session: Session, teacher: TeacherInfo, examples: Sequence[Example], states: TeacherStates, progress: Progress, costs: Costs
) -> None:
    """Run the teacher on every row, in batches independent of what is stored already: a killed run ends with the same bits."""
    model, pieces = session.model, MicroBatches(warn=progress.warn)
    longest, most = max(len(example.ids) for example in examples), max(max(example.ids) for example in examples)
    if longest > model.context or most >= embeddings(model.base):
        raise SpecError(
            f"'{teacher.model}' has positions for {model.context:,} tokens and embeddings of {embeddings(model.base):,}, but the alignment "
            f"rows have up to {longest:,} tokens, with numbers up to {most:,}. Lower optim.max_length, or choose another teacher."
        )
    done, counted = 0, False
    with session.adapted.active(session.ensure("teacher", teacher.adapter)) as backbone:
        check_head(model, backbone)

        def read(rows: Sequence[int]) -> None:
            batch = collate([examples[row] for row in rows], pad_id=model.pad_id, device=model.device)
            for row, hidden in zip(rows, hidden_states(model, backbone, batch), strict=True):
                states.keep(row, hidden)

        with costs.watching(backbone, model.blocks):
            for batch in by_length([len(example.ids) for example in examples], token_budget=BUDGET):
                progress.check()
                if states.missing(batch):
                    with nullcontext() if counted else costs.operations():
                        pieces.work(batch, read)
                    states.flush()
                    counted = True
                done += len(batch)
                progress.progress(done, len(examples))


def _opened(examples: Sequence[Example], head: Head, location: CacheLocation) -> TeacherStates:
    """The file of states. Raises StoreError if the disk has no room for all of them."""
    tokens = [len(example.ids) - max(example.prompt, 1) for example in examples]
    width, dtype = int(head.weight.shape[1]), head.weight.dtype
    states = TeacherStates(tokens, d_model=width, dtype=dtype, location=location)
    if not states.room:
        size = sum(tokens) * width * dtype.itemsize / 1e9
        raise StoreError(
            f"The teacher's answers take {size:.1f} GB of disk in the workspace, and there is no room for them. Free some, or use fewer "
            "alignment rows."
        )
    return states


def _store(path: Path, head: Head) -> None:
    tensors = {"weight": head.weight, **({} if head.bias is None else {"bias": head.bias})}
    facts = {"head": json.dumps({"scale": head.scale, "cap": head.cap})}
    write_atomic(path, save({name: value.detach().cpu().contiguous() for name, value in tensors.items()}, metadata=facts))


def _stored(path: Path) -> Head | None:
    """The stored head; None if there is none that can be read."""
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            facts = json.loads(file.metadata()["head"])
            tensors: dict[str, torch.Tensor] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 no dictionary
        return Head(tensors["weight"], tensors.get("bias"), float(facts["scale"]), facts["cap"])
    except (OSError, ValueError, KeyError, TypeError, SafetensorError):  # damaged: it is written anew
        return None
