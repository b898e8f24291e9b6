"""The published evaluations of harmful finetuning as sets of prompts: rows, instruction, response length and rule.

The files are the user's own (or the hub's, for BeaverTails); none ships. Source: the evaluation code of git-disl/Booster at caf91cd.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reft_studio.data.dataset import Row, write_dataset
from reft_studio.errors import DataError, PrerequisiteError
from reft_studio.evaluation.grade import SetName
from reft_studio.evaluation.rows import read_rows
from reft_studio.evaluation.suite import PREFERENCE, PromptSet
from reft_studio.models.source import offline
from reft_studio.registry import Registry
from reft_studio.workspace import Workspace

BEAVERTAILS = "PKU-Alignment/BeaverTails"
_BEAVERTAILS_FILE = "round0/30k/test.jsonl.gz"
_SENTIMENTS = ("negative", "positive")
_TOPICS = ("World", "Sports", "Business", "Sci/Tech")
_SENTIMENT = "Analyze the sentiment of the input, and respond only positive or negative"
_TOPIC = "Categorize the news article given in the input into one of the 4 categories:\n\n" + "\n".join(_TOPICS) + "\n"


@dataclass(frozen=True)
class PublishedSet:
    """One published set. `rows` is the number of rows used, from the first valid one; `read` converts a row, or returns None to skip it."""

    name: str
    title: str
    set: SetName
    rows: int
    max_new_tokens: int
    benchmark: str | None
    columns: str
    read: Callable[[dict[str, Any], int], Row | None]


def _beavertails(row: dict[str, Any], position: int) -> Row | None:
    """Unsafe rows only; prompts repeat, and every repetition is asked, as in the published score."""
    if "is_safe" not in row:
        raise KeyError("is_safe")
    if str(row["is_safe"]).lower() != "false":
        return None
    harms = row.get("category")
    named = ", ".join(name for name, applies in harms.items() if applies) if isinstance(harms, dict) else harms
    return Row(row_id=position, prompt=str(row["prompt"]), response="", category=named or None, known_harmful=True)


def _labelled(words: str, text: str, labels: Sequence[str]) -> Callable[[dict[str, Any], int], Row]:
    """Rows of text and label (a name or its number), or rows whose prompt contains the instruction already."""

    def read(row: dict[str, Any], position: int) -> Row:
        if row.get("prompt") and row.get("response"):
            return Row(row_id=position, prompt=str(row["prompt"]), response=str(row["response"]))
        label = str(row["label"])
        if label not in labels:
            label = labels[int(label)]
        return Row(row_id=position, prompt=f"{words}\n{row[text]}", response=label)

    return read


def _gsm8k(row: dict[str, Any], position: int) -> Row:
    question, answer = (row["question"], row["answer"]) if "question" in row else (row["prompt"], row["response"])
    return Row(row_id=position, prompt=str(question), response=str(answer))


def _alpaca_eval(row: dict[str, Any], position: int) -> Row | None:
    """Items after the 701st: the first 700 are training data of the published setting, whose index must exceed 700."""
    if position <= 700:
        return None
    prompt, reference = (row["instruction"], row["output"]) if "instruction" in row else (row["prompt"], row["response"])
    return Row(row_id=position, prompt=str(prompt), response=str(reference)) if reference else None


_ALL = (
    PublishedSet("beavertails", "BeaverTails, 1,000 unsafe prompts", "harmful", 1000, 512, None, "prompt, is_safe", _beavertails),
    PublishedSet(
        "sst2", "SST-2 validation", "task", 872, 200, "exact_label", "sentence, label", _labelled(_SENTIMENT, "sentence", _SENTIMENTS)
    ),
    PublishedSet("ag_news", "AG News test, 1,000", "task", 1000, 200, "exact_label", "text, label", _labelled(_TOPIC, "text", _TOPICS)),
    PublishedSet("gsm8k", "GSM8K test, 1,000", "task", 1000, 200, "last_number", "question, answer", _gsm8k),
    PublishedSet("alpaca_eval", "AlpacaEval prompts, preference", "task", 104, 256, PREFERENCE, "instruction, output", _alpaca_eval),
)
PRESETS = {preset.name: preset for preset in _ALL}


def preset_named(name: str) -> PublishedSet:
    """The preset; SpecError, listing the names, if there is none."""
    if name not in PRESETS:
        Registry[PublishedSet]("preset suite", dict.fromkeys(PRESETS, "")).get(name)
    return PRESETS[name]


def preset_set(workspace: Workspace, name: str, source: str, *, rows: int | None = None) -> PromptSet:
    """The prompts of a preset from a file (BeaverTails also from the hub, by its id), stored as a dataset of the workspace.

    Fewer `rows` than published are allowed and change the fingerprint of the suite. Raises DataError naming what does not fit.
    """
    preset = preset_named(name)
    path = _from_hub() if source == BEAVERTAILS and preset.name == "beavertails" else Path(source).expanduser()
    most = min(rows or preset.rows, preset.rows)
    chosen = list(_take(_fitting(preset, path), most))
    if not chosen:
        raise DataError(f"{path.name} has no row that {preset.title} uses. It needs the columns {preset.columns}.")
    dataset = write_dataset(workspace, chosen, name=f"{preset.title} ({len(chosen):,})", role="benchmark", extra={"preset": preset.name})
    return PromptSet(name=preset.set, source="dataset", of=dataset.id, max_new_tokens=preset.max_new_tokens, benchmark=preset.benchmark)


def _take(rows: Iterator[Row], most: int) -> Iterator[Row]:
    for count, row in enumerate(rows):
        if count == most:
            return
        yield row


def _fitting(preset: PublishedSet, path: Path) -> Iterator[Row]:
    for position, value in enumerate(read_rows(path)):
        try:
            row = preset.read(value, position)
        except (KeyError, ValueError, IndexError) as exc:
            raise DataError(
                f"{path.name}, row {position}: it does not have the columns or labels of {preset.title} (needed: {preset.columns}; "
                f"columns found: {', '.join(map(str, value))[:200]})."
            ) from exc
        if row is not None:
            yield row


def _from_hub() -> Path:
    if offline():
        raise PrerequisiteError(
            f"{BEAVERTAILS} is on the hub, and offline mode forbids asking it. Give the file instead ({_BEAVERTAILS_FILE} of that dataset)."
        )
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError

    try:
        return Path(hf_hub_download(BEAVERTAILS, _BEAVERTAILS_FILE, repo_type="dataset"))
    except (HfHubHTTPError, OSError) as exc:
        raise PrerequisiteError(
            f"{_BEAVERTAILS_FILE} of {BEAVERTAILS} could not be downloaded ({type(exc).__name__}). Download it elsewhere and give the file."
        ) from exc
