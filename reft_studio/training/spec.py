"""Everything needed to repeat a run; its hash is the run's id, so the same experiment is not done twice by accident."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from reft_studio import fingerprint
from reft_studio.data.chat.own_template import LONGEST, PATTERN
from reft_studio.defenses import DEFENSES
from reft_studio.defenses.defense import Start
from reft_studio.models.spec import LoadSpec, LoraSpec, OptimSpec, Settings
from reft_studio.scoring import BY_CHANCE

KEY = 12
"""Characters of a run's id."""


_LATER = {
    "scorer": None,
    "drop": None,
    "stop_after": None,
    "start": "method",
    "adapters": "continue",
    "harmful_answers": None,
    "decisions": None,
}
"""Fields added later, with the value that keeps the id of older runs."""


class RunSpec(Settings):
    """One finetuning run of one method."""

    model: str = Field("lab", min_length=1, description="'lab', the name of a model of this machine, a folder, or a Hub id")
    dataset: str = Field(description="id of the user data")
    method: str = Field("ref_teacher", description="name of the method")
    method_config: dict[str, Any] = Field(default_factory=dict, description="settings of the method")
    teacher: str | None = Field(None, description="id of the teacher that filters and guides")
    aligned: str | None = Field(
        None,
        title="Aligned weights",
        description="id of the aligned weights to start from; empty: the method's own start, for which it may align the base first",
    )
    start: Start = Field(
        "method",
        description="method: where the method starts; aligned: from aligned weights, made for the run if none are given; base: from the "
        "base as it is, such as an instruct model",
    )
    adapters: Literal["continue", "fresh"] = Field(
        "continue", description="from aligned weights: continue their adapter, or train a fresh one on top of it"
    )
    filter: bool = Field(False, description="drop the rows that the scorer flags")
    scorer: str | None = Field(None, description="id of the prepared scorer that filters; empty: the teacher's refusal feature")
    threshold: float | None = Field(None, ge=-1, le=1, description="score from which a row is flagged; empty: the scorer's own")
    drop: int | None = Field(None, ge=1, description="drop this many rows, the highest scores first, instead of all from a threshold on")
    decisions: str | None = Field(
        None,
        pattern="^[0-9a-f]{64}$",
        description="hash of the newest decision on the user data that counts before the threshold; empty: the threshold alone",
    )
    harmful: str | None = Field(None, title="Alignment data: refusals", description="id of the harmful prompts with refusals")
    helpful: str | None = Field(None, title="Alignment data: answers", description="id of the harmless prompts with answers")
    harmful_answers: str | None = Field(None, description="id of harmful prompts with harmful answers, which some methods learn to resist")
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
        """Stored settings from before `epochs_of` existed count epochs over the kept rows."""
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
        guided = info.guided(start=self.start, aligned=self.aligned is not None)
        missing = [
            what
            for what, needed, given in (
                ("a teacher", info.needs_teacher or (self.filter and not self.scorer), self.teacher),
                ("harmful alignment data", guided, self.harmful),
                ("helpful alignment data", guided, self.helpful),
                ("harmful prompts with harmful answers", info.needs_harmful, self.harmful_answers),
            )
            if needed and not given
        ]
        if missing:
            raise ValueError(f"{info.title} needs {' and '.join(missing)}. Choose it on the Train page, or use the lab's.")
        if info.fixed_start and (self.aligned or self.start == "base"):
            given = f"aligned is '{self.aligned}'" if self.aligned else "start is 'base'"
            if self.start == "base" or info.aligns_itself:
                raise ValueError(f"{given}, but {info.title} works only from weights that it has aligned. Leave the field out.")
        if self.aligned and self.start == "base":
            raise ValueError(f"aligned is '{self.aligned}' and start is 'base': a run starts from one of the two. Leave one out.")
        if self.drop is not None and (self.threshold is not None or not self.filter):
            raise ValueError(f"drop is {self.drop}, which takes the place of a threshold of a filter: give one of the two, with filter on.")
        if self.decisions is not None and (self.drop is not None or not self.filter):
            raise ValueError("decisions are given, which go before the threshold of a filter: give them with filter on and without drop.")
        return self

    @property
    def run_id(self) -> str:
        values = self.model_dump(mode="json")
        for later, usual in _LATER.items():  # runs from before there was a choice keep their ids
            if values[later] == usual:
                del values[later]
        if self.optim.epochs_of == "kept":
            values["optim"].pop("epochs_of", None)
        return "r" + fingerprint.of_value(values)[:KEY]

    @property
    def aligns(self) -> bool:
        """Whether the run starts from aligned weights that are made for it, by the method's own rule."""
        return DEFENSES.get(self.method).info.aligned_first(self.start) and self.aligned is None

    def steps_after(self, steps: int) -> int:
        """Steps that the method adds after the `steps` on the user's rows."""
        method = DEFENSES.get(self.method)
        return method.steps_after(method.Config.checked(**self.method_config), steps)

    @property
    def filters_with(self) -> str | None:
        """Id of the prepared scorer, or teacher, that filters; None if nothing does."""
        return (self.scorer or self.teacher) if self.filter else None


def filtering_words(spec: Mapping[str, Any]) -> str:
    """How a filter differs from the teacher's default, such as `104 rows by chance` or `from +0.250`; empty if it does not.

    `spec` is as stored, and may lack newer fields.
    """
    if not spec.get("filter"):
        return ""
    line = "" if spec.get("threshold") is None else f"from {spec['threshold']:+.3f}"
    rows = "" if spec.get("drop") is None else f"{spec['drop']:,} {'row' if spec['drop'] == 1 else 'rows'}"
    if rows and spec.get("scorer") == BY_CHANCE:
        return f"{rows} by chance"
    return ", ".join(part for part in (spec.get("scorer") or "", line, rows) if part)


def own_config(method: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a method that differ from the defaults, so that equal runs have equal ids."""
    of = DEFENSES.get(method).Config
    usual = of().model_dump(mode="json")
    return {name: value for name, value in of.checked(**config).model_dump(mode="json").items() if value != usual[name]}
