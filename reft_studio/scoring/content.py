"""Everything a score depends on besides the prompt: hashes of weights, feature and template, and the number format."""

from __future__ import annotations

from typing import Any

from reft_studio import fingerprint
from reft_studio.data.dataset import Dataset
from reft_studio.errors import StoreError
from reft_studio.scoring.scores import ScoreSet, finished_scores, score_key
from reft_studio.teacher.teacher import TeacherInfo
from reft_studio.workspace import Workspace

VERSION = 1
"""Incremented when the same prompt would get another score from this code."""


def teacher_content(teacher: TeacherInfo) -> dict[str, Any]:
    """Hashes of a teacher's parts: base, adapter, refusal feature, layer, template, maximum prompt length. Loads no model."""
    adapter = teacher.adapter
    files = [] if adapter is None else [adapter / "adapter_config.json", adapter / "adapter_model.safetensors"]
    try:
        return {
            "version": VERSION,
            "base": teacher.base_fingerprint,
            "adapter": [fingerprint.of_file(path) for path in files],
            "feature": fingerprint.of_file(teacher.folder / "refusal_feature.safetensors"),
            "layer": teacher.layer,
            "template": teacher.template_hash,
            "max_length": teacher.max_length,
        }
    except OSError as exc:
        raise StoreError(f"The teacher '{teacher.id}' is incomplete: {exc.filename} cannot be read. Prepare it again.") from exc


def already(workspace: Workspace, dataset: Dataset, teacher: TeacherInfo, *, scorer: str) -> ScoreSet | None:
    """The stored scores of this dataset under exactly this teacher, if they verify; else None. Needs no model."""
    return finished_scores(workspace, dataset, key=score_key(scorer, teacher.id, teacher.created), content=teacher_content(teacher))


def prompt_key(content: dict[str, Any], *, dtype: str, quantization: str, attention: str, device: str, merged: bool) -> str:
    """SHA-256 (hex) that identifies a prompt's score together with its token ids, which include any truncation.

    `attention` and `device` (its kind) change last digits, in half precision also the third.
    """
    used = {name: value for name, value in content.items() if name != "max_length"}
    numerics = {"dtype": dtype, "quantization": quantization, "attention": attention, "device": device, "merged": merged}
    return fingerprint.of_value({**used, **numerics})
