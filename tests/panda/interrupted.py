"""A run under rules that is interrupted in every way, without a driver: training, checkpoints and the record are
simulated, so that hundreds of runs take no time."""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from caviar.messages import Reports
from caviar.panda.change import Change
from caviar.panda.hand import Decision, Hand
from caviar.panda.live import Firing, Live
from caviar.panda.recorded import Begun, Fired
from caviar.panda.rules import EveryN, OnNonFinite, OnPlateau, OnSpike, Rule
from caviar.panda.rules.function import Judging
from tests.panda.blocks import reports

EVERY = 4
"""Steps between checkpoints."""
BEGIN = {"lr": 0.12, "aux": 0.0}


def capricious(live: Live) -> Change | None:
    """A rule that decides by everything that it is shown, so that nothing may differ."""
    parts: list[Any] = [
        live.step,
        live.judged,
        live.max_step,
        sorted(live.params.items()),
        live.rule,
        live.firings,
    ]
    parts += [each.tobytes() for each in (live.steps, live.values, live.losses, live.numbers)]
    parts += [(name, *(column.tobytes() for column in live.curves[name])) for name in sorted(live.curves)]
    digest = zlib.crc32(repr(parts).encode())
    back = sum(firing.change.rollback_to is not None for firing in live.firings if firing.rule == live.rule)
    if digest % 17 == 0 and back < 4:
        return Change({"aux": digest % 1000 / 8}, digest % (live.step + 1), reason=f"digest {digest}")
    if digest % 7 == 0:
        return Change({"aux": digest % 1000 / 8}, pause=digest % 2 == 0, reason=f"digest {digest}")
    return Change(pause=True, reason="a look") if digest % 31 == 0 else None


RULES: Sequence[Rule | Judging] = (
    OnSpike(patience=2),
    OnNonFinite(cooldown=2),
    EveryN(7, set={"aux": "+=1"}),
    OnPlateau(patience=3, cooldown=5, at_most=4, least={"lr": 1e-3}),
    EveryN(5, scale={"lr": 0.97}),
    capricious,
)


@dataclass(frozen=True, slots=True)
class State:
    """Of training, which a checkpoint saves: a steep and a flat direction of descent."""

    steep: float = 1e-3
    flat: float = 4.0

    def step(self, step: int, lr: float, aux: float) -> tuple[State, float]:
        """The state after a step, and its loss."""
        after = State(self.steep * (1 - 25 * lr), self.flat * (1 - lr))
        wobble = 0.02 * math.sin(997.0 * step + aux)
        loss = after.flat**2 + 25 * after.steep**2
        return after, math.nan if loss > 1e4 else loss * (1 + wobble)


@dataclass(frozen=True, slots=True)
class Row:
    attempt: int
    seq: int
    step: int
    metrics: dict[str, float]

    def block(self) -> Reports:
        columns = {name: [value] for name, value in self.metrics.items()}
        return reports([self.step], columns, attempt=self.attempt, seq=[self.seq])


@dataclass(frozen=True, slots=True)
class Acted:
    """What is recorded at once of a report's decisions: a change that applies at its attempt's next step, or the
    roll-back that ends it, to a step that the checkpoints allow."""

    attempt: int
    step: int
    decisions: tuple[Decision, ...]
    back_to: int | None = None


@dataclass(frozen=True, slots=True)
class Saved:
    step: int
    state: State


@dataclass(frozen=True, slots=True)
class Started:
    attempt: int
    step: int
    back: bool


@dataclass(slots=True)
class Record:
    """What is on the disk, in the order in which it came there."""

    entries: list[Row | Acted | Saved | Started] = field(default_factory=list)

    def of(self, kind: type[Any]) -> list[Any]:
        return [entry for entry in self.entries if isinstance(entry, kind)]

    def timeline(self) -> list[tuple[int, dict[str, Any]]]:
        """From which step on params had which values, on the main line."""
        found: list[tuple[int, dict[str, Any]]] = []
        for acted in self.of(Acted):
            at = acted.step
            if acted.back_to is not None:
                at = acted.back_to
                found = [(step, new) for step, new in found if step <= at]
            found += [(at + 1, dict(decision.change.set)) for decision in acted.decisions]
        return found

    def checkpoint(self) -> Saved:
        """The last one of the main line."""
        kept = [Saved(0, State())]
        for entry in self.entries:
            if isinstance(entry, Saved):
                kept = [saved for saved in kept if saved.step < entry.step] + [entry]
            elif isinstance(entry, Acted) and entry.back_to is not None:
                kept = [saved for saved in kept if saved.step <= entry.back_to]
        return kept[-1]

    def back_to(self, step: int) -> int:
        record = Record([*self.entries, Acted(0, 0, (), step)])
        return record.checkpoint().step

    def recalled(self, hand: Hand, seed: int) -> Hand:
        rows = [row.block() for row in self.of(Row)]
        order = sorted(range(len(rows)), key=lambda at: zlib.crc32(f"{seed} {at}".encode()))
        begun = [Begun(attempt=each.attempt, step=each.step, back=each.back) for each in self.of(Started)]
        hand.recall([rows[at] for at in order], begun=begun, fired=self.fired())
        return hand

    def fired(self) -> Iterable[Fired]:
        """What commands tell: of one firing, pauses apart."""
        for acted in self.of(Acted):
            for decision in acted.decisions:
                told = replace(decision.change, pause=False, rollback_to=acted.back_to)
                for part in (told, Change(pause=decision.change.pause, reason=told.reason)):
                    if part:
                        yield Fired(rule=decision.rule, judged=decision.judged, change=part)


