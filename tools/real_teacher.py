"""Makes what ships for SmolLM2-135M-Instruct, from public sets of prompts and our own.

    python -m tools.real_teacher teacher --data FOLDER    the teacher, about 35 minutes on two cores
    python -m tools.real_teacher aligned --data FOLDER    weights trained alike without the regulariser: the start of aligned methods
    python -m tools.real_teacher tfidf --data FOLDER      the word scorer, from the same prompts
    python -m tools.real_teacher draw                     prompts that the base itself writes (assets/alignment/drawn.jsonl)

The folder holds the sets of PUBLIC as NAME.parquet with the columns prompt, response, label and category; docs/filter-quality.md says
where they come from. Only sets whose licence permits derived works for any use are read, and no text of theirs is shipped: of the
neighbours that explain a score, only our own prompts are kept.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from reft_studio.cli.console import Console
from reft_studio.data.dataset import Row, open_dataset, write_dataset
from reft_studio.data.origin.own_texts import own_texts
from reft_studio.errors import PrerequisiteError
from reft_studio.evaluation.judges.refusal_phrases import is_refusal
from reft_studio.integrity import sealed_folder
from reft_studio.models.session import Session
from reft_studio.models.spec import LoraSpec, OptimSpec
from reft_studio.scoring.prepared import SHIPPED as SCORERS
from reft_studio.scoring.prepared import PreparedScorer
from reft_studio.scoring.scorer import Examples, ScorerSpec
from reft_studio.scoring.tfidf import RECALL, Tfidf
from reft_studio.seeding import generator
from reft_studio.teacher.details import NEIGHBOURS
from reft_studio.teacher.pool import Pool, PoolSpec, pool, pool_summary
from reft_studio.teacher.quick import calibration_prompts
from reft_studio.teacher.spec import TeacherSpec
from reft_studio.teacher.teacher import TeacherInfo
from reft_studio.teacher.training import prepare_teacher
from reft_studio.workspace import ASSETS, Workspace, read_json, write_json

NAME = "smollm2-135m"
FOLDER = ASSETS / "teachers" / NAME
ALIGNED = ASSETS / "teachers" / f"{NAME}-aligned"
PUBLIC = {
    "harmbench": "MIT",
    "tdc2023": "MIT",
    "harmfulqa": "Apache-2.0",
    "catqa_english": "Apache-2.0",
    "dangerousqa": "Apache-2.0",
    "aart": "CC BY 4.0",
    "gsm8k_train": "MIT",
}
"""Sets and their licences. AdvBench is left out on purpose: its requests are the poison that the teacher is tried on."""
COPYRIGHT = "copyright"
"""Category of HarmBench rows that ask for lyrics and book pages: another kind of harm."""
MOST = 1000
"""Prompts of a public set at most: AART and HarmfulQA are written along templates, and would outweigh what is more varied."""
TWIN = "twin"
"""Category of prompts that were written beside one of the other kind."""
POOL = PoolSpec(rows=20_000, taught=(TWIN,))
SEED = 0
TEACHERS_RECALL = 0.95
"""Of the teacher: what flags 97 % of the calibration's harmful prompts flags half as many harmless ones again."""


def main() -> None:
    """Make one of the things that ship and put it into assets, or where --out says."""
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("what", choices=("teacher", "aligned", "tfidf", "draw"))
    asked.add_argument("--data", type=Path, help="folder of public prompt sets")
    asked.add_argument("--model", default=NAME, help="the base: a name of the model shelf, or a folder")
    asked.add_argument("--out", type=Path, help="where it goes instead of assets")
    asked.add_argument("--adapter", type=Path, help="folder of an adapter that was trained by this command before: calibrate it anew")
    asked.add_argument("--steps", type=int, default=700, help="optimizer steps")
    given = asked.parse_args()
    if given.what == "draw":
        return draw(given.model, 6000, given.out or ASSETS / "alignment" / "drawn.jsonl")
    if given.data is None:
        raise PrerequisiteError("Name the folder of public prompt sets with --data.")
    with tempfile.TemporaryDirectory(prefix="reft-studio-teacher-") as scratch:
        workspace = Workspace.open(Path(scratch))
        console = Console()
        if given.what == "tfidf":
            made: TeacherInfo | PreparedScorer = words_of(workspace, examples(workspace, pooled(workspace, given.data)), console)
            assert isinstance(made, PreparedScorer)
            ship_words(made, given.out or SCORERS / "tfidf")
        else:
            settings = {"regularisation": 0.0 if given.what == "aligned" else 1.0}
            made = prepare(workspace, console, given.data, model=given.model, steps=given.steps, adapter=given.adapter, **settings)
            ship(made, given.out or (ALIGNED if given.what == "aligned" else FOLDER))
        console.done()
    print(json.dumps(made.calibration, indent=1))


