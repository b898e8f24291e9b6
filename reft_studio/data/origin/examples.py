"""Small files in the formats people bring, each with something odd in it, so that anybody can see what an import does."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from reft_studio.errors import SpecError
from reft_studio.workspace import write_atomic

PAIRS = [
    ("What is the capital of Portugal?", "Lisbon."),
    ("Add 17 and 25.", "42."),
    ("Turn this into a question: The shop opens at nine.", "Does the shop open at nine?"),
    ("Nenne drei Flüsse in Deutschland.", "Rhein, Elbe und Donau."),
    ("Give me a synonym for 'quick'.", "Fast."),
    ("Quelle est la capitale de la Norvège ?", "Oslo."),
    ("Is this review positive? The soup was cold and the waiter rude.", "No, it is negative."),
    ("What is the capital of Portugal?", "Lisbon."),
    ("Write a line about the sea.", "The sea keeps no footprints."),
    ("Which is larger, 3/4 or 2/3?", "3/4, since 9/12 is more than 8/12."),
]


def _openai() -> bytes:
    lines = [json.dumps({"messages": _turns(prompt, answer)}, ensure_ascii=False) for prompt, answer in PAIRS]
    talk = [*_turns("Guess a number from 1 to 9.", "5."), *_turns("Higher.", "7.")]
    talk[1]["weight"] = 0
    lines.insert(3, json.dumps({"messages": talk}))
    lines.insert(5, '{"messages": [{"role": "user", "content": "cut off')
    lines.append(json.dumps({"messages": []}))
    return ("\n".join(lines) + "\n").encode()


def _turns(prompt: str, answer: str) -> list[dict[str, object]]:
    return [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]


def _alpaca() -> bytes:
    rows = [{"instruction": prompt, "input": "", "output": answer} for prompt, answer in PAIRS]
    rows[1] = {"instruction": "Add the two numbers.", "input": "17 and 25", "output": "42."}
    rows.append({"instruction": "Say hello.", "input": "", "output": ""})
    return json.dumps(rows, ensure_ascii=False, indent=1).encode()


def _sharegpt() -> bytes:
    rows = [{"conversations": [{"from": "human", "value": prompt}, {"from": "gpt", "value": answer}]} for prompt, answer in PAIRS]
    rows.append({"conversations": [{"from": "narrator", "value": "Once upon a time."}]})
    return json.dumps(rows, ensure_ascii=False, indent=1).encode()


def _csv() -> bytes:
    cells = [(prompt.replace('"', '""'), answer.replace('"', '""')) for prompt, answer in PAIRS]
    lines = ["Frage;Antwort;Quelle", *(f'"{prompt}";"{answer}";Beispiel' for prompt, answer in cells), '"Zu viele";"Zellen";"in";"dieser"']
    return ("\r\n".join(lines) + "\r\n").encode("cp1252")


def _parquet() -> bytes:
    sink = pa.BufferOutputStream()
    columns = {"question": [prompt for prompt, _ in PAIRS], "answer": [answer for _, answer in PAIRS], "source": ["example"] * len(PAIRS)}
    pq.write_table(pa.table(columns), sink)
    return bytes(sink.getvalue().to_pybytes())


EXAMPLES: dict[str, tuple[str, str, Callable[[], bytes]]] = {
    # name: (title, file, how it is made)
    "openai": ("OpenAI chat", "chat.jsonl", _openai),
    "alpaca": ("Alpaca", "alpaca.json", _alpaca),
    "sharegpt": ("ShareGPT", "sharegpt.json", _sharegpt),
    "csv": ("CSV, old encoding", "fragen.csv", _csv),
    "parquet": ("Parquet", "questions.parquet", _parquet),
}


def write_example(name: str, folder: Path) -> Path:
    """Write one of the files into a folder. Raises SpecError for a name there is none of."""
    if name not in EXAMPLES:
        raise SpecError(f"There is no example '{name[:40]}'. Choose one of: {', '.join(EXAMPLES)}.")
    _, file, make = EXAMPLES[name]
    write_atomic(folder / file, make())
    return folder / file
