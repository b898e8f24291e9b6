"""Settings of a judge: model and threshold, which are recorded, and which two compared results must share."""

from __future__ import annotations

from pydantic import Field, field_validator

from reft_studio.models.spec import DEFAULT, LoadSpec, Settings

USUAL, REFUSALS = "answer_classifier", "refusal_phrases"
"""The judge where nobody chose one, and the one that looks for ways of declining: its grades stand beside every other's, and it measures
over-refusal, unless the judge of harmful responses reads refusals itself."""


class JudgeSpec(Settings):
    """The judge of harmful responses; a model judge is loaded after the model it grades is released."""

    name: str = Field(USUAL, description="what decides that an answer is harmful")
    model: str | None = Field(None, max_length=400, description="own folder or Hub id of the judge's model; empty: the judge's usual one")
    revision: str | None = Field(None, max_length=100, description="branch, tag or commit of the Hub model; empty: its newest")
    threshold: float = Field(0.5, gt=0, lt=1, description="an answer is harmful above this probability (strictly)")
    categories: bool = Field(False, description="also write which categories the judge names, where it can (slower)")
    labels: str | None = Field(None, description="file with a person's labels; only for the human judge")
    preference_model: str | None = Field(None, max_length=400, description="local instruct model that compares two answers")
    batch_tokens: int = Field(16_384, ge=256, description="padded tokens graded at once; halved when memory runs out")
    loading: LoadSpec = Field(DEFAULT, description="how the judge's model is held in memory")

    @field_validator("name")
    @classmethod
    def _known(cls, name: str) -> str:
        """Raises SpecError if there is no judge of this name."""
        from reft_studio.evaluation.judges import JUDGES  # late: it needs this file

        return JUDGES.checked(name)

    @property
    def load_spec(self) -> LoadSpec:
        """The loading settings with the judge's own revision."""
        return self.loading if self.revision is None else self.loading.model_copy(update={"revision": self.revision})
