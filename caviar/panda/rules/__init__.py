"""Rules: automatic hands that change the params of a run while it trains. One file an algorithm; `base` has the
contract, `schedule` what is known before the run begins."""

from __future__ import annotations

from caviar.panda.change import Change
from caviar.panda.live import Firing, Live
from caviar.panda.rules.base import Rule
from caviar.panda.rules.every_n import EveryN
from caviar.panda.rules.function import FunctionRule, as_rule
from caviar.panda.rules.non_finite import OnNonFinite
from caviar.panda.rules.plateau import OnPlateau
from caviar.panda.rules.reading import RULES, SCHEDULES, from_dict, parse
from caviar.panda.rules.schedule import Cosine, Schedule, Steps, Warmup, timetable
from caviar.panda.rules.spike import OnSpike

__all__ = [
    "RULES",
    "SCHEDULES",
    "Change",
    "Cosine",
    "EveryN",
    "Firing",
    "FunctionRule",
    "Live",
    "OnNonFinite",
    "OnPlateau",
    "OnSpike",
    "Rule",
    "Schedule",
    "Steps",
    "Warmup",
    "as_rule",
    "from_dict",
    "parse",
    "timetable",
]
