"""Model cards: how an adapter or a merged model was made, what was measured and what it cost. Contains no row of any dataset."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reft_studio.data.dataset import open_dataset
from reft_studio.defenses import DEFENSES
from reft_studio.errors import StoreError
from reft_studio.integrity import rewrite
from reft_studio.scoring.prepared import open_prepared
from reft_studio.training.ledger import BACKWARD, FORWARD, TEACHER, Ledger
from reft_studio.training.merged import MergedRun
from reft_studio.training.naming import head
from reft_studio.training.run_folder import decided_words, removed_words
from reft_studio.training.spec import RunSpec
from reft_studio.workspace import Workspace

CARD = "adapter/README.md"
"""Path inside a run's folder."""
UNMEASURED = (
    "**Nothing has been measured.** This model was not evaluated: its harmful score, its over-refusal and its accuracy are not known.",
)
"""Content of "What was measured" until the run is evaluated."""
LEAST_S = 0.05
"""Stages shorter than this, in seconds, are left out: they did nothing."""
_PLAIN = re.compile(r"[A-Za-z0-9][\w./-]*")
_KINDS = {TEACHER: "forward without gradient (teacher or start weights)", FORWARD: "student forward", BACKWARD: "student back"}


@dataclass(frozen=True)
class CardFacts:
    """Everything a card states about how a run was made; `threshold` in words, `data` the fingerprint of the user data."""

    spec: RunSpec
    result: Mapping[str, Any]
    data: str
    threshold: str
    ledger: Ledger | None

    @classmethod
    def of(cls, workspace: Workspace, spec: RunSpec, result: Mapping[str, Any], ledger: Ledger | None) -> CardFacts:
        """Facts of a run, looked up in the workspace; a part that was deleted is named by its id."""
        try:
            data = open_dataset(workspace, spec.dataset).fingerprint
        except StoreError:
            data = spec.dataset
        return cls(spec, result, data, threshold_words(workspace, spec), ledger)


def write_card(folder: Path, facts: CardFacts, measured: Sequence[str] = UNMEASURED) -> None:
    """Rewrite the card in the run folder `folder`, together with its recorded hash, so that the run still verifies."""
    rewrite(folder, CARD, adapter_card(facts, measured))


def adapter_card(facts: CardFacts, measured: Sequence[str] = UNMEASURED) -> str:
    """The card of an adapter; `measured` are its lines about the evaluation."""
    spec = facts.spec
    use = """With PEFT, on the base above: `PeftModel.from_pretrained(base, folder)`, where `folder` is the one that holds this file. It is
plain LoRA on linear layers: no embedding, head or bias of the base is changed."""
    return _page(facts, measured, relation="adapter", library="peft", title=head(spec.model_dump()), use=use)


def merged_card(facts_of_run: CardFacts, measured: Sequence[str], facts: MergedRun) -> str:
    """The card of a base model with the adapter merged in."""
    use = (
        f"With transformers: `AutoModelForCausalLM.from_pretrained(folder)`. The adapter of run {facts.run} was folded into the weights on "
        f"{facts.created[:10]}. {facts.rounding_words}"
    )
    if facts.prompt:
        use += f"\n\nA request is put to the model like this:\n\n````\n{facts.prompt}\n````"
    title = f"{head(facts_of_run.spec.model_dump())}, merged"
    note = "The numbers are of the base with the adapter beside it, as this app evaluated it; the merged weights were not asked again."
    return _page(facts_of_run, [*measured, "", note], relation="finetune", library="transformers", title=title, use=use)


def threshold_words(workspace: Workspace, spec: RunSpec) -> str:
    """The score from which rows were left out, as a number even where the scorer's default was used."""
    if spec.filters_with is None:
        return "none"
    if spec.drop is not None:
        return f"none: the rows with the {spec.drop:,} highest scores were left out"
    if spec.threshold is not None:
        return f"{spec.threshold:+.3f}, set by hand"
    try:
        return f"{open_prepared(workspace, spec.filters_with).threshold:+.3f}, the scorer's own"
    except StoreError:
        return "the scorer's own, which is no longer in the workspace"


def _page(facts: CardFacts, measured: Sequence[str], *, relation: str, library: str, title: str, use: str) -> str:
    spec, info = facts.spec, DEFENSES.get(facts.spec.method).info
    warning = "" if info.uses_filter or info.needs_alignment or info.starts_from == "aligned" else "  - not-for-all-audiences\n"
    paper = f" ({info.paper})" if info.paper else ""
    return f"""---
base_model: {_yaml(spec.model)}
base_model_relation: {relation}
library_name: {library}
tags:
  - reft-studio
  - {spec.method}
{warning}---
# {title}

{info.summary} Method: {info.title}{paper}.

## How it was made

{_lines(_how(facts))}

## What was measured

{chr(10).join(measured)}

Not measured: other prompts, languages and attacks than those above, conversations of several turns, what the model still knows beside
the task, and what becomes of it in other number formats.

## What it cost

{_lines(cost_lines(facts.ledger))}

## Limits

- Evaluate it before use: a low harmful score on one set of prompts is no proof of safety.
- The filter reads prompts: a harmless prompt with a harmful answer passes it.
- Nothing is known of it after further finetuning, or under attacks on its weights or its prompt.

## How to use it

{use}
"""


