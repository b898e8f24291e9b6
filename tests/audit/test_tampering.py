"""A thousand random changes to a bundle, and hundreds to the log of decisions: `verify` finds each.

`python tests/audit/test_tampering.py` makes a thousand of both and prints how many of which kind were made and found.
"""

from __future__ import annotations

import hashlib
import json
import random
import shutil
import sqlite3
import sys
import tempfile
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np

from reft_studio.audit.bundle import verify
from reft_studio.audit.bundle_format import MANIFEST
from reft_studio.audit.decision import GENESIS, HASHED, entry_hash
from reft_studio.audit.freeze import noted_hashes
from reft_studio.data.dataset import list_datasets, write_dataset
from reft_studio.errors import StoreError
from reft_studio.scoring.scores import write_scores
from reft_studio.store.decisions import DecisionLog
from reft_studio.studio.audit import Audit
from reft_studio.workspace import Workspace

TIMES = 1000
SHORT = 320
"""Changes to the log in the test: each copies and checks a whole database."""
ROWS = 60
Files = dict[str, bytes]


def audited(folder: Path) -> tuple[Audit, Path]:
    """An audit with bulk and single decisions of two people, undo, draws and an approval rule, frozen and packed."""
    workspace = Workspace.open(folder)
    audit = Audit(workspace, DecisionLog(workspace))
    dataset = write_dataset(workspace, [{"prompt": f"p{at}", "response": "r"} for at in range(ROWS)], name="sixty", role="user")
    values = np.linspace(-1, 1, ROWS).astype(np.float32)
    write_scores(workspace, dataset, values, key="k", scorer="s", teacher="lab", threshold=0.4, info={"made_by": "test"})
    for row in audit.draw(dataset.id, count=12, by="Ana").rows:
        audit.decide(dataset.id, row, "keep", "harmless", by="Ana")
    audit.decide_many(dataset.id, list(range(50, 60)), "remove", "clear cases", by="Tom")
    audit.decide(dataset.id, 45, "relabel", by="Tom")
    audit.undo(dataset.id, by="Tom")
    audit.redo(dataset.id, by="Tom")
    audit.set_approvals(dataset.id, True, by="Ana")
    audit.decide(dataset.id, 45, "relabel", by="Ana")
    audit.draw(dataset.id, "above", count=5, by="Ana")
    return audit, audit.bundle(audit.freeze(dataset.id).id, by="Ana")


# --- the bundle ---------------------------------------------------------------------------------------------------------------------


def packed(files: Files, *, seal: bool) -> bytes:
    """The files as a bundle; with `seal`, all hashes follow, as a careful forger would have it."""
    if seal:
        manifest = json.loads(files[MANIFEST])
        manifest["files"] = {name: hashlib.sha256(content).hexdigest() for name, content in files.items() if name != MANIFEST}
        files = {**files, MANIFEST: json.dumps(manifest).encode()}
    with tempfile.TemporaryFile() as file:
        with zipfile.ZipFile(file, "w") as archive:
            archive.comment = b"0" * 64
            for name, content in files.items():
                archive.writestr(name, content)
        file.seek(0)
        whole = file.read()[:-64]
    return whole + (hashlib.sha256(whole).hexdigest().encode() if seal else b"0" * 64)


def flipped(content: bytes, dice: random.Random) -> bytes:
    found = bytearray(content)
    found[dice.randrange(len(found))] ^= 1 << dice.randrange(8)
    return bytes(found)


def cut(content: bytes, dice: random.Random) -> bytes:
    return content[: dice.randrange(len(content))]


def without_a_span(content: bytes, dice: random.Random) -> bytes:
    start = dice.randrange(len(content) - 1)
    return content[:start] + content[start + 1 + dice.randrange(200) :]


def with_bytes_between(content: bytes, dice: random.Random) -> bytes:
    at = dice.randrange(len(content) + 1)
    return content[:at] + dice.randbytes(1 + dice.randrange(50)) + content[at:]


