"""Rate and remaining time of work: shown only once the estimate is stable."""

from __future__ import annotations

from collections import deque

WINDOW = 48
"""Samples kept; at one every half second, the last 24 seconds."""
SPACING_S = 0.5
MIN_SAMPLES = 6
MIN_S = 3.0
STEADY = 1.5
"""Maximum ratio between the rates of the two halves of the window; beyond it, no remaining time is shown."""


class StageRate:
    """Rate (per second) and remaining time of one stage, from (time, done) samples."""

    def __init__(self) -> None:
        self._samples: deque[tuple[float, int]] = deque(maxlen=WINDOW)
        self._total = 0

    def add(self, now: float, done: int, total: int) -> None:
        """Add a sample at `now` (any clock, seconds). Going backwards, or another total, resets it."""
        if total != self._total or (self._samples and (done < self._samples[-1][1] or now < self._samples[-1][0])):
            self._samples.clear()
            self._total = total
        if not self._samples or now - self._samples[-1][0] >= SPACING_S or done >= total > 0:
            self._samples.append((now, done))

    @property
    def rate(self) -> float | None:
        """Units per second over the window; None with too few samples."""
        return self._slope(0, len(self._samples) - 1) if self._enough() else None

    @property
    def eta_s(self) -> float | None:
        """Remaining seconds of the stage; None until the rate is steady, or if the total is unknown."""
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


class ExpectedTime:
    """The remaining time of a whole job, where it estimates that itself; otherwise from the rate of its stage."""

    def __init__(self) -> None:
        self._given = False
        self._until: float | None = None

    def say(self, now: float, seconds: float | None) -> None:
        """The estimate at `now` (any clock); None: unknown."""
        self._given, self._until = True, None if seconds is None else now + seconds

    def eta_s(self, now: float, rate: StageRate) -> float | None:
        """Remaining seconds at `now`; None if unknown."""
        if not self._given:
            return rate.eta_s
        return None if self._until is None else max(0.0, self._until - now)