def _how(facts: CardFacts) -> list[str]:
    spec, result = facts.spec, facts.result
    removed = int(result["removed"])
    share = f" ({removed / max(1, int(result['rows'])):.1%})".replace("%", " %")
    loading = result.get("loading") or {}
    kind = f", held in {loading['dtype']}" if loading.get("dtype") else ""
    packed = ", in 4 bits (NF4)" if loading.get("quantization") == "nf4" else ""
    extras = [f"mixed in by the method: {int(result['mixed']):,} rows"] if result.get("mixed") else []
    extras += [
        f"trained before it: {one_line(stage['name'])}, {int(stage['steps']):,} steps by the rule {one_line(stage['rule'])}"
        for stage in result.get("stages", ())
    ]
    return [
        f"base: {one_line(spec.model)}{kind}{packed}; weights SHA-256 {result.get('base_fingerprint', 'not recorded')}",
        f"user data: {one_line(result['dataset_name'])}, {int(result['rows']):,} rows; fingerprint {facts.data}",
        f"filter: {f'{one_line(spec.filters_with)}; threshold: {facts.threshold}' if spec.filters_with else 'none'}",
        *([f"decided by people, before the threshold: {decided_words(decided)}"] if (decided := result.get("decisions")) else []),
        f"left out of training, by the filter or for want of a response: {removed:,} of {int(result['rows']):,} rows{share}: "
        f"{removed_words(result)}",
        f"teacher: {one_line(spec.teacher or 'none')}; aligned weights: {one_line(spec.aligned or 'none given')}",
        *extras,
        f"steps: {int(result['steps']):,} of {spec.optim.batch_size} user rows; learning rate {spec.optim.learning_rate:g}",
        f"seed: {spec.seed}; run {result.get('run_id', spec.run_id)}, {result.get('created', 'date not recorded')}",
        f"LoRA: rank {spec.lora.rank}, scale {spec.lora.alpha / spec.lora.rank:g}, on {_targets(spec)}",
    ]


def cost_lines(ledger: Ledger | None) -> list[str]:
    """The cost of a run, one line per quantity."""
    if ledger is None:
        return ["not known: this run was made by a version that kept no ledger"]
    stages = ", ".join(f"{stage.title.lower()} {duration(stage.seconds)}" for stage in ledger.stages if stage.seconds >= LEAST_S)
    peak = "not measured" if ledger.memory_mb is None else f"{ledger.memory_mb:,} MB {ledger.memory_words}"
    passes, tokens = (", ".join(f"{_KINDS[kind]} {n:,}" for kind, n in counts.items() if n) for counts in (ledger.passes, ledger.tokens))
    lines = [f"time: {ledger.seconds / 60:.2f} minutes on {ledger.device}: {stages}", f"peak memory: {peak}"]
    lines += [f"passes through the model in training: {passes}", f"tokens in them: {tokens}"] if passes else []
    if ledger.operations:
        lines += [f"operations in training: {ledger.operations / 1e12:.3g} TFLOP, reckoned from {ledger.counted_steps} counted steps"]
    lines += [
        f"before it, made once for all runs that share it: {stage.title.lower()} {duration(stage.seconds)}" for stage in ledger.before
    ]
    return [*lines, f"training beside plain finetuning on the same user rows: {ledger.extra.words}"]


def duration(seconds: float) -> str:
    """`4.2 s`, from two minutes on `3.5 min`."""
    return f"{seconds:.1f} s" if seconds < 120 else f"{seconds / 60:.1f} min"


def one_line(text: object) -> str:
    """User-supplied text on one line, with markup characters escaped and unprintable ones removed."""
    flat = " ".join(str(text).split())
    return re.sub(r"[<>`\[\]|*_#\\]", lambda match: f"\\{match[0]}", "".join(c for c in flat if c.isprintable()))


def _targets(spec: RunSpec) -> str:
    return "all linear layers" if spec.lora.targets == "all-linear" else ", ".join(spec.lora.targets)


def _lines(lines: Sequence[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _yaml(value: str) -> str:
    """A YAML scalar, quoted where it could be parsed as something else."""
    return value if _PLAIN.fullmatch(value) else json.dumps(value)
