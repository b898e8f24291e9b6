"""Files made to exhaust or to crash whoever looks at them, each small on the disk; the same for the same seed."""

from __future__ import annotations

import gzip
import io
import json
import os
import random
import zipfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

Maker = Callable[[Path, random.Random], None]
GIANT = 1_000_000_000


def _repeated(length: int, count: int) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(pa.array([0] * count, pa.int32()), pa.array(["A" * length]))


def _parquet(path: Path, table: pa.Table, **options: object) -> None:
    pq.write_table(table, path, compression="zstd", write_statistics=False, **options)


def _dictionary(path: Path, _: random.Random) -> None:
    _parquet(path, pa.table({"prompt": _repeated(GIANT, 3), "response": ["b"] * 3}))


def _many_rows(path: Path, _: random.Random) -> None:
    _parquet(path, pa.table({"prompt": _repeated(1000, 2_000_000), "response": _repeated(1, 2_000_000)}))


def _one_page(path: Path, _: random.Random) -> None:
    column = pa.array(["B" * (GIANT // 5), "x"])
    _parquet(path, pa.table({"prompt": column, "response": ["b", "c"]}), use_dictionary=False, data_page_size=1 << 30)


def _many_lists(path: Path, _: random.Random) -> None:
    _parquet(path, pa.table({"messages": pa.array([["x"]] * 1_000_000)}))


def _one_list(path: Path, _: random.Random) -> None:
    turns = pa.array([None] * 20_000_000, pa.struct([("role", pa.string()), ("content", pa.string())]))
    column = pa.ListArray.from_arrays(pa.array([0, 20_000_000], pa.int32()), turns)
    _parquet(path, pa.table({"messages": column}))


def _wide_parquet(path: Path, _: random.Random) -> None:
    _parquet(path, pa.table({f"c{number}": [1] for number in range(20_000)}))


def _many_groups(path: Path, _: random.Random) -> None:
    _parquet(path, pa.table({"prompt": ["a"] * 20_000, "response": ["b"] * 20_000}), row_group_size=1)


def _damaged_parquet(path: Path, chance: random.Random) -> None:
    _parquet(path, pa.table({"prompt": ["abc " * 20] * 500, "response": ["d"] * 500}))
    content = bytearray(path.read_bytes())
    for _ in range(30):
        content[chance.randrange(4, len(content))] = chance.randrange(256)
    path.write_bytes(content)


def _arrow_lengths(path: Path, chance: random.Random) -> None:
    """A stream of Arrow whose texts begin and end far outside of the file."""
    stream = io.BytesIO()
    with pa.ipc.new_stream(stream, pa.schema([("prompt", pa.string()), ("response", pa.string())])) as writer:
        writer.write_batch(pa.record_batch({"prompt": ["abcd"] * 50, "response": ["efgh"] * 50}))
    content = bytearray(stream.getvalue())
    place = content.find((4).to_bytes(4, "little") + (8).to_bytes(4, "little") + (12).to_bytes(4, "little"))
    for at in range(place, place + 40 * 4, 4):
        content[at : at + 4] = chance.randrange(1 << 30, (1 << 31) - 1).to_bytes(4, "little")
    path.write_bytes(content)


def _deep_json(path: Path, _: random.Random) -> None:
    path.write_bytes(b'{"prompt":' + b"[" * 3_000_000 + b"]" * 3_000_000 + b"}\n")


def _deep_array(path: Path, _: random.Random) -> None:
    path.write_bytes(b"[" * 5_000_000)


def _many_keys(path: Path, _: random.Random) -> None:
    path.write_text('{"prompt":"a","response":"b",' + ",".join(f'"k{n}":1' for n in range(500_000)) + "}\n", "utf-8")


def _other_keys(path: Path, _: random.Random) -> None:
    rows = (json.dumps({f"k{row}-{n}": 1 for n in range(2000)}) for row in range(200))
    path.write_text("\n".join(rows), "utf-8")


def _long_keys(path: Path, _: random.Random) -> None:
    path.write_text("\n".join(json.dumps({f"{row}" + "k" * 2_000_000: "v", "prompt": "a", "response": "b"}) for row in range(6)), "utf-8")


def _huge_text(path: Path, _: random.Random) -> None:
    path.write_text("".join(json.dumps({"prompt": "x" * 7_900_000, "response": "y"}) + "\n" for _ in range(6)), "utf-8")


def _many_turns(path: Path, _: random.Random) -> None:
    turns = '{"role":"user","content":"a"},' * 200_000
    path.write_text(f'{{"messages":[{turns}{{"role":"assistant","content":"b"}}]}}\n', "utf-8")


def _columns_of_json(path: Path, _: random.Random) -> None:
    cells = ",".join(["1"] * 12_000_000)
    path.write_text(f'{{"prompt":[{cells}],"response":[{cells}]}}', "utf-8")


def _wide_csv(path: Path, _: random.Random) -> None:
    path.write_text(",".join(f"c{number}" for number in range(1_000_000)) + "\nx\n", "utf-8")


def _one_line(path: Path, _: random.Random) -> None:
    """One line of a gigabyte, which takes no room on the disk."""
    with path.open("wb") as file:
        file.write(b"prompt,response\n" + b"a,b\n" * 70_000)
        file.truncate(GIANT)


def _open_quotes(path: Path, _: random.Random) -> None:
    path.write_bytes(b"prompt,response\n" + b'a,"b "" c\n' * 300_000)


def _zip(path: Path, _: random.Random) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.jsonl", b"\0" * 50_000_000)


def _gzip(path: Path, _: random.Random) -> None:
    path.write_bytes(gzip.compress(gzip.compress(b"\0" * 50_000_000)))


def _zstd(path: Path, _: random.Random) -> None:
    path.write_bytes(pa.compress(b"\0" * 50_000_000, codec="zstd", asbytes=True))


def _pipe(path: Path, _: random.Random) -> None:
    os.mkfifo(path)


def _device(path: Path, _: random.Random) -> None:
    path.symlink_to("/dev/zero")


def _circle(path: Path, _: random.Random) -> None:
    path.symlink_to(path.name)


def _maze(path: Path, _: random.Random) -> None:
    """A folder of links to itself, without a file."""
    path.mkdir()
    for number in range(60):
        (path / f"l{number}").symlink_to(".")


def _noise(path: Path, chance: random.Random) -> None:
    path.write_bytes(b"PAR1" + chance.randbytes(3_000_000) + b"PAR1")


MAKERS: dict[str, Maker] = {
    "dictionary.parquet": _dictionary,
    "rows.parquet": _many_rows,
    "page.parquet": _one_page,
    "lists.parquet": _many_lists,
    "list.parquet": _one_list,
    "wide.parquet": _wide_parquet,
    "groups.parquet": _many_groups,
    "damaged.parquet": _damaged_parquet,
    "noise.parquet": _noise,
    "lengths.arrow": _arrow_lengths,
    "deep.jsonl": _deep_json,
    "deep.json": _deep_array,
    "keys.jsonl": _many_keys,
    "other-keys.jsonl": _other_keys,
    "long-keys.jsonl": _long_keys,
    "huge.jsonl": _huge_text,
    "turns.jsonl": _many_turns,
    "columns.json": _columns_of_json,
    "wide.csv": _wide_csv,
    "line.csv": _one_line,
    "quotes.csv": _open_quotes,
    "zeros.zip": _zip,
    "zeros.gz": _gzip,
    "zeros.zst": _zstd,
    "pipe.jsonl": _pipe,
    "device.jsonl": _device,
    "circle.jsonl": _circle,
    "maze": _maze,
}
"""What each file is called, and what makes it."""
QUICK = ("dictionary.parquet", "page.parquet", "lengths.arrow", "long-keys.jsonl", "pipe.jsonl", "device.jsonl", "circle.jsonl", "maze")
"""Some of each kind that take a moment only."""


def make(folder: Path, name: str, *, seed: int = 0) -> Path:
    """Make one of them."""
    folder.mkdir(parents=True, exist_ok=True)
    MAKERS[name](folder / name, random.Random(f"{seed} {name}"))
    return folder / name
