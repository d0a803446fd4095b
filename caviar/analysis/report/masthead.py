"""What the page is a picture of, and the numbers that say how the sweep stands."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from caviar.analysis.report.markup import Html, count, duration, join, moment, paragraph, text
from caviar.analysis.report.trouble import last_us

if TYPE_CHECKING:
    from caviar.analysis.result import Result

STATUS = {
    "finished": "Finished",
    "running": "Still running: this is how it was then",
    "interrupted": "Interrupted, not finished",
}


def masthead(result: Result, title: str) -> Html:
    """The title, when the picture was taken, and the state of the sweep in a line or two."""
    when = f"{STATUS[result.status]} · {moment(last_us(result))}"
    kind = ' class="badge"' if result.status != "finished" else ""
    said = paragraph(" ".join(_sentences(result)))
    return join([
        Html(f"<h1>{text(title)}</h1>"),
        Html(f'<p class="soft"><span{kind}>{text(when)}</span></p>'),
        said,
    ])  # fmt: skip


def _sentences(result: Result) -> Iterator[str]:
    counts = result.counts()
    total = sum(counts.values())
    reports = len(result._main_line.of_metric(result.metric))
    wanted = int(result.declaration.get("trials", total))
    goal = "more" if result.maximize else "less"
    of = f" of {wanted:,}" if wanted > total else ""
    states = ", ".join(f"{n:,} {state}" for state, n in counts.items())
    if total:
        yield f"{total:,}{of} trial{'' if (wanted if of else total) == 1 else 's'}: {states}."
    else:
        yield f"No trial of {wanted:,} has begun."
        return
    took = duration(result.elapsed_s())
    yield f"{count(reports, 'report')} of `{result.metric}`, of which {goal} is better, in {took}."
    saved = result.savings()
    judged = bool(len(result._events.rows("decision")))
    if judged and saved.trials_stopped and saved.fraction > 0:
        yield (
            f"Early stopping saved {saved.fraction:.0%} of the steps: {saved.steps:,} were trained instead of "
            f"{saved.steps_without:,}."
        )
