"""How text and numbers reach a page. Every untrusted string crosses `show`; every number is formatted here."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime
from typing import Protocol

LIMIT = 2000
"""Characters shown of one text; pages say how many more there are."""

_HIDDEN = re.compile(
    "[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e"
    "\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e007f]"
)
_MASK_WORDS, _MASK_CHARACTERS = 3, 24


class Interval(Protocol):
    """A value with its interval: what `stats.Estimate` is."""

    @property
    def value(self) -> float: ...
    @property
    def low(self) -> float: ...
    @property
    def high(self) -> float: ...


def show(text: object, limit: int = LIMIT) -> str:
    """`text` cut to `limit` characters, with direction marks, control characters and lone surrogates spelled out as ⟨U+202E⟩.

    They would hide what a text says, and one lone surrogate stops Gradio's event stream of that tab for good.
    """
    whole = str(text)
    shown = _HIDDEN.sub(lambda found: f"⟨U+{ord(found[0]):04X}⟩", whole[:limit])
    rest = len(whole) - limit
    return f"{shown} … (cut, {count(rest)} more characters)" if rest > 0 else shown


def mask(text: object) -> str:
    """The first words of a text that may hurt to read, and its length: enough to recognise, too little to use.

    Three words of a long text, fewer of a short one, so that most of it always stays hidden.
    """
    whole = str(text)
    words = whole[:200].split()
    shown = " ".join(words[: min(_MASK_WORDS, len(words) // 3)])[:_MASK_CHARACTERS].strip()
    return f"{show(shown)} ••• masked ({count(len(whole))} characters)".strip()


def percent(share: Interval | float | None, *, digits: int = 1) -> str:
    """`12.3 % (10.1 to 14.8)` of an estimate in percent, `12.3 %` of a plain number in percent, a dash if there is none."""
    if share is None:
        return "–"
    if isinstance(share, (int, float)):
        return f"{share:.{digits}f} %" if math.isfinite(share) else "–"
    return f"{share.value:.{digits}f} % ({share.low:.{digits}f} to {share.high:.{digits}f})"


def count(n: float | None) -> str:
    """`12,345`; a dash for None."""
    return "–" if n is None else f"{n:,.0f}"


def counted(n: int, one: str, many: str | None = None) -> str:
    """`1 row`, `2 rows`, `1,204 rows`."""
    return f"{count(n)} {one if n == 1 else many or one + 's'}"


def seconds(duration: float | None) -> str:
    """A duration for people: `0.4 s`, `42 s`, `2 min 5 s`, `1 h 12 min`; a dash for None."""
    if duration is None or not math.isfinite(duration):
        return "–"
    if duration < 10:
        return f"{duration:.1f} s"
    minutes, rest = divmod(round(duration), 60)
    if minutes == 0:
        return f"{rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def size(n: float) -> str:
    """Bytes for people, in powers of ten: `812 B`, `3.4 MB`."""
    for unit in ("B", "kB", "MB", "GB"):
        if n < 1000:
            return f"{n:.0f} {unit}" if unit == "B" else f"{n:.1f} {unit}"
        n /= 1000
    return f"{n:.1f} TB"


def number(value: float | None, *, digits: int = 3) -> str:
    """A score or threshold with a fixed number of digits and a real minus sign, as the scripts write it; a dash for None or NaN."""
    return "–" if value is None or not math.isfinite(value) else f"{value:z.{digits}f}".replace("-", "\u2212")


def ago(when: str | float | None, *, now: datetime | None = None) -> str:
    """`just now`, `5 min ago`, `3 h ago`, or the date; `when` is ISO text or seconds since 1970, in UTC."""
    if not when:
        return "–"
    then = datetime.fromtimestamp(when, UTC) if isinstance(when, (int, float)) else datetime.fromisoformat(when)
    then = then if then.tzinfo else then.replace(tzinfo=UTC)
    passed = ((now or datetime.now(UTC)) - then).total_seconds()
    if passed < 60:
        return "just now"
    if passed < 3600:
        return f"{passed / 60:.0f} min ago"
    return f"{passed / 3600:.0f} h ago" if passed < 86400 else f"{then:%d %b %Y}"
