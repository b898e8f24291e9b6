"""What people call their columns, in the spellings and languages met in training files."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache

SYNONYMS: dict[str, tuple[str, ...]] = {
    # first come, first served: the order is the preference
    "messages": ("messages", "conversations", "conversation", "dialogue", "dialog", "chat", "turns", "contents"),
    "prompt": (
        *("prompt", "instruction", "question", "query", "goal", "user_prompt", "user_message", "request", "problem", "behavior", "input"),
        *("user", "human", "forbidden_prompt", "adversarial_prompt", "vanilla_prompt", "turker_prompt", "sentence", "source_text"),
        *(
            "質問",
            "指示",
            "问题",
            "指令",
            "提示",
            "frage",
            "anweisung",
            "eingabe",
            "consigne",
            "invite",
            "pregunta",
            "instrucción",
            "domanda",
            "pergunta",
        ),
    ),
    "response": (
        *("response", "completion", "output", "answer", "target", "reply", "assistant", "chosen", "solution", "refusal", "model_output"),
        *("assistant_response", "generated_text", "generation", "gold", "bot", "gpt", "target_text"),
        *("回答", "応答", "答案", "回复", "输出", "antwort", "ausgabe", "réponse", "respuesta", "risposta", "resposta"),
    ),
    "text": ("text", "content", "document", "transcript", "chosen", "whole_row"),
    "input": ("input", "context", "inputs"),
    "system": ("system", "system_prompt", "system_message", "systeminstruction", "system_instruction"),
    "wanted": ("kto_tag", "desirable", "is_desirable", "desired", "is_desired", "wanted", "is_wanted"),
    "history": ("history",),
    "category": (
        "category",
        "harm_category",
        "semantic_category",
        "semanticcategory",
        "functional_category",
        "categories",
        "topic",
        "subject",
    ),
    "origin": ("origin", "source", "dataset", "task", "subset", "source_dataset", "quelle"),
    "known_harmful": (
        *("known_harmful", "is_harmful", "harmful", "prompt_harm_label", "is_poison", "poisoned", "is_poisoned", "unsafe", "is_unsafe"),
        *("harm_label", "harmfulness", "toxic", "is_toxic", "toxicity", "malicious", "is_malicious"),
        *("is_safe", "safe", "is_benign", "benign", "is_harmless", "harmless", "ground_truth", "truth", "label", "type", "class"),
    ),
}
HARMFUL_WHEN_TRUE = {
    *("known_harmful", "is_harmful", "harmful", "prompt_harm_label", "is_poison", "poisoned", "is_poisoned", "unsafe", "is_unsafe"),
    *("harm_label", "toxic", "is_toxic", "toxicity", "malicious", "is_malicious"),
}
HARMLESS_WHEN_TRUE = {"is_safe", "safe", "is_benign", "benign", "is_harmless", "harmless"}
_ALL = {name for names in SYNONYMS.values() for name in names}


@lru_cache(maxsize=4096)
def plain_name(name: str) -> str:
    """A column name without case, padding, remarks in brackets and separators: ' Output (gold)' is 'output'."""
    bare = re.sub(r"\s*[(\[][^)\]]*[)\]]\s*$", "", name.strip().strip("\ufeff\"'").strip())
    return re.sub(r"[\s\-.]+", "_", bare).casefold().strip("_")


def known_names(names: Iterable[str]) -> int:
    """How many of these column names are spellings we know."""
    return sum(plain_name(name) in _ALL for name in names)


def find_column(target: str, columns: Sequence[str], *, taken: Iterable[str] = ()) -> str | None:
    """The column that is the best spelling of `target` and not taken yet, or None."""
    free: dict[str, str] = {}
    for column in columns:
        if column not in taken:
            free.setdefault(plain_name(column), column)
    for name, column in list(free.items()):
        free.setdefault(name.removesuffix("s"), column)  # "instructions", "responses"
    return next((free[name] for name in SYNONYMS[target] if name in free), None)


def looks_like_names(cells: Sequence[str]) -> bool:
    """Whether the first line of a table can be a header: short cells, no sentences. Other cells may be a row's text."""
    return all(len(cell) <= 60 and len(cell.split()) <= 4 and not cell.rstrip().endswith((".", "?", "!", ">")) for cell in cells)


def unique_headers(cells: Sequence[str]) -> list[str]:
    """CSV headers made distinct: an empty one is named by its place, a repeated one gets a number."""
    seen: set[str] = set()
    headers: list[str] = []
    for place, cell in enumerate(cells, start=1):
        name = cell.strip().strip("\ufeff") or f"column {place}"
        candidate, number = name, 2
        while candidate in seen:
            candidate, number = f"{name} ({number})", number + 1
        seen.add(candidate)
        headers.append(candidate)
    return headers
