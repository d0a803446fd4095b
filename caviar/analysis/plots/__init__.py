"""Figures of a sweep, in plotly: what `Result.plot` offers, one figure a file."""

from caviar.analysis.plots.accessor import Plots

__all__ = ["Plots"]
