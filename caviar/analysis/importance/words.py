"""Importance in plain words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from caviar.analysis.importance.record import Importance

MOST_NAMED = 5
"""So many params or pairs are named in a sentence; of more, the others are counted."""


def summary(found: Importance) -> str:
    """What mattered, what acted together, what did not matter, and what cannot be told."""
    if found.later is None:
        return " ".join(_sentences(found))
    here = f"Overall (stage {found.stage}, {found.trials:,} trials): {' '.join(_sentences(found))}"
    later = found.later
    there = f"Where it is good (stage {later.stage}, {later.trials:,} trials): {' '.join(_sentences(later))}"
    return f"{here}\n{there}"


def percent(share: float) -> str:
    """A share as people read it: ``71%``, ``0.4%``."""
    return f"{share:.0%}" if share >= 0.0095 or share == 0 else f"{share:.1%}"


def _sentences(found: Importance) -> list[str]:
    return [sentence for sentence in (_decisive(found), *_pairs(found), *_others(found), _rest(found)) if sentence]


def _decisive(found: Importance) -> str:
    """Those that matter, with their shares."""
    rows = found.params[found.params["verdict"] == "matters"]
    if rows.empty:
        return f"No param alone stands out from chance in {found.trials:,} trials."
    of_what = "what single params do for reaching the best tenth" if found.method == "ped-anova" else "it"
    first, *others = [
        (_name(name, row["where"]), percent(row["importance"]), f"{percent(row['low'])} to {percent(row['high'])}")
        for name, row in rows.iterrows()
    ]
    text = f"{first[0]} decides {first[1]} of {of_what} ({first[2]})"
    named = [f"{name} {share} ({span})" for name, share, span in others]
    return f"{_joined([text, *named], MOST_NAMED, ', ')}."


def _pairs(found: Importance) -> list[str]:
    rows = found.pairs[found.pairs["verdict"] == "matters"]
    texts = [
        f"{row['first']} and {row['second']} act together ({percent(row['importance'])})"
        for _, row in rows.iterrows()
    ]
    return [f"{_joined(texts, 3, ', ')}."] if texts else []


def _others(found: Importance) -> list[str]:
    said = []
    rows = found.params
    none = rows[rows["verdict"] == "does not matter"]
    if len(none):
        texts = [f"{_name(name, row['where'])} ({row['values']})" for name, row in none.iterrows()]
        said.append(f"{_joined(texts, MOST_NAMED)} did not matter.")
    unknown = rows[rows["verdict"] == "cannot be told"]
    if len(unknown):
        texts = [_name(name, row["where"]) for name, row in unknown.iterrows()]
        said.append(f"Whether {_joined(texts, MOST_NAMED)} mattered cannot be told from {found.trials:,} trials.")
    return said


def _rest(found: Importance) -> str:
    """What no param alone and no pair explains; conditional params are shares of another whole."""
    if found.method != "anova":
        return ""
    alone = found.params[(found.params["where"] == "") & (found.params["verdict"] == "matters")]
    both = found.pairs[(found.pairs["verdict"] == "matters") & (found.pairs["trials"] == found.trials)]
    rest = 1 - alone["importance"].sum() - both["importance"].sum()
    if (alone.empty and both.empty) or rest < 0.05:
        return ""
    return f"The remaining {percent(rest)} is chance, or what is too fine for {found.trials:,} trials."


def _name(name: object, where: str) -> str:
    return f"{name} (where {where})" if where else str(name)


def _joined(texts: Sequence[str], most: int, last: str = " and ") -> str:
    if len(texts) > most:
        texts = [*texts[:most], f"{len(texts) - most} more"]
        last = " and "
    return texts[0] if len(texts) == 1 else f"{', '.join(texts[:-1])}{last}{texts[-1]}"