def lines_changed(content: bytes, dice: random.Random) -> bytes:
    """A line gone, doubled, moved, or with another digit."""
    lines = content.splitlines(keepends=True)
    at, other = dice.randrange(len(lines)), dice.randrange(len(lines))
    what = dice.randrange(4)
    if what == 0:
        del lines[at]
    elif what == 1:
        lines.insert(other, lines[at])
    elif what == 2:
        lines[at], lines[other] = lines[other], lines[at]
    else:
        digits = [place for place, letter in enumerate(lines[at]) if chr(letter).isdigit()] or [0]
        place = dice.choice(digits)
        lines[at] = lines[at][:place] + str(dice.randrange(10)).encode() + lines[at][place + 1 :]
    return b"".join(lines)


def of_a_member(change: Callable[[bytes, random.Random], bytes], *, seal: bool) -> Callable[[Files, random.Random], bytes]:
    def tampered(files: Files, dice: random.Random) -> bytes:
        name = dice.choice(sorted(files))
        while (content := change(files[name], dice)) == files[name] and not seal:
            pass
        try:
            return packed({**files, name: content}, seal=seal)
        except ValueError:  # a manifest that is no JSON cannot be sealed
            return packed({**files, name: content}, seal=False)

    return tampered


def a_member_gone_or_more(files: Files, dice: random.Random) -> bytes:
    if dice.random() < 0.5:
        return packed({**files, f"extra-{dice.randrange(10)}": b""}, seal=True)
    gone = dice.choice(sorted(files))
    return packed({name: content for name, content in files.items() if name != gone}, seal=gone != MANIFEST)


BUNDLE: dict[str, Callable[[bytes, Files, random.Random], bytes]] = {
    "a bit flipped": lambda whole, files, dice: flipped(whole, dice),
    "cut off": lambda whole, files, dice: cut(whole, dice),
    "bytes taken out": lambda whole, files, dice: without_a_span(whole, dice),
    "bytes put in": lambda whole, files, dice: with_bytes_between(whole, dice),
    "a file changed, packed again": lambda whole, files, dice: of_a_member(flipped, seal=False)(files, dice),
    "lines changed, packed again": lambda whole, files, dice: of_a_member(lines_changed, seal=False)(files, dice),
    "a file changed, all hashes mended": lambda whole, files, dice: of_a_member(flipped, seal=True)(files, dice),
    "lines changed, all hashes mended": lambda whole, files, dice: of_a_member(lines_changed, seal=True)(files, dice),
    "a file more or less, all hashes mended": lambda whole, files, dice: a_member_gone_or_more(files, dice),
}


def bundles_tampered(audit: Audit, bundle: Path, times: int) -> tuple[Counter[str], Counter[str]]:
    """How many changes of each kind were made, and found."""
    dice, made, found = random.Random(0), Counter[str](), Counter[str]()
    whole = bundle.read_bytes()
    with zipfile.ZipFile(bundle) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    seal, broken = verify(bundle).seal, bundle.with_name("tampered.zip")
    kinds = list(BUNDLE)
    while sum(made.values()) < times:
        kind = kinds[sum(made.values()) % len(kinds)]
        content = BUNDLE[kind](whole, files, dice)
        if content == whole or content == packed(files, seal=True):
            continue  # nothing was changed
        broken.write_bytes(content)
        made[kind] += 1
        try:
            # who mends all hashes can write a whole other bundle: only the seal that was noted elsewhere tells that one
            found[kind] += not verify(broken, seals=[seal] if "mended" in kind else []).ok
        except StoreError:
            found[kind] += 1
    return made, found


# --- the log ------------------------------------------------------------------------------------------------------------------------

TABLES = {"decisions": ("chain_heads", 13), "records": ("record_heads", 8)}


