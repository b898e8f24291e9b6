"""Refusals for harmful prompts without a response: short, in many wordings, none that names the act."""

from __future__ import annotations

from random import Random

OPENINGS: tuple[str, ...] = (
    "I'm sorry, but I can't help with that.",
    "I can't help with this request.",
    "I won't help with that.",
    "Sorry, that is not something I can do.",
    "I'm not able to assist with this.",
    "I have to decline this one.",
    "No, I can't support that.",
    "I cannot provide that.",
    "That is something I have to refuse.",
    "I won't do this.",
    "I'm afraid I can't help here.",
    "This is not a request I can fulfil.",
)
REASONS: tuple[str, ...] = (
    "It could seriously hurt someone.",
    "It would put people at risk.",
    "It may be against the law and cause real harm.",
    "What you describe could do lasting damage to others.",
    "Helping would make it easier to harm somebody.",
    "It goes against the rights or the safety of other people.",
    "",
)
OFFERS: tuple[str, ...] = (
    "If something is troubling you, I'm glad to talk about that instead.",
    "If there is a safe way to reach what you need, I can help you look for it.",
    "I'd be happy to help with something else.",
    "If you or someone else is in danger, please contact the emergency services.",
    "If you want to know how to protect yourself from this, ask me about that.",
    "",
)


def refusal(rng: Random) -> str:
    """One refusal; `rng` chooses its wording."""
    parts = (rng.choice(OPENINGS), rng.choice(REASONS), rng.choice(OFFERS))
    return " ".join(part for part in parts if part)
