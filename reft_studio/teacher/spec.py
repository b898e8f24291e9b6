"""Settings that reproduce a teacher bit for bit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import Field

from reft_studio import fingerprint
from reft_studio.data.chat.own_template import LONGEST, PATTERN
from reft_studio.models import shelf
from reft_studio.models.spec import LoadSpec, LoraSpec, OptimSpec, Settings

Reading = Literal["raw", "centred", "whitened"]
SETS = ("harmful", "helpful", "calibration_harmful", "calibration_harmless", "selection_harmful", "selection_harmless")
WHITENING = 2
"""Version of the whitened reading, part of a teacher's id; 1 was a cosine."""
KEY = 12
"""Characters of a teacher's id."""
LAB = OptimSpec(steps=120, batch_size=32, alignment_batch_size=32, learning_rate=1e-3)
"""For the lab's tiny base; measured."""
REAL = OptimSpec(steps=None, epochs=3, batch_size=16, alignment_batch_size=16, learning_rate=1e-4)
"""For real models; ours, after the settings of git-disl/Booster, whose 5e-4 may be too high with the regulariser."""


def default_optim(model: str) -> OptimSpec:
    """The default optimizer settings for teachers on this base."""
    return LAB if model == "lab" else REAL


def source_of(model: str) -> str:
    """A base as a worker can locate it from any working folder: an existing folder by its full path, a name or Hub id unchanged."""
    folder = Path(model).expanduser()
    named = model == "lab" or shelf.find(model) is not None
    return str(folder.resolve()) if not named and folder.is_dir() else model


class TeacherSpec(Settings):
    """Teacher preparation of arXiv:2506.07356 (methods and defaults: docs/methods.md).

    With `regularisation` 0 the result is safety-aligned weights: the start of aligned-weights finetuning. A `ready` teacher is an
    unchanged model, usually an instruct model, with a refusal feature and a threshold.
    """

    model: str = Field("lab", min_length=1, description="'lab', the name of a model of this machine, a folder, or a Hub id")
    kind: Literal["trained", "ready"] = Field("trained", description="trained: an adapter on a base; ready: an instruct model as it is")
    harmful: str = Field(description="alignment data: id of the set of harmful prompts with refusals")
    helpful: str = Field(description="alignment data: id of the set of harmless prompts with helpful answers")
    calibration_harmful: str = Field(description="id of the held-out harmful prompts that set the threshold")
    calibration_harmless: str = Field(description="id of the held-out harmless prompts")
    selection_harmful: str | None = Field(
        None, description="id of harmful prompts that choose layer, λ and the moment to stop; empty: the held-out ones do that too"
    )
    selection_harmless: str | None = Field(None, description="id of harmless prompts for the same")
    regularisation: float = Field(1.0, ge=0, le=100, description="weight λ of the cosine regulariser; 0: aligned weights only")
    sweep: tuple[Annotated[float, Field(ge=0, le=100)], ...] = Field(
        (),
        max_length=12,
        description="several λ to try in turn; the best on held-out prompts by AUROC, then false positives, wins",
    )
    layer: int | None = Field(None, ge=1, description="decoder block of the refusal feature; empty: best held-out AUROC of the base")
    momentum: float = Field(0.9, ge=0, lt=1, description="share μ of the old refusal feature kept at each step; 0: this batch only")
    recompute_every: int | None = Field(
        None, ge=1, description="compute the refusal feature anew over all training prompts every so many steps; empty: moving mean"
    )
    reading: Literal["raw", "centred", "whitened", "auto"] = Field(
        "raw",
        description="how a feature is compared with the refusal feature: raw (the paper's cosine), centred (minus the midpoint of the two "
        "kinds), whitened (Fisher's discriminant, no cosine); auto: the best on the selection prompts",
    )
    margin: float = Field(
        1.0, gt=0, le=1, description="cosine from which the regulariser leaves a prompt alone; 1: the published form, which never does"
    )
    through_feature: bool = Field(False, description="let the gradient flow through the batch's own refusal feature (an ablation)")
    early_stop: int | None = Field(None, ge=1, description="evaluations in a row without progress that end training; empty: all steps")
    evaluate_every: int = Field(20, ge=1, le=100_000, description="steps between two evaluations for early stopping")
    recall: float = Field(0.97, gt=0.5, lt=1, description="share of held-out harmful prompts that the threshold must flag")
    lora: LoraSpec = LoraSpec()
    loading: LoadSpec = LoadSpec()
    optim: OptimSpec = LAB
    template: str = Field(
        "auto",
        pattern=PATTERN,
        max_length=LONGEST,
        description="prompt template: auto (the tokenizer's own, else Alpaca), chat, alpaca, or own text with {prompt} in it",
    )
    seed: int = Field(0, ge=0, description="seeds adapter and batch order")

    def params(self, *, pool: Mapping[str, Sequence[str]] | None = None) -> dict[str, Any]:
        """Parameters of the job `prepare_teacher`; with `pool` the four sets are left to be split from it."""
        values = self.model_dump(mode="json")
        return values if pool is None else {**{name: value for name, value in values.items() if name not in SETS}, "pool": dict(pool)}

    @property
    def readings(self) -> tuple[Reading, ...]:
        """Every reading to try."""
        return get_args(Reading) if self.reading == "auto" else (self.reading,)

    @property
    def training_reading(self) -> Reading:
        """The reading during training: the regulariser works on a cosine, raw or centred, whatever the finished teacher's reading."""
        return "raw" if self.reading == "raw" else "centred"

    @property
    def weights(self) -> tuple[float, ...]:
        """Every λ to try."""
        return tuple(dict.fromkeys(self.sweep)) or (self.regularisation,)

    @property
    def id(self) -> str:
        mark = "r" if self.kind == "ready" else "t" if max(self.weights) > 0 else "a"
        spec = self.model_dump(mode="json")
        spec["optim"].pop("epochs_of", None)  # nothing is filtered here
        return mark + fingerprint.of_value([spec, WHITENING] if "whitened" in self.readings else spec)[:KEY]
