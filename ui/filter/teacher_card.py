"""What is known about the chosen scorer: what it reads and misses, held-out quality, and of a teacher how well each layer separates."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import gradio as gr

from reft_studio.errors import StudioError
from reft_studio.scoring import SCORERS
from reft_studio.scoring.attacked import under_attack
from reft_studio.scoring.level import level_of
from reft_studio.studio.explain import MISSING
from reft_studio.studio.scorers import PreparedScorer
from ui.filter.scorer_words import READS
from ui.text import count, counted, number, percent, show
from ui.widgets import widget

if TYPE_CHECKING:
    from reft_studio.studio.scorers import Prepared
    from reft_studio.studio.studio import Studio
    from reft_studio.studio.teachers import TeacherInfo


LONGEST = 600
"""Characters of a fact: recall on every attack is the longest."""


def teacher_card() -> gr.HTML:
    """Empty until it is given a `card_value`. Its event "positions" carries {teacher}: whose map is wanted at all token positions."""
    return widget("teacher_card", scripts=("dom",), elem_id="teacher-card")


def card_value(studio: Studio, teacher_id: str | None) -> str:
    """The card of a teacher or of another prepared scorer as JSON text; empty if there is none of that id."""
    found = next((one for one in studio.teachers.every() if one.id == teacher_id), None)
    if found is None:
        other = next((one for one in studio.scorers.every() if one.id == teacher_id), None)
        return "" if other is None else json.dumps(scorer_view(other), allow_nan=False)
    layers = sorted((int(layer), float(auroc)) for layer, auroc in found.calibration.get("layer_auroc", {}).items())
    value = {
        "heading": "About the teacher",
        "title": f"{show(found.title, 80)}: {kind_of(found)}.",
        "caption": "AUROC on held-out prompts before any training; 0.5 is chance. The best layer is taken, ties go to the middle.",
        "alt": f"AUROC by decoder block; block {found.layer} is in use",
        "layers": layers,
        "layer": found.layer,
        **map_view(studio, found),
        "level": asdict(level_of(found.calibration)),
        "facts": [[name, show(text, LONGEST)] for name, text in [*reading(found), *facts(found)] if text],
        "sweep": [_line(line, kept=line["regularisation"] == found.record.get("regularisation")) for line in found.record.get("sweep", [])],
    }
    return json.dumps(value, allow_nan=False)


def scorer_view(found: Prepared) -> dict[str, Any]:
    """The card of a scorer that is no teacher: it has no layers."""
    told = [*reading(found), *quality(found), ("Made from", made_from(found))]
    shown = [[name, show(text, LONGEST)] for name, text in told if text]
    empty: dict[str, Any] = {
        "caption": "",
        "alt": "",
        "layers": [],
        "layer": None,
        "map": None,
        "map_note": "",
        "map_offer": None,
        "sweep": [],
    }
    return {
        **empty,
        "level": asdict(level_of(found.calibration)),
        "heading": "About the scorer",
        "title": f"{show(found.title, 80)}.",
        "facts": shown,
    }


def reading(found: Prepared) -> list[tuple[str, str]]:
    """What it reads and what it cannot see."""
    info = SCORERS.get(found.scorer).info
    told = [("Reads", READS[info.reads].removeprefix("reads ")), ("Misses", info.misses), ("Time", info.cost)]
    return [*told, ("Found on the lab, by attack", under_attack(info.name))]


def quality(found: Prepared) -> list[tuple[str, str]]:
    """What held-out examples show; nothing where there are none."""
    held = found.calibration
    if not held:
        return [("Threshold", number(found.threshold))]
    return [
        ("Held-out AUROC", number(held.get("auroc"), digits=4)),
        ("Recall", percent(held.get("recall")) + f" of {count(held.get('harmful'))} held-out harmful examples"),
        ("False positives", percent(held.get("false_positive_rate")) + f" of {count(held.get('harmless'))} held-out harmless examples"),
        ("Threshold", number(found.threshold)),
    ]


def made_from(found: Prepared) -> str:
    """Its examples by source, the largest first; empty where that is not kept."""
    record = found.record if isinstance(found, PreparedScorer) else {}
    sources = sorted(record.get("sources", {}).items(), key=lambda one: -one[1])
    return ", ".join(f"{count(rows)} of {name}" for name, rows in sources)


def map_view(studio: Studio, teacher: TeacherInfo) -> dict[str, Any]:
    """The separation map of a teacher as `map`, or as `map_note` why there is none and how to get it."""
    try:
        found = studio.explain.separation(teacher.id)
    except StudioError as exc:
        return {"map": None, "map_note": show(exc, 300), "map_offer": None}
    if found is None:
        return {"map": None, "map_note": MISSING, "map_offer": None}
    chosen = found.at(found.layer, found.position)
    cells = [
        (value, layer, position)
        for layer, line in zip(found.layers, found.auroc, strict=True)
        for position, value in zip(found.positions, line, strict=True)
        if value is not None
    ]
    whitened = teacher.record.get("reading") == "whitened"
    best = max((cell for cell in cells if not whitened or cell[2] == found.position), default=None)
    # ties with the chosen cell are no reason to look elsewhere
    other = best if best and chosen is not None and round(best[0], 3) > round(chosen, 3) else None
    caption = (
        f"AUROC of the finished teacher on {count(found.harmful)} harmful and {count(found.harmless)} harmless held-out prompts; 0.5 is "
        f"chance. In use: block {found.layer}, {_position(found.position)}, {number(chosen, digits=4)}."
    )
    if other:
        caption += f" Highest: block {other[1]}, {_position(other[2])}, {number(other[0], digits=4)}."
    if whitened and len(found.positions) > 1:
        caption += " Positions before the last are read centred, not whitened, so they are not compared with it."
    facts = {"layers": found.layers, "positions": found.positions, "auroc": found.auroc, "layer": found.layer, "position": found.position}
    offer = teacher.id if len(found.positions) == 1 and studio.teachers.has_prompts(teacher) else None
    return {"map": {**facts, "caption": caption}, "map_note": "", "map_offer": offer}


def _position(position: int) -> str:
    return "last token" if position == -1 else f"token {position} from the end".replace("-", "\u2212")


def kind_of(teacher: TeacherInfo) -> str:
    """In a few words, what it can be used for."""
    if teacher.ready:
        return "an untouched model with a refusal feature; it filters; only one made from prompts with answers can guide too"
    return "an adapter trained to refuse; it filters, and guides finetuning on the same base"


def facts(teacher: TeacherInfo) -> list[tuple[str, str]]:
    """Label and text; an empty text is left out."""
    held, record = teacher.calibration, teacher.record
    weight, loaded, pooled = record.get("regularisation"), record.get("loaded", {}), teacher.pooled or {}
    origin = pooled.get("refusals", {})
    return [
        ("Base", teacher.model),
        ("Held-out AUROC", number(held.get("auroc"), digits=4)),
        ("Recall", percent(held.get("recall")) + f" of {count(held.get('harmful'))} held-out harmful prompts"),
        ("False positives", percent(held.get("false_positive_rate")) + f" of {count(held.get('harmless'))} held-out harmless prompts"),
        ("Threshold", number(teacher.threshold)),
        ("Layer", f"block {teacher.layer}"),
        ("Reading", "centred" if record.get("centred") else record.get("reading", "raw")),
        ("Regulariser", "" if weight is None else f"λ = {weight:g}"),
        ("Training", "" if not record.get("step") else f"weights of step {count(record['step'])}"),
        ("Refusals", "" if not origin else f"{count(origin['file'])} from the files, {count(origin['ours'])} written by us"),
        ("Cut prompts", counted(record["truncated"], "row") + " longer than the context" if record.get("truncated") else ""),
        ("Clock", f"its template reads the time: always {record['clock'].replace('T', ', ')}" if record.get("clock") else ""),
        ("Loaded as", ", ".join(str(loaded[name]) for name in ("dtype", "quantization") if loaded.get(name) not in (None, "none"))),
    ]


def _line(line: dict[str, Any], *, kept: bool) -> dict[str, Any]:
    cells = [f"{line['regularisation']:g}", number(line["auroc"], digits=4), percent(line["recall"]), percent(line["false_positive_rate"])]
    return {"cells": [*cells, number(line["cross_entropy"])], "kept": kept}