@dataclass(frozen=True, slots=True)
class Fault:
    """Something goes wrong after so many further happenings. ``forgets``: of the driver's, how many entries of the
    record were not committed; None: the trial's worker goes, and the driver stays."""

    after: int
    forgets: int | None = None


@dataclass(frozen=True, slots=True)
class Told:
    """How a run went."""

    values: list[tuple[int, float]]
    params: list[tuple[int, dict[str, Any]]]
    firings: Sequence[Firing]


class _FaultError(Exception):
    pass


class Run:
    def __init__(self, faults: Sequence[Fault], *, max_step: int = 45) -> None:
        self.max_step = max_step
        self.faults = list(faults)
        self.record = Record()
        self.hand = self._hand()
        self.trained: dict[int, dict[str, Any]] = {}
        self._until_fault = self.faults[0].after if self.faults else -1

    def _hand(self) -> Hand:
        return Hand(RULES, metric="loss", max_step=self.max_step)

    def go(self) -> Told:
        attempt, back = 0, False
        while True:
            begin = self.record.checkpoint()
            self.record.entries.append(Started(attempt, begin.step, back))
            if back:
                self.hand.rolled_back(begin.step, attempt=attempt)
            else:
                self.hand.restarted(begin.step, attempt=attempt)
            try:
                back = self._attempt(attempt, begin)
            except _FaultError:
                fault = self.faults.pop(0)
                self._until_fault = self.faults[0].after if self.faults else -1
                back = self._recover(fault)
            else:
                if not back:
                    break
            attempt += 1
        values = [(step, value) for step, value in zip(*self._curve(), strict=True)]
        return Told(values, sorted(self.trained.items()), self.hand.firings)

    def _curve(self) -> tuple[list[int], list[float]]:
        live = self.hand._live(self.max_step, {}, ())
        return live.steps.tolist(), live.losses.tolist()

    def _recover(self, fault: Fault) -> bool:
        if fault.forgets is not None:
            kept = len(self.record.entries) - fault.forgets
            self.record.entries = self.record.entries[: max(kept, 1)]
            self.hand = self.record.recalled(self._hand(), seed=fault.after)
        last = [each for each in self.record.entries if isinstance(each, Acted | Started)][-1:]
        return any(isinstance(each, Acted) and each.back_to is not None for each in last)

    def _happens(self) -> None:
        if self._until_fault == 0:
            raise _FaultError
        self._until_fault -= 1

    def _attempt(self, attempt: int, begin: Saved) -> bool:
        """Train; whether it ended in a roll-back."""
        state, seq = begin.state, 0
        for step in range(begin.step + 1, self.max_step + 1):
            params = dict(BEGIN)
            for at, new in self.record.timeline():
                if at <= step:
                    params.update(new)
            state, loss = state.step(step, params["lr"], params["aux"])
            self.trained = {at: each for at, each in self.trained.items() if at < step} | {step: params}
            for metrics in ({"val": loss / 2}, {"loss": loss}, {"after": -loss}):
                if "loss" not in metrics and step % (3 if "val" in metrics else 4):
                    continue
                self._happens()
                row = Row(attempt, seq, step, metrics)
                seq += 1
                self.record.entries.append(row)
                self.hand.see(row.block())
                if "loss" in metrics:
                    self._happens()
                    if self._judge(attempt, step, params):
                        return True
            if step % EVERY == 0:
                self._happens()
                self.record.entries.append(Saved(step, state))
        return False

    def _judge(self, attempt: int, step: int, params: dict[str, Any]) -> bool:
        decisions = self.hand.judge(step, params)
        back = [decision.change.rollback_to for decision in decisions if decision.change.rollback_to is not None]
        to = self.record.back_to(back[0]) if back else None
        self.record.entries += [Acted(attempt, step, (decision,), to) for decision in decisions]
        self._happens()
        return bool(back)
