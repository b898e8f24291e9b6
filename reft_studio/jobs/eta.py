"""How fast work goes, and how long it will take: shown only once the estimate holds still."""

from __future__ import annotations

from collections import deque

WINDOW = 48
"""Samples kept; at one every half second, the pace of the last 24 seconds."""
SPACING_S = 0.5
MIN_SAMPLES = 6
MIN_S = 3.0
STEADY = 1.5
"""The two halves of the window may differ by this factor; beyond it, no time left is shown."""


class Pace:
    """Rate (per second) and time left of one stage, from (time, done) samples."""

    def __init__(self) -> None:
        self._samples: deque[tuple[float, int]] = deque(maxlen=WINDOW)
        self._total = 0

    def add(self, now: float, done: int, total: int) -> None:
        """Note how far the stage is at `now` (any clock, seconds). Going backwards, or another total, starts anew."""
        if total != self._total or (self._samples and (done < self._samples[-1][1] or now < self._samples[-1][0])):
            self._samples.clear()
            self._total = total
        if not self._samples or now - self._samples[-1][0] >= SPACING_S or done >= total > 0:
            self._samples.append((now, done))

    @property
    def rate(self) -> float | None:
        """Units per second over the window; None while too little was seen."""
        return self._slope(0, len(self._samples) - 1) if self._enough() else None

    @property
    def eta_s(self) -> float | None:
        """Seconds left in the stage; None until the pace is steady, or where no total is known."""
        if not self._enough() or self._total <= 0:
            return None
        last = len(self._samples) - 1
        rate, first_half, second_half = self._slope(0, last), self._slope(0, last // 2), self._slope(last // 2, last)
        if min(first_half, second_half) <= 0 or max(first_half, second_half) > STEADY * min(first_half, second_half):
            return None
        return max(self._total - self._samples[-1][1], 0) / rate

    def _enough(self) -> bool:
        samples = self._samples
        return len(samples) >= MIN_SAMPLES and samples[-1][0] - samples[0][0] >= MIN_S

    def _slope(self, first: int, last: int) -> float:
        (begin, done_begin), (end, done_end) = self._samples[first], self._samples[last]
        return (done_end - done_begin) / (end - begin) if end > begin else 0.0


class Expected:
    """How long a whole job still takes, where it says so itself; until then its pace is asked."""

    def __init__(self) -> None:
        self._told = False
        self._until: float | None = None

    def say(self, now: float, seconds: float | None) -> None:
        """From `now` on (any clock) it takes so long; None: that is not known."""
        self._told, self._until = True, None if seconds is None else now + seconds

    def eta_s(self, now: float, pace: Pace) -> float | None:
        """Seconds left at `now`; None while nobody knows."""
        if not self._told:
            return pace.eta_s
        return None if self._until is None else max(0.0, self._until - now)
