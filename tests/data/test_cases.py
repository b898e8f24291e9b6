"""Files as people bring them, every one of them, against what is right for it."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from reft_studio.data.dataset import Dataset, open_dataset
from reft_studio.data.origin.sources import gather, local
from reft_studio.data.reading.readers import ImportReport, import_file, preview
from reft_studio.data.rows.mapping import Mapping
from reft_studio.data.writing.export import export_kept
from reft_studio.errors import DataError, SpecError
from reft_studio.workspace import Workspace

CASES = Path(__file__).resolve().parents[3] / "shared" / "data" / "cases"


@dataclass(frozen=True)
class Read:
    """A file after its import."""

    path: Path
    report: ImportReport
    rows: list[dict[str, Any]]

    @property
    def chats(self) -> list[list[dict[str, Any]]]:
        return [json.loads(row["messages"]) for row in self.rows]

    @property
    def roles(self) -> set[tuple[str, ...]]:
        return {tuple(turn["role"] for turn in chat) for chat in self.chats}

    @property
    def truths(self) -> set[bool | None]:
        return {row["known_harmful"] for row in self.rows}


@dataclass(frozen=True)
class Case:
    """What is right for a file. `rows` is None if it is to be refused."""

    right: str
    rows: int | None = 10
    aside: int = 0
    holds: Callable[[Read], bool] = lambda _: True
    """A fact that must hold of what was read."""
    mapping: Mapping | None = None
    """What a person chose by hand."""


def _all(test: Callable[[dict[str, Any]], bool]) -> Callable[[Read], bool]:
    return lambda read: all(test(row) for row in read.rows)


def _unwanted(read: Read) -> bool:
    """Whether every row that its file calls undesirable is set aside or warned about."""
    labels = [json.loads(line)["label"] for line in read.path.read_text("utf-8").splitlines()]
    return read.report.quarantined + read.report.warnings >= labels.count(False) > 0


RIGHT: dict[str, Case] = {
    "01-last-turn-is-tool-call.jsonl": Case(
        "the call is the answer", holds=lambda read: all("tool_calls" in chat[-1] for chat in read.chats)
    ),
    "02-gemini-contents-parts.jsonl": Case(
        "contents and parts are turns", holds=lambda read: read.roles == {("system", "user", "assistant")}
    ),
    "03b-unicode-line-separators.csv": Case("line separators are text", holds=lambda read: len({row["prompt"] for row in read.rows}) == 10),
    "04-top-level-system-with-messages.jsonl": Case(
        "the system text is a turn", holds=lambda read: read.roles == {("system", "user", "assistant")}
    ),
    "05-sharegpt-other-models-as-speakers.json": Case("other models answer", holds=lambda read: read.roles == {("user", "assistant")}),
    "06-loss-false-on-last-turn.jsonl": Case(
        "the last turn with loss is the answer",
        holds=lambda read: all(row["response"] == chat[1]["content"] for row, chat in zip(read.rows, read.chats, strict=True)),
    ),
    "07-wildguard-label-words.jsonl": Case("both labels are read", holds=lambda read: read.truths == {True, False}),
    "07c-label-01.csv": Case(
        "both labels are read, once 1 is called harmful",
        holds=lambda read: read.truths == {True, False},
        mapping=Mapping(columns={"known_harmful": "label"}, labels={"1": True}),
    ),
    "08-pretty-printed-objects.jsonl": Case("objects over several lines"),
    "09-excel-sep-line.csv": Case(
        "the separator line is obeyed", holds=_all(lambda row: "sep" not in row["prompt"] and bool(row["response"]))
    ),
    "10-backslash-quotes.csv": Case(
        "quotes are read as meant",
        holds=_all(lambda row: row["prompt"].count('"') == row["response"].count('"') == 2 and "\\" not in row["prompt"] + row["response"]),
    ),
    "11-kto-undesirable.jsonl": Case("unwanted answers are set aside or warned about", rows=-1, aside=-1, holds=_unwanted),
    "13b-messages-as-numpy-repr.csv": Case("printed turns are read", holds=lambda read: read.roles == {("user", "assistant")}),
    "14-openai-logs-request-response.jsonl": Case("refused in words", rows=None),
    "15-axolotl-segments.jsonl": Case("refused in words", rows=None),
    "16-dpo-chosen-rejected-lists.jsonl": Case("the chosen answer", holds=lambda read: read.roles == {("user", "assistant")}),
    "17-starts-with-gpt-ends-with-human.json": Case(
        "the answer before the last question", holds=lambda read: all(row["response"] == chat[2]["content"] for row, chat in _pairs(read))
    ),
    "18-special-tokens-in-text.jsonl": Case("tokens in texts are text", holds=_all(lambda row: "<|im_end|>" in row["prompt"])),
    "19-lone-surrogates.jsonl": Case("read with a remark for each row", holds=lambda read: read.report.warnings == 10),
    "20-comma-after-each-object.jsonl": Case("JSON Lines, with a warning", holds=lambda read: "comma" in " ".join(read.report.notes)),
    "21-capital-keys.jsonl": Case("keys in any case", holds=lambda read: read.roles == {("user", "assistant")}),
    "22-xtuner-input-output-turns.jsonl": Case(
        "pairs are turns", holds=lambda read: read.roles == {("system", "user", "assistant", "user", "assistant")}
    ),
    "23-instruction-null-input-filled.jsonl": Case(
        "the input alone is the prompt", holds=_all(lambda row: row["prompt"] == row["prompt"].strip() != "")
    ),
    "24-struct-of-lists.parquet": Case("an object of lists is a list of turns", holds=lambda read: read.roles == {("user", "assistant")}),
    "26-dictionary-map-decimal.parquet": Case("columns of rare types do no harm", holds=lambda read: read.truths <= {True, False}),
    "27-messages-json-string.parquet": Case("turns as JSON text", holds=lambda read: read.roles == {("user", "assistant")}),
    "28-zero-rows.parquet": Case("refused in words", rows=None),
    "29-data-00000-of-00001.arrow": Case("a lone Arrow file is read", holds=lambda read: read.report.container == "arrow"),
    "30-folder-of-jsonl": Case("shards are joined in order", holds=lambda read: [row["row_id"] for row in read.rows] == list(range(10))),
    "31-sentence-classlabel.parquet": Case("refused in words: it has no answers", rows=None),
    "34-comma-lines-one-bad-line.jsonl": Case("the broken line is set aside", rows=9, aside=1),
    "36-openai-batch-output.jsonl": Case("the refusal is the answer", holds=_all(lambda row: bool(row["response"].strip()))),
    "37-audio-and-file-parts.jsonl": Case("read with a remark for each row", holds=lambda read: read.report.warnings >= 10),
    "38a-fixed-size-list.parquet": Case("an unneeded column of a rare type"),
    "38b-list-view.parquet": Case("an unneeded column of a rare type"),
    "38c-string-view.parquet": Case("an unneeded column of a rare type"),
    "38e-duration-time.parquet": Case("an unneeded column of a rare type"),
    "38f-halffloat-null.parquet": Case("an unneeded column of a rare type"),
    "39-one-row-the-template-refuses.jsonl": Case("read; the template is asked when it is scored"),
    "40-one-row-longer-than-the-model.jsonl": Case("read; cut when it is scored", holds=lambda read: max(map(_chars, read.rows)) > 5000),
}


def _pairs(read: Read) -> list[tuple[dict[str, Any], list[dict[str, Any]]]]:
    return list(zip(read.rows, read.chats, strict=True))


def _chars(row: dict[str, Any]) -> int:
    return len(row["prompt"])


@pytest.fixture
def cases() -> Path:
    """The files outside of the project; tests that need them are skipped where they are not."""
    if not CASES.is_dir():
        pytest.skip(f"The files as people bring them are not there ({CASES}).")
    return CASES


def _one_file(path: Path, folder: Path) -> Path:
    """The file itself, or the shards of a folder as the app joins them."""
    if path.is_file():
        return path
    source = local(str(path))
    part = source.part(source.parts[0].name)
    return gather([Path(file) for file in part.files], part.kind, folder / f"joined{part.ending}", lambda _done, _all: None)


def got(path: Path, case: Case, folder: Path) -> tuple[str, bool]:
    """What became of a file, in words, and whether that is right."""
    folder.mkdir(parents=True)
    try:
        whole = _one_file(path, folder)
        preview(whole, case.mapping)
        workspace = Workspace.open(folder / "workspace")
        report = import_file(workspace, whole, mapping=case.mapping)
    except (DataError, SpecError) as exc:
        said = str(exc).removeprefix(path.name).lstrip(":, ")
        return f"refused: {said.split('. ')[0]}", case.rows is None
    dataset = open_dataset(workspace, report.dataset_id)
    read = Read(whole, report, list(dataset.read()))
    words = f"{report.rows} rows, {report.quarantined} set aside"
    remarks = [f"{reason} ({count})" for reason, count in {**report.reasons, **report.warning_reasons}.items()] + report.notes
    counted = case.rows == -1 or (report.rows, report.quarantined) == (case.rows, case.aside)
    valid = _is_valid(dataset, folder / f"cleaned{whole.suffix}")
    told = "; ".join([words, *remarks, *([] if valid else ["THE CLEANED FILE IS NOT VALID"])])
    return told, counted and case.holds(read) and valid


def _is_valid(dataset: Dataset, target: Path) -> bool:
    """Whether the cleaned file is what the app says it is, and holds the rows."""
    export_kept(dataset, lambda _: True, target)
    source = dataset.manifest["source"]
    try:
        if source["cleaned"].startswith("JSON Lines"):
            return len([json.loads(line) for line in target.read_bytes().splitlines() if line.strip()]) == dataset.rows
        if source["container"] == "json":
            return len(json.loads(target.read_bytes())) == dataset.rows
        return len(preview(target, Mapping(**source["mapping"])).rows) == dataset.rows
    except ValueError:
        return False


def result_table(cases: Path, folder: Path) -> list[tuple[str, str, str, str]]:
    """For each file: name, what is right, what came, whether that is right."""
    table = []
    for name, case in RIGHT.items():
        told, right = got(cases / name, case, folder / name)
        table.append((name, case.right if case.rows is None else f"{case.right}: {_counts(case)}", told, "yes" if right else "NO"))
    return table


def _counts(case: Case) -> str:
    return "none is lost" if case.rows == -1 else f"{case.rows} rows" + (f", {case.aside} set aside" if case.aside else "")


def test_every_file_has_an_expectation(cases: Path) -> None:
    assert {path.name for path in cases.iterdir()} - {"README.md"} == set(RIGHT)


@pytest.mark.parametrize("name", RIGHT)
def test_a_file_as_people_bring_it_is_read_rightly(name: str, cases: Path, tmp_path: Path) -> None:
    told, right = got(cases / name, RIGHT[name], tmp_path / "case")
    assert right, told


def test_labels_called_0_and_1_are_asked_about(cases: Path, workspace: Workspace) -> None:
    path, by_hand = cases / "07c-label-01.csv", Mapping(columns={"known_harmful": "label"})
    asked = preview(path, by_hand).labels
    assert asked is not None and set(asked.values) == {"0", "1"} and not preview(path, by_hand).ready
    with pytest.raises(SpecError, match="--harmful-value"):
        import_file(workspace, path, mapping=by_hand)
    report = import_file(workspace, path)  # nobody named the column
    assert set(open_dataset(workspace, report.dataset_id).table(["known_harmful"]).column(0).to_pylist()) == {None}


if __name__ == "__main__":  # python -m tests.data.test_cases FOLDER > table
    print("| file | right | got | same |\n| --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as scratch:
        for line in result_table(Path(sys.argv[1]), Path(scratch)):
            print(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |")
