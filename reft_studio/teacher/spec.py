"""What is needed to prepare a teacher again, bit for bit."""

from __future__ import annotations

from pydantic import Field

from reft_studio import fingerprint
from reft_studio.models.spec import LoadSpec, LoraSpec, OptimSpec, Settings

KEY = 12
"""Characters of a teacher's id."""


class TeacherSpec(Settings):
    """Teacher preparation of arXiv:2506.07356 (methods and defaults: docs/methods.md).

    With `regularisation` 0 the result is plainly safety-aligned weights: the start of aligned-weights finetuning.
    """

    model: str = Field("lab", min_length=1, description="'lab', a model folder, or a Hub id")
    harmful: str = Field(description="alignment data: id of the set of harmful prompts with refusals")
    helpful: str = Field(description="alignment data: id of the set of harmless prompts with helpful answers")
    calibration_harmful: str = Field(description="id of the held-out harmful prompts that set layer and threshold")
    calibration_harmless: str = Field(description="id of the held-out harmless prompts")
    selection_harmful: str | None = Field(
        None, description="id of harmful prompts that choose the layer; empty: the held-out ones choose it too"
    )
    selection_harmless: str | None = Field(None, description="id of harmless prompts that choose the layer")
    regularisation: float = Field(1.0, ge=0, le=100, description="weight λ of the cosine regulariser; 0: aligned weights only")
    layer: int | None = Field(None, ge=1, description="decoder block of the refusal feature; empty: best held-out AUROC of the base")
    momentum: float = Field(0.9, ge=0, lt=1, description="share μ of the old refusal feature kept at each step; 0: this batch only")
    recall: float = Field(0.97, gt=0.5, lt=1, description="share of held-out harmful prompts that the threshold must flag")
    lora: LoraSpec = LoraSpec()
    loading: LoadSpec = LoadSpec()
    optim: OptimSpec = OptimSpec(steps=120, batch_size=32, alignment_batch_size=32, learning_rate=1e-3)
    template: str = Field("auto", pattern="^(auto|chat|alpaca)$", description="prompt template; auto: the tokenizer's own, else Alpaca")
    seed: int = Field(0, ge=0, description="seeds adapter and batch order")

    @property
    def id(self) -> str:
        return ("t" if self.regularisation > 0 else "a") + fingerprint.of_value(self.model_dump(mode="json"))[:KEY]