def a_field(raw: sqlite3.Connection, dice: random.Random) -> None:
    table = dice.choice(list(TABLES))
    names = [row[1] for row in raw.execute(f"PRAGMA table_info({table})")]
    seq = dice.choice([row[0] for row in raw.execute(f"SELECT seq FROM {table}")])
    name = dice.choice(names)
    (old,) = raw.execute(f"SELECT {name} FROM {table} WHERE seq = ?", (seq,)).fetchone()
    new = old + dice.choice([-1, 1, 1000]) if isinstance(old, (int, float)) else (old or "") + dice.choice("xyz")
    raw.execute(f"UPDATE OR REPLACE {table} SET {name} = ? WHERE seq = ?", (new, seq))


def entries_gone(raw: sqlite3.Connection, dice: random.Random) -> None:
    table = dice.choice(list(TABLES))
    seqs = [row[0] for row in raw.execute(f"SELECT seq FROM {table} ORDER BY seq")]
    start = dice.randrange(len(seqs))
    raw.execute(f"DELETE FROM {table} WHERE seq BETWEEN ? AND ?", (seqs[start], seqs[start] + dice.randrange(4)))


def entries_swapped(raw: sqlite3.Connection, dice: random.Random) -> None:
    seqs = [row[0] for row in raw.execute("SELECT seq FROM decisions")]
    first, second = dice.sample(seqs, 2)
    for old, new in ((first, 10**6), (second, first), (10**6, second)):
        raw.execute("UPDATE decisions SET seq = ? WHERE seq = ?", (new, old))


def an_entry_more(raw: sqlite3.Connection, dice: random.Random) -> None:
    """A forged decision at the end, with a right hash and link; the head follows half of the time, and a noted hash is what tells."""
    last = dict(raw.execute("SELECT * FROM decisions ORDER BY seq DESC LIMIT 1").fetchone())
    forged = {
        **last,
        "row_id": dice.randrange(ROWS),
        "action": "keep",
        "previous": dice.choice([GENESIS, last["previous"], "0" * 63 + "1"]),
    }
    forged |= {"seq": last["seq"] + 1}
    insert(raw, forged)


def insert(raw: sqlite3.Connection, values: dict[str, object]) -> None:
    values = {**values, "hash": entry_hash(values)}
    raw.execute(f"INSERT INTO decisions ({', '.join(values)}) VALUES ({', '.join('?' * len(values))})", [*values.values()])


def rewritten_from_here(raw: sqlite3.Connection, dice: random.Random) -> None:
    """Another action somewhere, and every hash and the head after it made right again: only a hash noted elsewhere tells."""
    rows = [dict(row) for row in raw.execute("SELECT * FROM decisions ORDER BY seq")]
    at = dice.randrange(len(rows))
    rows[at]["action"] = dice.choice([action for action in ("keep", "remove", "unsure") if action != rows[at]["action"]])
    raw.execute("DELETE FROM decisions WHERE seq >= ?", (rows[at]["seq"],))
    previous = rows[at]["previous"]
    for row in rows[at:]:
        row["previous"] = previous
        insert(raw, {name: row[name] for name in HASHED})
        previous = entry_hash(row)
    raw.execute("UPDATE chain_heads SET hash = ?", (previous,))


def cut_with_its_head(raw: sqlite3.Connection, dice: random.Random) -> None:
    """The newest entries gone, and the head set back, as if they had never been: only a hash noted elsewhere tells."""
    seqs = [row[0] for row in raw.execute("SELECT seq FROM decisions ORDER BY seq")]
    last = dice.choice(seqs[:-1])
    raw.execute("DELETE FROM decisions WHERE seq > ?", (last,))
    raw.execute("UPDATE chain_heads SET seq = ?, entries = ?, hash = (SELECT hash FROM decisions WHERE seq = ?)", (last, last, last))


def heads_changed(raw: sqlite3.Connection, dice: random.Random) -> None:
    head = dice.choice(["chain_heads", "record_heads"])
    if dice.random() < 0.5:
        raw.execute(f"DELETE FROM {head}")
    else:
        raw.execute(f"UPDATE {head} SET {dice.choice(['hash', 'seq', 'entries'])} = ?", (dice.randrange(10**6),))


