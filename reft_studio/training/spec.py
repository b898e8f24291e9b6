"""Everything needed to repeat a run; its hash is the run's id, so the same experiment is not done twice by accident."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field, field_validator, model_validator

from reft_studio import fingerprint
from reft_studio.data.own_template import LONGEST, PATTERN
from reft_studio.defenses import DEFENSES
from reft_studio.models.spec import LoadSpec, LoraSpec, OptimSpec, Settings

KEY = 12
"""Characters of a run's id."""


class RunSpec(Settings):
    """One finetuning run of one method."""

    model: str = Field("lab", min_length=1, description="'lab', the name of a model of this machine, a folder, or a Hub id")
    dataset: str = Field(description="id of the user data")
    method: str = Field("ref_teacher", description="name of the method")
    method_config: dict[str, Any] = Field(default_factory=dict, description="settings of the method")
    teacher: str | None = Field(None, description="id of the teacher that filters and guides")
    aligned: str | None = Field(None, description="id of the aligned weights to start from; empty: start from the base")
    filter: bool = Field(False, description="drop the rows that the scorer flags")
    scorer: str | None = Field(None, description="id of the prepared scorer that filters; empty: the teacher's refusal feature")
    threshold: float | None = Field(None, ge=-1, le=1, description="score from which a row is flagged; empty: the scorer's own")
    drop: int | None = Field(None, ge=1, description="drop this many rows, the highest scores first, instead of all from a threshold on")
    harmful: str | None = Field(None, description="alignment data: id of the harmful prompts with refusals")
    helpful: str | None = Field(None, description="alignment data: id of the harmless prompts with answers")
    lora: LoraSpec = LoraSpec()
    loading: LoadSpec = LoadSpec()
    optim: OptimSpec = OptimSpec()
    stop_after: int | None = Field(None, ge=1, description="end after this many steps of the schedule, as a person did; empty: do them all")
    template: str = Field(
        "auto",
        pattern=PATTERN,
        max_length=LONGEST,
        description="prompt template: auto (the tokenizer's own, else Alpaca), chat, alpaca, or own text with {prompt} in it",
    )
    seed: int = Field(0, ge=0, description="seeds adapter and batch order")

    @field_validator("optim", mode="before")
    @classmethod
    def _older(cls, optim: Any) -> Any:
        """Epochs of settings that were stored before there was a choice are counted over the rows that are kept."""
        older = isinstance(optim, Mapping) and "epochs_of" not in optim and optim.get("steps", 0) is None
        return {**optim, "epochs_of": "kept"} if older else optim

    @field_validator("method")
    @classmethod
    def _known(cls, name: str) -> str:
        DEFENSES.get(name)
        return name

    @model_validator(mode="after")
    def _complete(self) -> RunSpec:
        info = DEFENSES.get(self.method).info
        DEFENSES.get(self.method).Config.checked(**self.method_config)
        missing = [
            what
            for what, needed, given in (
                ("a teacher", info.needs_teacher or (self.filter and not self.scorer), self.teacher),
                ("aligned weights", info.starts_from == "aligned", self.aligned),
                ("harmful alignment data", info.needs_alignment and info.starts_from == "base", self.harmful),
                ("helpful alignment data", info.needs_alignment and info.starts_from == "base", self.helpful),
            )
            if needed and not given
        ]
        if missing:
            raise ValueError(f"{info.title} needs {' and '.join(missing)}. Choose it on the Train page, or use the lab's.")
        if self.drop is not None and (self.threshold is not None or not self.filter):
            raise ValueError(f"drop is {self.drop}, which takes the place of a threshold of a filter: give one of the two, with filter on.")
        return self

    @property
    def run_id(self) -> str:
        values = self.model_dump(mode="json")
        for later in ("scorer", "drop", "stop_after"):  # runs from before there was a choice keep their ids
            if values[later] is None:
                del values[later]
        if self.optim.epochs_of == "kept":
            values["optim"].pop("epochs_of", None)
        return "r" + fingerprint.of_value(values)[:KEY]

    @property
    def filters_with(self) -> str | None:
        """Id of the prepared scorer, or teacher, that filters; None if nothing does."""
        return (self.scorer or self.teacher) if self.filter else None


def filtering_words(spec: Mapping[str, Any]) -> str:
    """How a filter differs from the teacher's own, such as `104 rows by chance` or `from +0.250`; empty if it does not.

    `spec` is as stored, and may be older than a field.
    """
    if not spec.get("filter"):
        return ""
    line = "" if spec.get("threshold") is None else f"from {spec['threshold']:+.3f}"
    rows = "" if spec.get("drop") is None else f"{spec['drop']:,} {'row' if spec['drop'] == 1 else 'rows'}"
    if rows and spec.get("scorer") == "random":
        return f"{rows} by chance"
    return ", ".join(part for part in (spec.get("scorer") or "", line, rows) if part)
