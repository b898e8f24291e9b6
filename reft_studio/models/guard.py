"""Llama Guard: a language model that classifies the last message of a conversation, in its own chat template, as safe or unsafe."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from reft_studio.data.chat.templates import transcript
from reft_studio.errors import PrerequisiteError
from reft_studio.models.spec import DEFAULT, LoadSpec
from reft_studio.models.verdicts import Speaker, Spoken

VERDICT_TOKENS = 5
"""White space (the model opens with an empty line), the verdict and a margin."""
Turns = Sequence[dict[str, str]]
"""Turns with `role` and `content`: [user] classifies the prompt, [user, assistant] the response."""


class GuardModel:
    """The model with its tokenizer; "unsafe" is the positive word."""

    def __init__(self, speaker: Speaker) -> None:
        self.speaker = speaker

    @classmethod
    def open(cls, source: str, *, loading: LoadSpec = DEFAULT) -> GuardModel:
        """Load it from a folder or Hub id. Raises PrerequisiteError if that fails."""
        return cls(Speaker.open(source, positive="unsafe", negative="safe", loading=loading))

    def say(
        self,
        conversations: Sequence[Turns],
        *,
        token_budget: int,
        max_new_tokens: int = VERDICT_TOKENS,
        progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> list[Spoken]:
        """The output for each conversation; the score of its first word is P(unsafe) against P(safe), after white space."""
        asked = [self._tokens(turns) for turns in conversations]
        return self.speaker.say(asked, max_new_tokens=max_new_tokens, token_budget=token_budget, progress=progress)

    def _tokens(self, turns: Turns) -> list[int]:
        tokenizer = self.speaker.model.tokenizer
        if not getattr(tokenizer, "chat_template", None):
            raise PrerequisiteError(
                f"The tokenizer of '{self.speaker.model.source}' has no chat template, and Llama Guard's prompt is in it. Copy "
                "tokenizer_config.json (or chat_template.jinja) of the model into its folder."
            )
        return self.speaker.tokens(transcript(tokenizer, list(turns)), special_tokens=False)
