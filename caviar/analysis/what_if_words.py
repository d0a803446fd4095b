"""What another scheduler would have done, in plain words."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from caviar.analysis.what_if import WhatIf


def in_words(found: WhatIf) -> str:
    """What it would have cost, and what it would have kept, in a line or two."""
    low, high = found.least.steps, None if found.most is None else found.most.steps
    steps = f"{low:,}" if low == high else f"at least {low:,}" if high is None else f"{low:,} to {high:,}"
    told = f"{found.scheduler!r}: {steps} steps"
    if found.run_all is not None:
        told += f" of the {found.run_all.steps:,} that it takes to stop no trial"
    told += f" (the record has {found.recorded.steps:,})"
    if not found.top:
        return f"{told}; no trial has a finite value"
    kept = {True: "is kept", False: "is not", None: "may be"}[found.best_kept]
    fewest, most = found.top_kept
    top = f"{fewest}" if fewest == most else f"{fewest} to {most}"
    told += f"; of the best {found.top} trials {top} are kept, and the best one {kept}; regret {found.regret:.4g}"
    if not found.beyond:
        return told
    trials = "1 trial" if found.beyond == 1 else f"{found.beyond:,} trials"
    return f"{told}\n{trials} would have trained past the end of their record: nobody knows how they had ended"
