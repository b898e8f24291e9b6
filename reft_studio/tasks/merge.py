"""The job that merges a run's adapter into its base and writes a model that plain transformers loads."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reft_studio.errors import StoreError
from reft_studio.integrity import check, sealed_folder
from reft_studio.jobs.job import JobContext
from reft_studio.models.merged_size import check_disk, format_named, format_of
from reft_studio.models.spec import LoadSpec
from reft_studio.training.merged import BIG, CARD, MergedRun, adapter_hash, check_target, merged_folder, merged_run, write_facts
from reft_studio.training.run_folder import RunInfo, open_run
from reft_studio.training.run_names import run_title
from reft_studio.workspace import Workspace

if TYPE_CHECKING:
    from reft_studio.models.loading import LoadedModel
    from reft_studio.models.merged_folder import Folded

ON = {"device": "cpu"}
"""Merging runs on the CPU: it reads each weight once, which a GPU would not speed up."""


def merge(context: JobContext, params: dict[str, Any]) -> dict[str, Any]:
    """Merge a run. params: run; dtype (auto, bfloat16, float16, float32); target, a folder, or none: the workspace's own."""
    from reft_studio.evaluation.run_card import merged_text
    from reft_studio.evaluation.subject import find
    from reft_studio.models import memory
    from reft_studio.models.loading import free_memory, load
    from reft_studio.models.merged_folder import fold, write_folder
    from reft_studio.models.source import locate

    workspace, dtype = context.workspace, format_named(str(params.get("dtype") or "auto"))
    run = open_run(workspace, params["run"])
    loading = loading_of(run)
    final = Path(params["target"]) if params.get("target") else merged_folder(workspace, run.run_id)
    source = locate(run.spec.model, revision=loading.revision)
    kind = format_of(source, dtype)
    if params.get("target"):
        check_target(final)
    elif (existing := _made_before(context, run.run_id)) is not None and existing.dtype == kind:
        return _answer(final, existing)
    check_disk(source, kind, final)
    memory.check(source, loading.model_copy(update={"dtype": kind}), free_memory("cpu"))  # loading checks it as the run held it
    check(run.folder, "adapter/", remedy="Do the run again, or restore the folder from a backup.", wait=True)
    context.stage("load the base", 1, 4)
    model = load(run.spec.model, loading=loading, template=run.spec.template)
    if run.spec.loading.quantization == "none":
        find(workspace, run.run_id).check_base(model.fingerprint)
    else:
        context.warn("The run was trained on 4-bit weights. It is merged into the full ones, on which nothing was measured.")
    context.stage("fold the adapter in", 2, 4)
    folded = fold(model, run.adapter, context, dtype=dtype)
    context.stage("write the weights", 3, 4)
    with sealed_folder(final, durable=True) as building:
        facts = _facts(workspace, run, folded, write_folder(model, folded, building, context), model)
        (building / CARD).write_text(merged_text(workspace, run, facts), "utf-8")
        write_facts(building, facts)
        context.stage("note the hashes", 4, 4)
    if facts.rounding > BIG:
        context.warn(f"{facts.rounding_words} Merge into float32 to keep all of it.")
    return _answer(final, facts)


def _made_before(context: JobContext, run_id: str) -> MergedRun | None:
    """The result of an earlier job for a run; a damaged one causes a warning, and is made again."""
    try:
        return merged_run(context.workspace, run_id)
    except StoreError as exc:
        context.warn(f"{exc} That is done now.")
        return None


def loading_of(run: RunInfo) -> LoadSpec:
    """The loading of a run's base, without 4-bit quantisation: the full weights are merged."""
    used = LoadSpec.checked(**{**run.spec.loading.model_dump(), **(run.result.get("loading") or {})})
    return used.model_copy(update={"quantization": "none", "attention": "auto", **ON})


def _facts(workspace: Workspace, run: RunInfo, folded: Folded, size: int, model: LoadedModel) -> MergedRun:
    return MergedRun(
        run=run.run_id,
        title=run_title(workspace, run.spec),
        base=run.spec.model,
        dtype=folded.dtype,
        size=size,
        rounding=folded.rounding,
        adapter=adapter_hash(workspace, run.run_id),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        prompt=model.template.prompt([{"role": "user", "content": "{prompt}"}]),
    )


def _answer(final: Path, facts: MergedRun) -> dict[str, Any]:
    return {"path": str(final), **asdict(facts), "rounding_words": facts.rounding_words}