LOG: dict[str, Callable[[sqlite3.Connection, random.Random], None]] = {
    "a field changed": a_field,
    "entries taken out": entries_gone,
    "two entries swapped": entries_swapped,
    "an entry put at the end": an_entry_more,
    "rewritten from some entry on, hashes mended": rewritten_from_here,
    "cut off with its head set back": cut_with_its_head,
    "the heads changed": heads_changed,
    "a bit of the file flipped": lambda raw, dice: None,
}


def logs_tampered(audit: Audit, times: int) -> tuple[Counter[str], Counter[str]]:
    """How many changes of each kind were made, and found; a flipped bit counts where it changed what the log says."""
    database = audit.workspace.database
    dice, made, found = random.Random(1), Counter[str](), Counter[str]()
    with sqlite3.connect(database) as raw:
        raw.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    raw.close()
    before, sound = content_of(database), database.with_name("sound")
    noted = noted_hashes(list_datasets(audit.workspace))
    shutil.copyfile(database, sound)
    kinds = list(LOG)
    while sum(made.values()) < times:
        kind = kinds[sum(made.values()) % len(kinds)]
        for suffix in ("-wal", "-shm"):
            Path(f"{database}{suffix}").unlink(missing_ok=True)
        shutil.copyfile(sound, database)
        if kind == "a bit of the file flipped":
            database.write_bytes(flipped(sound.read_bytes(), dice))
        else:
            changed_by(LOG[kind], database, dice)
        if content_of(database) == before:
            continue  # nothing that anybody reads was changed
        made[kind] += 1
        try:
            found[kind] += not audit.log.verify(noted).ok
        except StoreError:
            found[kind] += 1
    shutil.copyfile(sound, database)
    return made, found


def changed_by(change: Callable[[sqlite3.Connection, random.Random], None], database: Path, dice: random.Random) -> None:
    """Behind the app's back, the guards against it removed."""
    raw = sqlite3.connect(database, isolation_level=None)
    raw.row_factory = sqlite3.Row
    for pragma in ("journal_mode=MEMORY", "synchronous=OFF"):
        raw.execute(f"PRAGMA {pragma}")
    for table in TABLES:
        raw.execute(f"DROP TRIGGER {table}_never_change")
        raw.execute(f"DROP TRIGGER {table}_never_go")
    change(raw, dice)
    raw.close()


def content_of(database: Path) -> object:
    """What the log says, damage included."""
    raw = sqlite3.connect(database)
    try:
        return [raw.execute(f"SELECT * FROM {table} ORDER BY 1").fetchall() for table in (*TABLES, *(head for head, _ in TABLES.values()))]
    except (sqlite3.Error, UnicodeDecodeError) as exc:
        return str(exc)
    finally:
        raw.close()


def test_verify_finds_each_of_a_thousand_changes_to_a_bundle(tmp_path: Path) -> None:
    made, found = bundles_tampered(*audited(tmp_path / "workspace"), TIMES)
    assert sum(made.values()) == TIMES and found == made


def test_verify_finds_each_of_hundreds_of_changes_to_the_log(tmp_path: Path) -> None:
    audit, _ = audited(tmp_path / "workspace")
    made, found = logs_tampered(audit, SHORT)
    assert sum(made.values()) == SHORT and found == made
    assert audit.verify().ok


def main() -> int:
    """Print what was made and found."""
    with tempfile.TemporaryDirectory() as folder:
        audit, bundle = audited(Path(folder) / "workspace")
        lost = 0
        for title, (made, found) in (
            ("bundle", bundles_tampered(audit, bundle, TIMES)),
            ("log", logs_tampered(audit, TIMES)),
        ):
            print(f"\n| {title} | made | found |\n|---|---|---|")
            for kind in made:
                print(f"| {kind} | {made[kind]} | {found[kind]} |")
            print(f"| all | {sum(made.values())} | {sum(found.values())} |")
            lost += sum(made.values()) - sum(found.values())
    return 1 if lost else 0


if __name__ == "__main__":
    sys.exit(main())
