"""What a sweep costs, and what it may take, in words and for machines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from caviar.cli import figures

if TYPE_CHECKING:
    from caviar.analysis.cost import Cost
    from caviar.analysis.progress import View


def told(cost: Cost) -> str | None:
    """What a sweep costs in a few words; None: no price is known, or nothing was spent yet."""
    if not cost.spent:
        return None
    said = figures.money(cost.spent)
    if cost.to_come:
        said += f" so far, {figures.about_money(cost.to_come)} to come"
    if cost.hours_without_price:
        said += f" (without {figures.duration(cost.hours_without_price * 3600)} at no known price)"
    return said


def budget(view: View) -> str:
    """What is left of the time that the sweep may take; nothing where it may take any."""
    if view.budget_s is None or view.budget_left_s is None:
        return ""
    left = figures.duration(view.budget_left_s) if view.budget_left_s else "nothing"
    return f"; time budget: {left} of {figures.duration(view.budget_s)} left"


def as_dict(view: View) -> dict[str, Any]:
    """The same for machines."""
    return {
        "time_budget_s": view.budget_s,
        "time_budget_left_s": view.budget_left_s,
        "hours": view.cost.hours,
        "spent": view.cost.spent,
        "to_come": view.cost.to_come,
    }