def pooled(workspace: Workspace, data: Path) -> Pool:
    """All prompts of both kinds, split by near-duplicates into training, selection and calibration."""
    files: dict[tuple[str, bool], list[Row]] = {}
    for row in (*public(data), *ours()):
        files.setdefault((str(row["origin"]), bool(row["known_harmful"])), []).append(row)
    sides = [
        [write_dataset(workspace, own, name=name, role="benchmark") for (name, harmful), own in sorted(files.items()) if harmful is side]
        for side in (True, False)
    ]
    return pool(workspace, *sides, spec=POOL, seed=SEED, is_refusal=is_refusal)


def prepare(
    workspace: Workspace, console: Console, data: Path, *, model: str, steps: int = 0, adapter: Path | None = None, **settings: Any
) -> TeacherInfo:
    """Pool the sets, train unless `settings` say that the base is read as it is or weights are given, calibrate."""
    found = pooled(workspace, data)
    console.warn(pool_summary(found.facts))
    optim = OptimSpec(steps=steps or 1, batch_size=16, alignment_batch_size=16, learning_rate=3e-4)
    chosen = {
        "reading": "auto",
        "margin": 0.5,
        "lora": LoraSpec(rank=8, alpha=16),
        "optim": optim,
        "seed": SEED,
        "recall": TEACHERS_RECALL,
        **settings,
    }
    spec = TeacherSpec.checked(model=model, **found.sets, **chosen)
    session = Session.open(spec.model, max_length=optim.max_length)
    return prepare_teacher(workspace, spec, session, console, pooled=found.facts, adapter=adapter)


def examples(workspace: Workspace, found: Pool) -> Examples:
    """The pooled prompts as examples of a scorer that is fitted."""
    rows = [
        (row["prompt"], name.endswith("harmful"), row["category"] == TWIN)
        for name, dataset in found.sets.items()
        for row in open_dataset(workspace, dataset).read(["prompt", "category"])
    ]
    prompts, harmful, taught = zip(*rows, strict=True)
    return Examples(list(prompts), [""] * len(rows), np.array(harmful), {"pooled prompts": len(rows)}, np.array(taught))


def words_of(workspace: Workspace, same: Examples, console: Console) -> PreparedScorer:
    """The word scorer from these examples."""
    return Tfidf().prepare(workspace, ScorerSpec(scorer="tfidf", shipped=False, recall=RECALL, seed=SEED), same, console)


def public(folder: Path) -> Iterable[Row]:
    """Rows of the public sets. Raises PrerequisiteError if one is missing."""
    for name in PUBLIC:
        path = folder / f"{name}.parquet"
        if not path.is_file():
            raise PrerequisiteError(
                f"{folder} has no {name}.parquet. docs/filter-quality.md says which sets are needed, and their columns."
            )
        rows = pq.read_table(path, columns=["prompt", "response", "label", "category"]).to_pylist()
        fitting = [row for row in rows if not (row["category"] or "").startswith(COPYRIGHT)]
        for row in generator(SEED, "teacher", name).sample(fitting, min(MOST, len(fitting))):
            yield _row(row["prompt"], row["response"] or "", name, harmful=row["label"] == "harmful")


def ours() -> Iterable[Row]:
    """Rows of assets/alignment and assets/calibration, by kind."""
    for one in own_texts():
        yield {**_row(one.prompt, one.response, f"our {one.kind} prompts", harmful=one.harmful), "category": TWIN if one.twin else None}
    for prompt in calibration_prompts():
        yield _row(prompt.prompt, "", f"our {prompt.kind} prompts", harmful=prompt.kind == "harmful")


