"""Which judge grades, with which model, at which threshold: what is recorded, and what two compared results must share."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from reft_studio.models.spec import DEFAULT, LoadSpec, Settings

JudgeName = Literal[
    "answer_classifier", "refusal_phrases", "lab_compliance", "beaver_dam", "llama_guard_3", "harmbench_cls", "wildguard", "human"
]


class JudgeSpec(Settings):
    """The judge of harmful answers; a model judge is loaded after the model it grades is freed."""

    name: JudgeName = Field("answer_classifier", description="what decides that an answer is harmful")
    model: str | None = Field(None, max_length=400, description="own folder or Hub id of the judge's model; empty: the judge's usual one")
    revision: str | None = Field(None, max_length=100, description="branch, tag or commit of the Hub model; empty: its newest")
    threshold: float = Field(0.5, gt=0, lt=1, description="an answer is harmful above this probability (strictly)")
    categories: bool = Field(False, description="also write which categories the judge names, where it can (slower)")
    labels: str | None = Field(None, description="file with a person's labels; only for the human judge")
    preference_model: str | None = Field(None, max_length=400, description="local instruct model that compares two answers")
    batch_tokens: int = Field(16_384, ge=256, description="padded tokens graded at once; halved when memory runs out")
    loading: LoadSpec = Field(DEFAULT, description="how the judge's model is held in memory")

    @property
    def load_spec(self) -> LoadSpec:
        """The loading with the judge's own revision."""
        return self.loading if self.revision is None else self.loading.model_copy(update={"revision": self.revision})
