"""The language of a text, by fastText's small identification model that ships with the app. Nothing is downloaded."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from reft_studio.data.index.facets import MAX_LABELS, OTHER, Codes
from reft_studio.workspace import ASSETS

UNSURE = "unsure"
SURE = 0.5
"""Least confidence with which a language is named."""
CHARACTERS = 400
"""Looked at of one text: more does not change the answer, and costs time."""
NAMES = {
    **{"af": "Afrikaans", "am": "Amharic", "ar": "Arabic", "az": "Azerbaijani", "be": "Belarusian", "bg": "Bulgarian", "bn": "Bengali"},
    **{"bs": "Bosnian", "ca": "Catalan", "ceb": "Cebuano", "cs": "Czech", "cy": "Welsh", "da": "Danish", "de": "German", "el": "Greek"},
    **{"en": "English", "eo": "Esperanto", "es": "Spanish", "et": "Estonian", "eu": "Basque", "fa": "Persian", "fi": "Finnish"},
    **{"fr": "French", "ga": "Irish", "gl": "Galician", "gu": "Gujarati", "he": "Hebrew", "hi": "Hindi", "hr": "Croatian"},
    **{"hu": "Hungarian", "hy": "Armenian", "id": "Indonesian", "is": "Icelandic", "it": "Italian", "ja": "Japanese", "jv": "Javanese"},
    **{"ka": "Georgian", "kk": "Kazakh", "km": "Khmer", "kn": "Kannada", "ko": "Korean", "ku": "Kurdish", "ky": "Kyrgyz", "la": "Latin"},
    **{"lo": "Lao", "lt": "Lithuanian", "lv": "Latvian", "mk": "Macedonian", "ml": "Malayalam", "mn": "Mongolian", "mr": "Marathi"},
    **{"ms": "Malay", "my": "Burmese", "ne": "Nepali", "nl": "Dutch", "no": "Norwegian", "pa": "Punjabi", "pl": "Polish", "ps": "Pashto"},
    **{"pt": "Portuguese", "ro": "Romanian", "ru": "Russian", "sd": "Sindhi", "si": "Sinhala", "sk": "Slovak", "sl": "Slovenian"},
    **{"so": "Somali", "sq": "Albanian", "sr": "Serbian", "sv": "Swedish", "sw": "Swahili", "ta": "Tamil", "te": "Telugu", "tg": "Tajik"},
    **{"th": "Thai", "tl": "Tagalog", "tr": "Turkish", "ug": "Uyghur", "uk": "Ukrainian", "ur": "Urdu", "uz": "Uzbek", "vi": "Vietnamese"},
    **{"yi": "Yiddish", "yo": "Yoruba", "zh": "Chinese"},
}
"""Names of the languages met in training files; others are named by their code."""


@lru_cache(maxsize=1)
def _model() -> Any:
    import fasttext

    return fasttext.load_model(str(ASSETS / "language" / "lid.176.ftz"))


class Languages:
    """Codes for the languages of texts, in the order of `add`; labels are made as languages appear."""

    def __init__(self, rows: int) -> None:
        self._codes = np.empty(rows, np.uint8)
        self._labels: dict[str, int] = {}
        self._at = 0

    def add(self, texts: Sequence[str]) -> None:
        """Take the next texts."""
        predict = _model().predict
        for text in texts:
            # the model reads one line
            found = predict(text[:CHARACTERS].replace("\n", " "), k=1, threshold=SURE)
            self._codes[self._at] = self._code(found[0][0].removeprefix("__label__") if found[0] else UNSURE)
            self._at += 1

    def _code(self, name: str) -> int:
        if name not in self._labels:
            if len(self._labels) >= MAX_LABELS - 1:
                name = OTHER
            self._labels.setdefault(name, len(self._labels))
        return self._labels[name]

    def result(self) -> tuple[list[str], Codes]:
        """Labels, most frequent first, and one code for each text."""
        counts = np.bincount(self._codes, minlength=len(self._labels))
        names = list(self._labels)
        order = sorted(range(len(names)), key=lambda code: (-int(counts[code]), names[code]))
        renamed = np.empty(max(len(names), 1), np.uint8)
        renamed[order] = np.arange(len(order), dtype=np.uint8)
        return [NAMES.get(names[code], names[code]) for code in order], renamed[self._codes]
