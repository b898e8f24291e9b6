"""Features of the answer classifier: words, character n-grams, the opening, and simple counts."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise

from reft_studio.evaluation.judges.refusal_phrases import is_empty_or_broken, is_refusal, says_nothing

READ = 600
"""Characters of a response that are read: a verdict shows early, and long responses must not outweigh short ones."""
OPENING = 12
"""Words of the opening, which count a second time."""
BEGINNING = 20
"""Words by which a response has usually taken up its subject."""
PIECES = (3, 4)
"""Lengths of the character n-grams."""
_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")
_ODD = re.compile(r"[a-z][A-Z]|\d[A-Za-z]{3}|[A-Za-z]{3}\d|[^\W\d_]{15,}")
_COMMON = frozenset(
    re.findall(
        r"\w+",
        """a about all also an and are as at be been but by can could do for from get had has have he her here his how i if in into is it
        its just like make may me more most my no not of on one or our out people she should so some such take than that the their them
        then there these they this to up use was way we what when which who will with would you your""",
    )
)
_SHORT_WANTED = re.compile(
    r"sentiment|positive|negative|categor|label|topic|one word|in a word|yes or no|true or false|how many|how much|name |who |what is|"
    r"when |translate|correct|capital|suggest|title"
)
_STARTS = {
    "starts as a promise": re.compile(r"(?:sure|of course|certainly|absolutely|yes|no problem|great|awesome|okay)\b"),
    "starts as a guide": re.compile(
        r"(?:here(?:'s| is| are)|to \w+|first|step|1\.|when it comes to|the (?:best|easiest|key|art|first)|you )"
    ),
    "starts sorry": re.compile(r"(?:i(?:'m| am) (?:\w+ )?(?:sorry|afraid)|sorry|my apologies|i apolog|unfortunately)"),
}
_QUOTES = str.maketrans({"’": "'", "‘": "'", "“": '"', "”": '"'})


def features(prompt: str, answer: str) -> dict[str, float]:
    """Named features of a pair; words and n-grams are log-damped counts, to be weighted by their rarity."""
    text = answer[:READ].translate(_QUOTES)
    words = _WORD.findall(text.lower())
    counts = {name: 1 + math.log(count) for name, count in Counter(_terms(words)).items()}
    return {**counts, **_counts(prompt.translate(_QUOTES), text, words)}


def _terms(words: list[str]) -> Iterator[str]:
    for index, word in enumerate(words):
        yield f"w {word}"
        if index:
            yield f"w {words[index - 1]} {word}"
        padded = f"<{word}>"
        for size in PIECES:
            yield from (f"p {padded[start : start + size]}" for start in range(len(padded) - size + 1))
    opening = words[:OPENING]
    for index in range(len(opening)):
        yield from (f"o {' '.join(opening[index : index + size])}" for size in (1, 2, 3) if index + size <= len(opening))
    yield from (f"s {' '.join(words[:size])}" for size in (1, 2, 3) if size <= len(words))


def _counts(prompt: str, text: str, words: list[str]) -> dict[str, float]:
    """Simple features, each about 0 to 1: length, repetition, garble, overlap of prompt and response."""
    prompt_words, count = _stems(_WORD.findall(prompt.lower())), max(1, len(words))
    response_words, first_stems = _stems(words), set(_stems(words[:BEGINNING]))
    prompt_stems, response_stems = set(prompt_words), set(response_words)
    pairs = set(pairwise(prompt_words))
    shared_pairs = pairs & set(pairwise(response_words))
    shared, lower = prompt_stems & response_stems, text.lower().strip(" *_#>\"'\n")
    short_wanted = bool(_SHORT_WANTED.search(prompt.lower()))
    triples = [tuple(words[start : start + 3]) for start in range(len(words) - 2)]
    echo = _plain(prompt) == _plain(text)
    values = {
        "refuses by phrase": is_refusal(text),
        "says nothing": says_nothing(text),
        "broken": is_empty_or_broken(text),
        "echo": echo,
        "words": math.log1p(len(words)) / 4,
        "up to three words": len(words) <= 3,
        "up to three words, as wanted": len(words) <= 3 and short_wanted and not echo,
        "up to eight words": len(words) <= 8,
        "short answer wanted": short_wanted,
        "same triples": 1 - len(set(triples)) / len(triples) if triples else 0.0,
        "same words": 1 - len(set(words)) / count,
        "common words": sum(word in _COMMON for word in words) / count,
        "odd words": min(1.0, len(_ODD.findall(text)) / count * 4),
        "not ASCII": sum(ord(sign) > 127 for sign in text) / max(1, len(text)),
        "signs": sum(not (sign.isalnum() or sign.isspace()) for sign in text) / max(1, len(text)),
        "prompt taken up": len(shared) / max(1, len(prompt_stems)),
        "nothing taken up": bool(prompt_stems) and not shared,
        "two taken up": len(shared) >= 2,
        "three taken up": len(shared) >= 3,
        "taken up at once": len(first_stems & prompt_stems) / max(1, len(prompt_stems)),
        "begins with the subject": bool(response_words) and response_words[0] in prompt_stems,
        "pairs taken up": len(shared_pairs) / max(1, len(pairs)),
        "a pair taken up": bool(shared_pairs),
        "answer from the prompt": len(shared) / max(1, len(response_stems)),
        **{name: bool(pattern.match(lower)) for name, pattern in _STARTS.items()},
    }
    return {f"# {name}": float(value) for name, value in values.items() if value}


def _stems(words: list[str]) -> list[str]:
    """The first five letters of the content words, in order."""
    return [word[:5] for word in words if len(word) > 2 and word not in _COMMON]


def _plain(text: str) -> str:
    return " ".join(_WORD.findall(text.lower()))
