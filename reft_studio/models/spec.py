"""Settings of adapters and optimizers; each field is at once the form, the command line, the check and the record."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, ValidationError, model_serializer

from reft_studio.errors import SpecError


class Settings(BaseModel):
    """Immutable settings that refuse unknown names."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @classmethod
    def checked(cls, **values: Any) -> Self:
        """The validated settings. Raises SpecError, naming each wrong field, its value and what is allowed, instead of pydantic's error."""
        try:
            return cls(**values)
        except ValidationError as exc:
            first = {error["loc"][:1]: dict(error) for error in reversed(exc.errors())}
            raise SpecError(" ".join(_complaint(error) for error in reversed(first.values()))) from exc


def _complaint(error: dict[str, Any]) -> str:
    field_name, message = ".".join(map(str, error["loc"])), str(error["msg"]).removeprefix("Value error, ").rstrip(".")
    return f"{field_name} is {repr(error['input'])[:60]}: {message[0].lower()}{message[1:]}." if field_name else f"{message}."


class LoadSpec(Settings):
    """How a base is loaded. Scores, cached states and thresholds are valid for one of these only."""

    revision: str | None = Field(None, max_length=100, description="branch, tag or commit of a Hub model; empty: its newest")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto", description="number format of the weights; auto: the half precision they are stored in where it is fast, else float32"
    )
    quantization: Literal["none", "nf4"] = Field("none", description="nf4: 4-bit weights through bitsandbytes, a quarter of the memory")
    attention: Literal["auto", "sdpa", "eager", "flash_attention_2"] = Field(
        "auto", description="attention kernel; auto: the model's default"
    )
    device: str = Field("auto", pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$", description="auto: a GPU if there is one")


DEFAULT = LoadSpec()


class LoraSpec(Settings):
    """A LoRA adapter: W + (alpha / rank)·B·A on linear layers; never on the head, whose outputs are cached."""

    rank: int = Field(16, ge=1, le=512, description="inner dimension r of the adapter")
    alpha: int = Field(32, ge=1, le=2048, description="scale: the update counts alpha / rank times")
    dropout: float = Field(0.0, ge=0, lt=1, description="share of adapter inputs dropped while training")
    targets: Literal["all-linear"] | tuple[str, ...] = Field("all-linear", description="'all-linear', or names of linear layers")


class OptimSpec(Settings):
    """AdamW with warm-up and a schedule, the same for every method so that steps are comparable."""

    steps: int | None = Field(160, ge=1, le=1_000_000, description="optimizer steps; empty: use epochs")
    epochs: float = Field(3.0, gt=0, le=100, description="passes over the user data, if no number of steps is given")
    epochs_of: Literal["uploaded", "kept"] = Field(
        "uploaded",
        title="Epochs counted over",
        description="rows that passes are counted over: uploaded, so that every method does the same number of steps, or kept, what is "
        "left after a filter (runs of older versions)",
    )
    batch_size: int = Field(24, ge=1, le=4096, description="user rows per step")
    alignment_batch_size: int = Field(12, ge=2, le=4096, description="alignment rows per step, half harmful, half harmless")
    learning_rate: float = Field(3e-3, gt=0, le=1, description="peak learning rate")
    schedule: Literal["constant", "cosine"] = Field("cosine", description="how the learning rate falls after warm-up")
    warmup: float = Field(0.05, ge=0, lt=1, description="share of the steps in which the learning rate rises from zero")
    weight_decay: float = Field(0.01, ge=0, le=1, description="AdamW weight decay")
    max_grad_norm: float = Field(1.0, gt=0, description="gradients are clipped to this L2 norm")
    max_length: int = Field(512, ge=64, le=131_072, description="tokens of prompt and response; longer rows are cut and counted")
    micro_batch_size: int | None = Field(
        None, ge=1, le=8192, description="rows per forward pass; fewer take less memory and give the same gradient; empty: all of a step"
    )
    gradient_checkpointing: bool = Field(
        False, description="compute activations again instead of keeping them: less memory, about a third more time, same result"
    )
    packing: bool = Field(True, description="several rows to a sequence where the model keeps them apart: same result, less padding")

    @model_serializer(mode="wrap")
    def _stored(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leaves `epochs_of` out where it has no effect, so that settings with steps equal those stored before the field existed."""
        values: dict[str, Any] = handler(self)
        if self.steps is not None:
            values.pop("epochs_of", None)
        return values

    def steps_for(self, *, uploaded: int, kept: int) -> int:
        """Optimizer steps of a run with this many uploaded and kept rows."""
        rows = uploaded if self.epochs_of == "uploaded" else kept
        return self.steps or max(1, round(self.epochs * rows / self.batch_size))


@dataclass(frozen=True)
class Preset:
    """Named settings of a run; `note` gives their source."""

    title: str
    optim: OptimSpec
    lora: LoraSpec
    note: str


_KAIST = OptimSpec(steps=None, epochs=3, batch_size=8, alignment_batch_size=8, learning_rate=1e-5)
_BOOSTER = OptimSpec(
    steps=None,
    epochs=20,
    batch_size=10,
    alignment_batch_size=10,
    learning_rate=1e-5,
    schedule="constant",
    warmup=0,
    weight_decay=0.1,
    max_length=256,
)
PRESETS: dict[str, Preset] = {
    "lab": Preset("Lab", OptimSpec(learning_rate=1e-3), LoraSpec(), "Ours, chosen on the lab's validation prompts (docs/lab.md)."),
    "lab-quick": Preset(
        "Lab, quick", OptimSpec(steps=80), LoraSpec(), "Ours, for the lab's tiny base; half the steps, three times the rate."
    ),
    "real": Preset(
        "Real model",
        OptimSpec(steps=120, batch_size=16, alignment_batch_size=8, learning_rate=5e-4),
        LoraSpec(),
        "Ours, for a real base on a processor.",
    ),
    "kaist": Preset(
        "KAIST lineage: a guess",
        _KAIST,
        LoraSpec(rank=32, alpha=64, dropout=0.1, targets=("q_proj", "v_proj", "gate_proj", "up_proj", "down_proj")),
        "A guess: the LoRA of SeokilHam/Buffer-and-Reinforce, by the first author of Ref-Teacher. No number of the paper itself is known.",
    ),
    "booster": Preset(
        "Booster family",
        _BOOSTER,
        LoraSpec(rank=32, alpha=4, targets=("q_proj", "k_proj", "v_proj")),
        "The user finetuning of git-disl/Booster@6421918; its relatives differ in rank, alpha and layers.",
    ),
}
RENAMED = {"paper": "kaist"}
"""Old names of presets, by which they may still be stored."""


def usual_preset(model: str) -> str:
    """The default preset for runs on this base."""
    return "lab" if model == "lab" else "real"


def preset_named(name: str) -> Preset:
    """The settings of a preset. Raises SpecError if there is none of this name."""
    if name in RENAMED:
        new = RENAMED[name]
        raise SpecError(
            f"The preset '{name}' is now called '{new}' ({PRESETS[new].title}): no number of the paper is known, so nothing carries its "
            f"name. Write '{new}'."
        )
    if name not in PRESETS:
        raise SpecError(f"There is no preset '{name}'. Choose one of: {', '.join(PRESETS)}.")
    return PRESETS[name]
