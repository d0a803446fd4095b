"""Text, numbers, tables and JSON as HTML: safe, whatever names, params and errors hold."""

from __future__ import annotations

import html
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NewType

import numpy as np

Html = NewType("Html", str)
"""Text that is HTML already."""

MISSING = Html('<span class="soft">&ndash;</span>')


def text(value: object, limit: int | None = None) -> Html:
    """What anybody may have written, as HTML: in one piece, and cut where it is longer than ``limit``."""
    said = str(value)
    if limit is not None and len(said) > limit:
        said = said[: limit - 1] + "…"
    # a lone half of a character is no text that a file can hold
    return Html(html.escape(said.encode("utf-8", "replace").decode("utf-8")))


def prose(value: str) -> Html:
    """A sentence in which `code` stands between backticks."""
    return Html(re.sub(r"`([^`]+)`", r"<code>\1</code>", text(value)))


def join(parts: Iterable[Html], between: str = "") -> Html:
    """Pieces of HTML, one after the other."""
    return Html(between.join(parts))


def paragraph(said: str, kind: str = "") -> Html:
    """A paragraph of prose."""
    return Html(f"<p{f' class={kind}' if kind else ''}>{prose(said)}</p>")


def code(source: str) -> Html:
    """Lines to copy, with a button that does it."""
    return Html(
        f'<div class="copy"><pre><code>{text(source)}</code></pre><button type="button">Copy</button></div>'
    )


def number(value: object) -> str:
    """Five digits of a float, whole numbers in full, text as it is."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return f"{value:.5g}"
    return str(value)


def reason(error: Exception, where: object) -> str:
    """Why something cannot be told, without the folder, of which the whole page is."""
    said = " ".join(str(error).split()).removeprefix(f"{where}: ").rstrip(".")
    return f"{said}."


def count(how_many: int, noun: str) -> str:
    """``1 trial``, ``2,000 trials``."""
    return f"{how_many:,} {noun}{'' if how_many == 1 else 's'}"


def table(
    heads: Sequence[str], rows: Iterable[Sequence[object]], *, sortable: bool = False, words: Sequence[int] = ()
) -> Html:
    """A table that scrolls within itself. Cells that are numbers stand right and sort by their value; None and NaN
    are shown as missing. ``words``: the columns whose text may be broken into lines."""
    rows = list(rows)
    numeric = [
        all(_is_number(row[at]) or _is_missing(row[at]) for row in rows)
        and any(_is_number(row[at]) for row in rows)
        for at in range(len(heads))
    ]
    body = []
    for row in rows:
        cells = join(
            _cell(value, right=right, broken=at in words)
            for at, (value, right) in enumerate(zip(row, numeric, strict=True))
        )
        body.append(f"<tr>{cells}</tr>")
    top = join(
        Html(f"<th{' class=num' if right else ''}{' tabindex=0' if sortable else ''}>{text(name, 60)}</th>")
        for name, right in zip(heads, numeric, strict=True)
    )
    kind = " class=sortable" if sortable else ""
    inner = f"<table{kind}><thead><tr>{top}</tr></thead><tbody>{''.join(body)}</tbody></table>"
    return Html(f'<div class="scroll" tabindex="0">{inner}</div>')


def pairs(rows: Iterable[tuple[str, Html]]) -> Html:
    """Names and what is to be said of each."""
    return Html(f"<dl>{join(Html(f'<dt>{text(name)}</dt><dd>{said}</dd>') for name, said in rows)}</dl>")


def _cell(value: object, *, right: bool, broken: bool) -> Html:
    kind = "num" if right else "words" if broken else ""
    attribute = f' class="{kind}"' if kind else ""
    if _is_missing(value):
        return Html(f"<td{attribute}>{MISSING}</td>")
    if _is_number(value):
        return Html(f'<td{attribute} data-value="{value!r}">{text(number(value))}</td>')
    return Html(f"<td{attribute}>{text(value, 400 if broken else 80)}</td>")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_missing(value: object) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def python_dict(params: Mapping[str, Any]) -> str:
    """Params as a Python dict that can be pasted: every digit, a line each where one line is too long."""
    items = [f"{name!r}: {value!r}" for name, value in params.items()]
    short = "{" + ", ".join(items) + "}"
    if len(short) <= 60:
        return short
    return "{\n" + "".join(f"    {item},\n" for item in items) + "}"


def duration(seconds: float) -> str:
    """About how long."""
    if not math.isfinite(seconds):
        return "an unknown time"
    if seconds < 10:
        return f"{max(seconds, 0):.1f} s"
    if seconds < 60:
        return f"{seconds:.0f} s"
    for unit, size, part, lesser in (("days", 86400, "h", 3600), ("h", 3600, "min", 60), ("min", 60, "s", 1)):
        if seconds >= size * (2 if unit == "days" else 1):
            whole, rest = divmod(round(seconds), size)
            rest //= lesser
            return f"{whole} {unit} {rest} {part}" if rest else f"{whole} {unit}"
    raise AssertionError(seconds)


def moment(time_us: int) -> str:
    """A time as people read it, in the zone of the machine that writes the page."""
    return f"{datetime.fromtimestamp(time_us / 1e6, UTC).astimezone():%-d %B %Y, %H:%M:%S %Z}"


def short_moment(time_us: int) -> str:
    """The same in fewer letters, for a table."""
    return f"{datetime.fromtimestamp(time_us / 1e6, UTC).astimezone():%Y-%m-%d %H:%M:%S}"


def script_json(data: str) -> Html:
    """JSON, safe within a script element."""
    return Html(data.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))


def script_data(data: Any) -> Html:
    """Data as JSON, safe within a script element."""
    return script_json(json.dumps(data, separators=(",", ":"), allow_nan=False))
