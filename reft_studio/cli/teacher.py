"""The verb `teacher`: from files of prompts to a finished teacher, in the workspace or in a folder of the user's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reft_studio.cli.console import Console, show, table
from reft_studio.cli.verbs import dataset_named
from reft_studio.errors import SpecError
from reft_studio.models.spec import Settings
from reft_studio.scoring.level import level_of
from reft_studio.studio.datasets import Role
from reft_studio.studio.models import source_of
from reft_studio.studio.studio import Studio
from reft_studio.studio.teachers import PoolSpec, TeacherSpec, check_target, default_optim

FOUR = ("harmful", "helpful", "calibration_harmful", "calibration_harmless")
ROLES: tuple[Role, ...] = ("harmful", "helpful", "harmful", "helpful")


@dataclass(frozen=True)
class PromptFiles:
    """Files, ids or 'lab', as given; without calibration sets, part of the prompts is held out for it. `quick`: what ships with us."""

    harmful: Sequence[str]
    harmless: Sequence[str]
    calibration_harmful: str | None = None
    calibration_harmless: str | None = None
    quick: bool = False


def teacher(studio: Studio, sources: PromptFiles, chosen: dict[str, Any], shares: dict[str, Any], *, out: Path | None) -> None:
    """Prepare a teacher, say how well it separates held-out prompts, and copy it to `out`."""
    chosen = {**chosen, "model": source_of(chosen["model"])}
    if not sources.quick:
        TeacherSpec.checked(**chosen, **dict.fromkeys(FOUR, "checked below"))
    if out is not None:
        check_target(out)
    console = Console()
    if sources.quick:
        result = studio.foreground.do("quick_teacher", _quick(sources, chosen), console)
    else:
        params = {**chosen, **_sets(studio, sources, shares, seed=chosen["seed"])}
        result = studio.foreground.do("teacher", params, console)
    console.done()
    found = studio.teachers.find(result["teacher"])
    if out is not None:
        studio.teachers.deliver(found, out)
        result["out"] = str(out)
    numbers = found.calibration
    text = f"Teacher {found.id}: layer {found.layer}, AUROC {numbers['auroc']:.3f}, threshold {found.threshold:+.3f}; flagged of held-out "
    text += f"prompts: {numbers['recall']:.1f} % of {numbers['harmful']:,} harmful, "
    text += f"{numbers['false_positive_rate']:.1f} % of {numbers['harmless']:,} harmless."
    text += f"\n{level_of(numbers).sentence}"
    if sweep := found.record.get("sweep"):
        text = f"{_sweep_table(sweep)}\n{text}"
    text += f"\nIn {out}." if out else ""
    show({**result, "pooled": found.pooled, "calibration": numbers, "record": found.record}, text=lambda: text)


def settings(pairs: Sequence[str], *, model: str) -> dict[str, Any]:
    """`optim.steps=400` as {"optim": {"steps": 400}} on top of the defaults for `model`.

    Raises SpecError for what is no pair or no setting.
    """
    found: dict[str, Any] = {"optim": default_optim(model).model_dump()}
    for pair in pairs:
        name, sign, value = pair.partition("=")
        head, _, inner = name.partition(".")
        field = TeacherSpec.model_fields.get(head)
        if not sign or field is None or head in (*FOUR, "model"):
            raise SpecError(
                f"'{pair[:60]}' is no setting of a teacher. Write NAME=VALUE, e.g. momentum=0, reading=whitened or optim.steps=400."
            )
        if inner:
            group = found.setdefault(head, field.get_default().model_dump() if isinstance(field.get_default(), Settings) else {})
            group[inner] = value
        else:
            found[head] = value
    return found


def weights(text: str) -> tuple[float, ...] | None:
    """`0.1,1` as numbers; None for nothing. Raises SpecError for what is no list of numbers."""
    try:
        return tuple(float(part) for part in text.split(",")) if text else None
    except ValueError as exc:
        raise SpecError(f"'{text[:60]}' is no list of numbers. Give for example 0.01,0.1,0.5,1.") from exc


def _quick(sources: PromptFiles, settings: dict[str, Any]) -> dict[str, Any]:
    """Parameters of `tasks.quick_teacher`. Raises SpecError for options that only mean something with prompts of one's own."""
    if sources.harmful or sources.harmless or sources.calibration_harmful or sources.calibration_harmless:
        raise SpecError("--quick uses the prompts that ship with the app. Leave out the files, or use --ready with them.")
    if extra := settings.keys() - {"model", "seed", "optim", "loading", "layer", "recall", "template", "reading", "kind"}:
        raise SpecError(f"--quick does not train, so it has no {', '.join(sorted(extra))}. Leave that out.")
    return {name: value for name, value in settings.items() if name not in ("seed", "kind", "optim")}


def _sweep_table(lines: Sequence[dict[str, Any]]) -> str:
    rows = [
        [
            f"{line['regularisation']:g}",
            f"{line['auroc']:.4f}",
            f"{line['recall']:.1f}",
            f"{line['false_positive_rate']:.1f}",
            "-" if line["cross_entropy"] is None else f"{line['cross_entropy']:.3f}",
        ]
        for line in lines
    ]
    return table(rows, ["λ", "AUROC", "recall %", "false positives %", "held-out cross entropy"])


def _sets(studio: Studio, sources: PromptFiles, shares: dict[str, Any], *, seed: int) -> dict[str, Any]:
    """What `tasks.prepare_teacher` needs: four sets of prompts, or two pools of them to be split."""
    held_out = sources.calibration_harmful, sources.calibration_harmless
    if any(held_out) and not all(held_out):
        raise SpecError("Give held-out prompts of both kinds (--calibration-harmful and --calibration-harmless), or of none.")
    if not sources.harmful and not sources.harmless:
        given: tuple[str, ...] = ("lab", "lab", held_out[0] or "lab", held_out[1] or "lab")
    elif all(held_out):
        if len(sources.harmful) != 1 or len(sources.harmless) != 1:
            raise SpecError("With held-out prompts of your own, give one harmful and one harmless set; several are pooled only without.")
        given = (sources.harmful[0], sources.harmless[0], str(held_out[0]), str(held_out[1]))
    else:
        PoolSpec.checked(**shares)
        pools = {
            kind: [dataset_named(studio, name, role="benchmark") for name in names]
            for kind, names in (("harmful", sources.harmful), ("harmless", sources.harmless))
        }
        return {"pool": {**shares, **pools}}
    lab = studio.teachers.lab_sets(seed=seed) if "lab" in given else None
    return {
        name: getattr(lab, name) if value == "lab" else dataset_named(studio, value, role=role)
        for name, value, role in zip(FOUR, given, ROLES, strict=True)
    }