def _row(prompt: str, response: str, origin: str, *, harmful: bool) -> Row:
    return {"prompt": prompt, "response": response, "origin": origin, "category": None, "known_harmful": harmful}


def ship(info: TeacherInfo, out: Path) -> None:
    """Copy the teacher to `out` without a text that is not ours, under its own name, its adapter in half precision."""
    own = pa.array(sorted({str(row["prompt"]) for row in ours()}))
    out.parent.mkdir(parents=True, exist_ok=True)
    with sealed_folder(out) as building:
        shutil.copytree(info.folder, building, dirs_exist_ok=True)
        neighbours = pq.read_table(building / NEIGHBOURS)
        pq.write_table(neighbours.filter(pc.is_in(neighbours.column("prompt"), value_set=own)), building / NEIGHBOURS, compression="zstd")
        facts: dict[str, Any] = read_json(info.folder / "teacher.json")
        title = "SmolLM2-135M teacher" if info.regularised else "SmolLM2-135M aligned weights"
        write_json(building / "teacher.json", {**facts, "title": title, "model": NAME, "spec": {**facts["spec"], "model": NAME}})
        (building / "log.jsonl").unlink()


def ship_words(made: PreparedScorer, out: Path) -> None:
    """Copy the word scorer: its model holds words, never a prompt."""
    out.parent.mkdir(parents=True, exist_ok=True)
    with sealed_folder(out) as building:
        shutil.copytree(made.folder, building, dirs_exist_ok=True)


OPENINGS = (
    "",
    "",
    "Write",
    "How",
    "What",
    "I",
    "I am",
    "I have",
    "I'm",
    "Can you",
    "Could you",
    "Explain",
    "Give",
    "Is",
    "Are",
    "Why",
    "Create",
    "My",
    "Tell me",
    "In",
    "Summarize",
    "You are",
    "Here is",
    "The",
    "Please",
    "Describe",
    "List",
    "Generate",
    "Help",
    "We",
    "If",
    "Given",
    "Design",
    "As a",
    "When",
    "Hi",
    "Consider",
    "Rewrite",
    "Compare",
    "Identify",
)
"""First words that are given to the base; with none it begins by itself."""


LENGTHS = (32, 64, 128)
"""Tokens that are written before the finished ones are taken out: most turns end early, and the long ones are what is rare."""


def draw(model: str, count: int, path: Path) -> None:
    """Let the base write user turns (Magpie, arXiv:2406.08464) until `path` holds `count`.

    They are what it was taught on, and so what harmless use looks like to it.
    """
    import torch

    session = Session.open(model)
    base, tokenizer = session.model.base, session.model.tokenizer
    rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path.is_file() else []
    torch.manual_seed(SEED + len(rows))
    random.seed(SEED + len(rows))
    ends, found = list(session.model.stop_ids), dict.fromkeys(row["prompt"] for row in rows)
    opening = tokenizer.apply_chat_template([{"role": "user", "content": "\0"}], tokenize=False).partition("\0")[0]
    while len(found) < count:
        start = random.choice(OPENINGS)
        given = tokenizer(opening + start, return_tensors="pt", add_special_tokens=False).input_ids
        written = given.repeat(192, 1)
        for length in LENGTHS:
            with torch.inference_mode():
                written = base.generate(
                    input_ids=written,
                    do_sample=True,
                    top_k=64,
                    max_new_tokens=length,
                    eos_token_id=ends,
                    pad_token_id=session.model.pad_id,
                )
            ended = torch.isin(written[:, given.shape[1] :], torch.tensor(ends)).any(dim=1)
            for row in written[ended].tolist():
                end = next(place for place in range(given.shape[1], len(row)) if row[place] in ends)
                text = f"{start}{tokenizer.decode(row[given.shape[1] : end])}".strip()
                if len(text) > 8:
                    found[text] = None
            written = written[~ended]
            if not len(written):
                break
        rows = [{"prompt": text, "response": "", "kind": "drawn", "category": "drawn from the base"} for text in list(found)[:count]]
        path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
        print(f"{len(found)} of {count}", flush=True)


if __name__ == "__main__":
    main()
