"""Numbers, durations, params and sparklines as people read them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

BLOCKS = "▁▂▃▄▅▆▇█"
MISSING = "-"


def number(value: Any) -> str:
    """A value to four significant digits; whole numbers in full, text as it is, missing as ``-``."""
    if value is None:
        return MISSING
    if isinstance(value, bool | str | list | dict):
        return str(value)
    value = float(value) if not isinstance(value, int) else value
    if isinstance(value, int) or (value.is_integer() and abs(value) < 1e15):
        return (
            f"{int(value)}" if isinstance(value, int) else f"{value:.1f}" if abs(value) < 1e4 else f"{value:.4g}"
        )
    return f"{value:.4g}"


def rate(per_s: float) -> str:
    """Things a second: two digits below 10, whole above."""
    if not math.isfinite(per_s):
        return MISSING
    return f"{per_s:.2g}" if per_s < 10 else f"{per_s:,.0f}"


def money(amount: float) -> str:
    """An amount in any currency: to the hundredth, whole from a thousand on; two digits where it is smaller."""
    if not math.isfinite(amount):
        return MISSING
    if amount >= 999.995:
        return f"{amount:,.0f}"
    if amount == 0 or amount >= 0.095:
        return f"{amount:.2f}"
    return f"{amount:.2g}" if amount >= 1e-4 else "below 0.0001"


def about_money(amount: float) -> str:
    """An amount that is estimated, in a sentence: ``about 12.30``, ``less than 0.0001``."""
    return "less than 0.0001" if 0 < amount < 1e-4 else f"about {money(amount)}"


def percent(share: float) -> str:
    """A share in percent: two digits, whole from 10% on."""
    return f"{100 * share:.0f}%" if share >= 0.0995 else f"{100 * share:.2g}%"


def duration(seconds: float) -> str:
    """A duration to its two greatest units: ``8.2 s``, ``3 min 20 s``, ``2 h 5 min``, ``4 d 3 h``."""
    if not math.isfinite(seconds):
        return MISSING
    if seconds < 10:
        return f"{max(0.0, seconds):.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    for unit, size, lesser, lesser_size in (("d", 86400, "h", 3600), ("h", 3600, "min", 60), ("min", 60, "s", 1)):
        if whole >= size:
            rest = whole % size // lesser_size
            return f"{whole // size} {unit} {rest} {lesser}" if rest else f"{whole // size} {unit}"
    raise AssertionError(whole)


def params(values: Mapping[str, Any]) -> str:
    """Params on one line: ``lr=0.0123 hidden=64``."""
    return " ".join(f"{name}={number(value)}" for name, value in values.items())


def one_line(text: str) -> str:
    """The text with a blank for each character that would not be seen, or would end the line."""
    return text if text.isprintable() else "".join(each if each.isprintable() else " " for each in text)


def counts(by_state: Mapping[str, int]) -> str:
    """Trials by state, those that there are: ``12 completed, 3 stopped``."""
    return ", ".join(f"{count:,} {state}" for state, count in by_state.items() if count) or "none yet"


def sparkline(values: Sequence[float], width: int, low: float, high: float) -> str:
    """A curve in at most ``width`` characters, each the last value of its stretch, between ``low`` and ``high``.

    What is not finite shows as a blank; values outside the bounds as the lowest or highest block.
    """
    count = len(values)
    cells = min(width, count)
    picked = [float(values[(cell + 1) * count // cells - 1]) for cell in range(cells)]
    return "".join(_block(value, low, high) for value in picked)


def _block(value: float, low: float, high: float) -> str:
    if not math.isfinite(value):
        return " "
    if high <= low:
        return BLOCKS[0]
    share = (min(max(value, low), high) - low) / (high - low)
    return BLOCKS[min(int(share * len(BLOCKS)), len(BLOCKS) - 1)]


def bounds(curves: Iterable[Sequence[float]]) -> tuple[float, float]:
    """The least and the greatest finite value of several curves; (0, 0) if there is none."""
    finite = [float(value) for curve in curves for value in curve if math.isfinite(value)]
    return (min(finite), max(finite)) if finite else (0.0, 0.0)


def clock(time_us: int) -> str:
    """The local time of day of a moment, microseconds since the epoch."""
    return f"{datetime.fromtimestamp(time_us / 1e6).astimezone():%H:%M:%S}"


def moment(time: datetime) -> str:
    """A moment in local time, to the millisecond."""
    return time.astimezone().replace(tzinfo=None).isoformat(sep=" ", timespec="milliseconds")
