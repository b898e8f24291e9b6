"""Which calibration prompts a file holds too. They must not tell how the filter does on that file."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from reft_studio import fingerprint
from reft_studio.data.dataset import Dataset
from reft_studio.data.splits import group_key, group_keys
from reft_studio.errors import PrerequisiteError, StoreError
from reft_studio.scoring.prepared import Prepared
from reft_studio.teacher.details import NEIGHBOURS
from reft_studio.workspace import read_json, write_json

BATCH = 1 << 16
"""Prompts that are looked at together."""
PADDING = 2
"""A prompt more than so many times as long as the longest of the calibration is no other spelling of one, for all its punctuation."""
_LOG = logging.getLogger(__name__)


def shared_groups(dataset: Dataset, prepared: Prepared, groups: frozenset[str]) -> frozenset[str]:
    """Of the prompt groups of a scorer's calibration those that the dataset holds; looked for once, then kept beside the rows.

    With the calibration prompts at hand only rows with the same letters and digits are looked at closely: seconds for a million rows.
    """
    kept = dataset.folder / "shared" / f"{fingerprint.of_value(sorted(groups))[: fingerprint.SHORT]}.json"
    known = _known(kept)
    if known is not None:
        return known
    found = frozenset(key for prompts in _candidates(dataset, prepared, groups) for key in group_keys(prompts) if key in groups)
    try:
        kept.parent.mkdir(exist_ok=True)
        write_json(kept, {"groups": sorted(found)})
    except (OSError, PrerequisiteError) as exc:
        _LOG.warning("shared calibration prompts are not kept: %s", exc)
    return found


def _known(path: Path) -> frozenset[str] | None:
    """What was found before; None if nobody has looked yet."""
    try:
        return frozenset(read_json(path)["groups"])
    except (StoreError, KeyError, TypeError):
        return None


def longest_prompt(prepared: Prepared) -> int | None:
    """Characters of the longest calibration prompt; None if they are not kept."""
    prompts = _calibration_prompts(prepared)
    return None if prompts is None or not len(prompts) else int(pc.max(pc.utf8_length(prompts)).as_py())


def _candidates(dataset: Dataset, prepared: Prepared, groups: frozenset[str]) -> Iterator[pa.Array]:
    """Prompts of the dataset, in parts, that may be in one of the groups; all of them where the calibration prompts are not known."""
    letters = _calibration_letters(prepared, groups)
    most = PADDING * (longest_prompt(prepared) or 0)
    for batch in dataset.batches(["prompt"], size=BATCH):
        prompts = batch.column(0)
        if letters is not None:
            prompts = prompts.filter(pc.less_equal(pc.utf8_length(prompts), most))
            prompts = prompts.filter(pc.is_in(_letters(prompts), value_set=letters))
        yield prompts


def _calibration_letters(prepared: Prepared, groups: frozenset[str]) -> pa.Array | None:
    """Letters of the calibration prompts; None unless the scorer keeps the prompts of every group."""
    prompts = _calibration_prompts(prepared)
    if prompts is None:
        return None
    known = {group_key(prompt) for prompt in prompts.to_pylist()}
    return _letters(prompts).unique() if groups <= known else None


def _calibration_prompts(prepared: Prepared) -> pa.Array | None:
    try:
        return pq.read_table(prepared.folder / NEIGHBOURS, columns=["prompt"]).column(0).combine_chunks()
    except (OSError, pa.ArrowException, KeyError):
        return None  # prepared before prompts were kept


def _letters(prompts: pa.Array) -> pa.Array:
    """What is left of each prompt when only letters and digits stay: equal for prompts of one group."""
    folded = pc.utf8_lower(pc.utf8_normalize(prompts, form="NFKC"))
    for letter, plain in (("ß", "ss"), ("ς", "σ")):  # which lower case leaves, and Python's `casefold` does not
        folded = pc.replace_substring(folded, letter, plain)
    return pc.replace_substring_regex(folded, r"[\pP\pZ\pC]+", "")
