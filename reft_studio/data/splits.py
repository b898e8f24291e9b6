"""Prompt groups: the same question in other spelling never lands on both sides of a split."""

from __future__ import annotations

import hashlib
import math
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from reft_studio.errors import SpecError
from reft_studio.fingerprint import SHORT, of_value
from reft_studio.seeding import generator

ALIKE = 0.5
"""Share of their three-word sequences from which two prompts are near-duplicates."""
COMMON = 50
"""A sequence in more prompts than this is a template's, and says nothing about two prompts being alike."""
_BETWEEN_NUMBERS = re.compile(r"(?<=\d)\s*([-*/%.,:^])\s*(?=\d)")
_SIGN_BETWEEN_NUMBERS = r"[0-9][\s\x0b\x1c-\x1f]*[-*/%.,:^][\s\x0b\x1c-\x1f]*[0-9]"
"""The same for ASCII, as Arrow reads it."""
_KEEP = {sign: chr(0xE000 + position) for position, sign in enumerate("-*/%.,:^")}
_RESTORE = {ord(mark): sign for sign, mark in _KEEP.items()}


def normalise_prompt(text: str) -> str:
    """Lower case, compatible Unicode forms, no punctuation, single spaces; a text of only signs stays as it is.

    Signs between digits stay: '7 - 3' and '7 * 3', or '3.5' and '35', are different questions.
    """
    folded = unicodedata.normalize("NFKC", text).casefold()
    guarded = _BETWEEN_NUMBERS.sub(lambda found: _KEEP[found[1]], folded)
    words = "".join(" " if unicodedata.category(sign)[0] in "PZC" and sign not in _KEEP.values() else sign for sign in guarded)
    return " ".join(words.split()).translate(_RESTORE) or " ".join(folded.split())


def prompt_groups(prompts: Iterable[str]) -> dict[str, list[int]]:
    """Positions of the prompts that are equal after `normalise_prompt`, in order of first appearance."""
    groups: dict[str, list[int]] = {}
    for position, prompt in enumerate(prompts):
        groups.setdefault(normalise_prompt(prompt), []).append(position)
    return groups


def near_groups(prompts: Sequence[str]) -> list[list[int]]:
    """Positions of prompts that are equal after `normalise_prompt` or near-duplicates, in order of first appearance.

    Near-duplicates share at least ALIKE of their three-word sequences (Jaccard index), sequences in more than COMMON prompts left out;
    what is like a member of a group joins it. Sets made from templates hold the same request for many places or objects: split by
    exact wording, a held-out half of them would be known by heart.
    """
    from scipy.sparse import coo_array, csr_array
    from scipy.sparse.csgraph import connected_components

    exact = list(prompt_groups(prompts).items())
    codes: dict[str, int] = {}
    pairs = [(row, codes.setdefault(part, len(codes))) for row, (text, _) in enumerate(exact) for part in _sequences(text)]
    rows, columns = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    rare = (np.bincount(columns, minlength=len(codes)) <= COMMON)[columns]
    held = csr_array((np.ones(int(rare.sum())), (rows[rare], columns[rare])), shape=(len(exact), len(codes)))
    sizes, shared = held.sum(axis=1), coo_array(held @ held.T)
    alike = shared.data >= ALIKE * (sizes[shared.row] + sizes[shared.col] - shared.data)
    edges = csr_array((np.ones(int(alike.sum())), (shared.row[alike], shared.col[alike])), shape=(len(exact), len(exact)))
    labels = connected_components(edges, directed=False)[1]
    groups: dict[int, list[int]] = {}
    for (_, positions), label in zip(exact, labels.tolist(), strict=True):
        groups.setdefault(label, []).extend(positions)
    return [sorted(group) for group in groups.values()]


def _sequences(text: str) -> set[str]:
    """The three-word sequences of a normalised prompt; a shorter prompt is one sequence."""
    words = text.split()
    return {" ".join(words[place : place + 3]) for place in range(max(1, len(words) - 2))}


def split_groups(prompts: Sequence[str], shares: Mapping[str, float], *, seed: int, near: bool = False) -> dict[str, list[int]]:
    """Positions per named part, whole groups at a time, each part as near to its share as the groups allow.

    Groups are of equal prompts (`prompt_groups`), or with `near` of near-duplicates too (`near_groups`). Shares are above 0 and sum
    to 1 (SpecError otherwise). The parts cover every position once, in ascending order.
    """
    if not shares or min(shares.values()) <= 0 or not math.isclose(sum(shares.values()), 1, abs_tol=1e-6):
        raise SpecError(f"shares are {dict(shares)}. Give each part a share above 0; together they must be 1.")
    groups = near_groups(prompts) if near else list(prompt_groups(prompts).values())
    generator(seed, "split").shuffle(groups)
    parts: dict[str, list[int]] = {name: [] for name in shares}
    for group in groups:
        # the part that is furthest behind its share takes the group
        name = max(parts, key=lambda part: shares[part] * len(prompts) - len(parts[part]))
        parts[name].extend(group)
    return {name: sorted(positions) for name, positions in parts.items()}


def assert_disjoint(**named: Iterable[str]) -> None:
    """Raise SpecError if two of the named sets of prompts share one after `normalise_prompt`."""
    sets = {name: {normalise_prompt(prompt) for prompt in prompts} for name, prompts in named.items()}
    names = list(sets)
    for position, first in enumerate(names):
        for second in names[position + 1 :]:
            if shared := len(sets[first] & sets[second]):
                raise SpecError(
                    f"'{first}' and '{second}' share {shared} prompt{'s' if shared > 1 else ''} (of {len(sets[first])} and "
                    f"{len(sets[second])}), so a result would be measured on data it was made with. Split by prompt groups."
                )


def group_key(prompt: str) -> str:
    """The prompt group as 16 hex digits: tells whether two sets share a prompt without holding the prompt."""
    return of_value(normalise_prompt(prompt))[:SHORT]


def group_keys(prompts: pa.Array) -> list[str]:
    """`group_key` of each prompt. Plain ASCII ones, which most are, are normalised all at once: a quarter of the time."""
    lower = pc.ascii_lower(prompts)
    plain = pc.utf8_trim(pc.replace_substring_regex(lower, r"[\pP\pZ\pC]+", " "), " ")
    single = pc.replace_substring_regex(plain, " +", " ")
    simple = pc.and_(pc.string_is_ascii(prompts), pc.invert(pc.match_substring_regex(lower, _SIGN_BETWEEN_NUMBERS)))
    simple = pc.and_(simple, pc.greater(pc.binary_length(single), 0)).to_pylist()
    # JSON of such a text is the text in quotes: what would be escaped was punctuation
    return [
        hashlib.sha256(f'"{text}"'.encode()).hexdigest()[:SHORT] if is_simple else group_key(prompt)
        for prompt, text, is_simple in zip(prompts.to_pylist(), single.to_pylist(), simple, strict=True)
    ]
