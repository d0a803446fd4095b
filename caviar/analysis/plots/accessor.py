"""The figures of a result, each a method."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Literal

from caviar.analysis.plots.scene import Scene

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

    from caviar.analysis.result import Result


class Plots:
    """Figures of a sweep as plotly's ``Figure``: ``result.plot.curves().show()``.

    All work with a light and with a dark page behind them, and say in their captions how much they leave out: with
    more than 2,000 trials they draw the best 200 and an even sample of the others (``limit`` changes how many).
    What there is nothing to draw of is an empty figure that says why, in ``layout.meta`` marked ``empty``; title
    and caption stand there too. Values that are not finite are gaps in curves, and not drawn elsewhere. They raise
    `CaviarError` if plotly is not installed, and `UsageError` for an unknown metric, param or choice.
    """

    def __init__(self, result: Result) -> None:
        self._result = result

    def __repr__(self) -> str:
        return f"Plots({str(self._result.path)!r})"

    @cached_property
    def _scene(self) -> Scene:
        return Scene(self._result)

    def curves(
        self,
        metric: str | None = None,
        *,
        log_x: bool | None = None,
        log_y: bool | None = None,
        by: Literal["state", "stage"] | None = None,
        limit: int | None = None,
    ) -> Figure:
        """The learning curves of the main lines: ``metric`` (None: the sweep's own) against steps.

        ``log_x``, ``log_y``: None takes a log axis where most of the curves would lie in a corner otherwise;
        values of 0 or less are gaps there. ``by``: what the colours say; None: stages where there are several,
        else states. Long curves are thinned out, but keep their first, last and best report. The best trial lies
        on top.
        """
        from caviar.analysis.plots.curves import curves

        return curves(self._scene, metric, log_x=log_x, log_y=log_y, by=by, limit=limit)

    def params(
        self, names: Sequence[str] | None = None, *, log_y: bool | None = None, limit: int | None = None
    ) -> Figure:
        """The metric against each param, on the scale that the param is sampled on, a panel each.

        ``names``: None: all that vary, up to 24. A trial stands at its best value, a stopped one, lighter, at the
        value for which it was stopped. Choices and few whole numbers are strips. ``log_y``: None chooses.
        """
        from caviar.analysis.plots.params import params

        return params(self._scene, [names] if isinstance(names, str) else names, log_y=log_y, limit=limit)

    def parallel(self, *, limit: int | None = None) -> Figure:
        """Every trial as a line through its params, each on its scale, coloured by its rank; the best on top.

        Ranks are those of `Result.evidence`, values as in `params`. Trials that lack a param run through
        ``absent``.
        """
        from caviar.analysis.plots.parallel import parallel

        return parallel(self._scene, limit=limit)

    def best_so_far(
        self,
        against: Literal["cost", "time", "trials"] = "cost",
        *,
        log_x: bool | None = None,
        log_y: bool | None = None,
        limit: int | None = None,
    ) -> Figure:
        """The best value found, against the steps trained by all trials together (lost attempts count too), the
        time that a driver had the sweep in hand, or the number of trials started; a dot for each trial's best.

        ``log_x``, ``log_y``: None chooses, for x where most improvements came early.
        """
        from caviar.analysis.plots.best_so_far import best_so_far

        return best_so_far(self._scene, against, log_x=log_x, log_y=log_y, limit=limit)

    def importance(self) -> Figure:
        """Which params matter, from `Result.importance`: a bar each with the range that is likely, and the pairs
        that matter only in combination."""
        from caviar.analysis.plots.importance import importance

        return importance(self._scene)

    def workers(self) -> Figure:
        """What each worker trained when, a bar an attempt, coloured by its end; and for what part of their time
        they trained.

        A worker's time is that from its first attempt to its loss or its driver's end. Time is that in which a
        driver had the sweep in hand, without the breaks. Of more than 60 workers an even sample is drawn, and with
        more than 4,000 attempts short ones are drawn together; utilisation is always of all.
        """
        from caviar.analysis.plots.workers import workers

        return workers(self._scene)

    def contour(
        self,
        x: str | None = None,
        y: str | None = None,
        *,
        limit: int | None = None,
    ) -> Figure:
        """The metric over two params: a dot a trial, over a surface that is smoothed from all of them and blank
        where hardly any lies near. Colours go by the rank of a trial among all, as `Result.evidence` tells it.

        ``x``, ``y``: None: the params that matter most by `Result.importance`, or where that says nothing, those
        by which the ranks of trials differ most. Trials that lack one are left out.
        The surface is a local linear regression of the ranks (Fan and Gijbels, 1996).
        """
        from caviar.analysis.plots.contour import contour

        return contour(self._scene, x, y, limit=limit)

    def stages(self) -> Figure:
        """How well the trials of each stage did, and where their params lay: coarse to fine, if all went well.

        Values as in `params`. Of each stage up to 1,000 trials are drawn, its best among them.
        """
        from caviar.analysis.plots.stages import stages

        return stages(self._scene)

    def audit(self) -> Figure:
        """What the scheduler decided at each rung, and how well a rung tells the end: `Result.audit`, drawn.

        The correlation is Spearman's; hollow where it is told by few trials, or by those alone that were kept.
        """
        from caviar.analysis.plots.audit import audit

        return audit(self._scene)
