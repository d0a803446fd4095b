"""The power goes, or a driver is killed, at every single step on the disk: of a sweep's whole life, and of the
recovery from that; and another driver takes over at every single step.

A stop leaves the disk as it was before the step at which it happens. So a life is told once, with a picture of the
disk before every step, and every picture is one stop.
"""

from __future__ import annotations

import contextlib
import itertools
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from caviar.errors import FencedError
from caviar.store.inbox import Inbox
from caviar.store.layout import SweepFolder
from caviar.store.local import TMP
from tests.store.disk import EXTREMES, Dead, Disk, DiskFiles, Survival, by_chance
from tests.store.story import FIRST_DRIVER, Story


@dataclass(frozen=True, slots=True)
class Moment:
    """Before a step."""

    step: str
    disk: Disk
    acknowledged: int
    clock_us: int

    def story(self, root: Path) -> Story:
        return Story(root, self.acknowledged, self.clock_us)


def moments(story: Story, disk: Disk, go: Callable[[DiskFiles], None]) -> list[Moment]:
    """The moments before every step that ``go`` makes, and the one after the last."""
    found: list[Moment] = []

    def before(number: int, name: str) -> None:
        found.append(Moment(files.steps[-1], disk.copy(), story.acknowledged, story.clock_us))

    files = DiskFiles(disk, before)
    go(files)
    found.append(Moment("the end", disk.copy(), story.acknowledged, story.clock_us))
    assert len(found) == len(files.steps) + 1
    return found


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory, memory: Path | None) -> Path:
    return tmp_path_factory.mktemp("crash") / "sweep"


@pytest.fixture(scope="module")
def life(root: Path) -> list[Moment]:
    """A sweep's whole life."""
    story, disk = Story(root), Disk(root.parent)
    found = moments(story, disk, story.tell)
    story.check_end(disk)
    return found


class Seen:
    """Which disks have been there before, but for what is on its way in `.tmp`."""

    def __init__(self) -> None:
        self._seen: set[int] = set()

    def before(self, disk: Disk, *more: object) -> bool:
        key = hash((*more, *disk.listing(without=TMP).items()))
        seen = key in self._seen
        self._seen.add(key)
        return seen


def go_on(story: Story, disk: Disk) -> None:
    """What a stop left has to be right, and a successor goes on to the same end."""
    story.check(disk)
    story.live(DiskFiles(disk))
    story.check_end(disk)


def twice(call: Callable[[], Any]) -> Any:
    """As the runner does after an error of the disk: a successor removes what others have on its way."""
    try:
        return call()
    except OSError:
        return call()


def told(moment: Moment, how: str) -> str:
    return f"{how}, before {moment.step}"


def survivals(number: int, by_chances: int) -> Iterator[Survival]:
    yield from EXTREMES
    for one in range(by_chances):
        yield by_chance(number * 100 + one)


# --- one stop -------------------------------------------------------------------------------------------


def test_the_power_goes_at_any_step(life: list[Moment], root: Path) -> None:
    seen, tried, different = Seen(), 0, 0
    for number, moment in enumerate(life):
        for survival in survivals(number, by_chances=7):
            tried += 1
            disk = moment.disk.after_power_cut(survival)
            if seen.before(disk, moment.acknowledged, moment.clock_us):
                continue
            different += 1
            try:
                go_on(moment.story(root), disk)
            except Exception as error:
                raise AssertionError(told(moment, survival.name)) from error
    print(f"{len(life)} points, {tried} power cuts, {different} different disks")
    assert tried == len(life) * 12


def test_every_step_of_a_life_is_a_point(life: list[Moment], root: Path) -> None:
    disk = Disk(root.parent)
    files = DiskFiles(disk)
    Story(root).tell(files)
    assert len(life) == len(files.steps) + 1
    calls = {step.partition(" ")[0] for step in files.steps}
    assert calls >= {"create", "write", "fsync", "link", "rename", "unlink", "sync", "mkdir", "rmdir", "read"}


def test_a_driver_is_killed_at_any_step(life: list[Moment], root: Path) -> None:
    seen, different = Seen(), 0
    for moment in life:
        disk = moment.disk.copy()
        if seen.before(disk, moment.acknowledged, moment.clock_us):
            continue
        different += 1
        try:
            go_on(moment.story(root), disk)
        except Exception as error:
            raise AssertionError(told(moment, "killed")) from error
    print(f"{len(life)} points, {different} different disks")
    assert different > 50


@pytest.mark.parametrize("stop", range(5, 350, 23))
def test_a_process_that_is_stopped_leaves_what_the_picture_shows(
    root: Path, monkeypatch: pytest.MonkeyPatch, stop: int
) -> None:
    def with_the_same_names(disk: Disk, before: Callable[[int, str], None]) -> None:
        numbers = itertools.count()
        monkeypatch.setattr(secrets, "token_hex", lambda size: f"{next(numbers):0{2 * size}x}")
        Story(root).tell(DiskFiles(disk, before))

    pictures: list[Disk] = []
    whole, stopped = Disk(root.parent), Disk(root.parent)
    with_the_same_names(whole, lambda number, _: pictures.append(whole.copy()) if number == stop else None)

    def die(number: int, _: str) -> None:
        if number == stop:
            raise Dead

    with pytest.raises(Dead):
        with_the_same_names(stopped, die)
    for survival in EXTREMES:
        after = [disk.after_power_cut(survival).listing() for disk in (pictures[0], stopped)]
        assert after[0] == after[1]


# --- a second stop, on the way back ------------------------------------------------------------------------


def test_the_power_goes_at_any_step_of_a_recovery(life: list[Moment], root: Path) -> None:
    """Wherever the first driver is killed, every step of its successor's `Recorder.open` is a second stop. A kill
    leaves names that are not on the disk yet, for the power cut after it to take away; of kills that leave the
    same names, the first has brought the fewest of them to the disk."""
    firsts = seconds = different = 0
    met = Seen()
    for moment in life:
        if met.before(moment.disk, moment.acknowledged):
            continue
        first = moment.disk.copy()
        story = moment.story(root)
        if story.check(first) is None:
            continue
        firsts += 1
        seen = Seen()
        for again in moments(story, first, lambda files, story=story: story.begin(SweepFolder(root, files))):
            for survival in EXTREMES:
                seconds += 1
                disk = again.disk.after_power_cut(survival)
                if seen.before(disk, again.acknowledged):
                    continue
                different += 1
                try:
                    if different % 6:
                        again.story(root).check(disk)
                    else:
                        go_on(again.story(root), disk)
                except Exception as error:
                    how = f"{survival.name}, before {again.step}"
                    raise AssertionError(f"{told(moment, 'killed')}; then {how}") from error
    print(f"{firsts} kills, {seconds} power cuts after them, {different} different disks")
    assert firsts > 30


# --- another driver takes over ---------------------------------------------------------------------------


def taken_over(root: Path, disk: Disk, stop: int) -> tuple[Story, bool]:
    """A driver lives on a disk, and before its step ``stop`` another takes over and does everything. Returns that
    other's story, and whether the first was fenced off."""
    story, successor = Story(root), Story(root)

    def take_over(number: int, name: str) -> None:
        if number == stop:
            successor.acknowledged, successor.clock_us = story.acknowledged, story.clock_us
            successor.live(DiskFiles(disk))

    try:
        story.live(DiskFiles(disk, take_over), FIRST_DRIVER, retry=twice)
    except FencedError:
        return successor, True
    return successor, False


def test_a_successor_takes_over_at_any_step(life: list[Moment], root: Path) -> None:
    """The predecessor, suspended at a step, wakes up when the successor has done everything, and must not harm."""
    founded = next(number for number, moment in enumerate(life) if moment.acknowledged == 0)
    tried = often = 0
    for stop in range(founded, len(life)):
        disk = Disk(root.parent)
        successor, fenced = taken_over(root, disk, stop)
        if successor.acknowledged == -1:
            break  # the first driver's life was over before
        tried += 1
        often += fenced
        try:
            successor.check_all_there(disk)
            successor.check_all_there(disk.after_power_cut(EXTREMES[0]))
        except Exception as error:
            raise AssertionError(told(life[stop], "taken over")) from error
    print(f"{tried} points, {often} times fenced off")
    assert tried > 150
    assert often > 150


def gone_on(root: Path, disk: Disk, stop: int, *, acts: int) -> tuple[Story, Story, bool]:
    """A driver has done so many acts. While another takes over, before that one's step ``stop``, it goes on until
    it is fenced off. Returns both stories, and whether there was such a step."""
    folder = SweepFolder(root, DiskFiles(disk))
    story, inbox = Story(root), Inbox(folder)
    recorder = story.begin(folder)
    for number in range(acts):
        story.act(number, recorder, folder=folder, inbox=inbox)
    woken: list[int] = []

    def wake(number: int, name: str) -> None:
        if number != stop:
            return
        woken.append(number)
        with contextlib.suppress(FencedError):
            for act in range(acts, FIRST_DRIVER):
                story.act(act, recorder, folder=folder, inbox=inbox)
                recorder.roll()

    successor = Story(root, story.acknowledged, story.clock_us)
    successor.take_over = True
    successor.live(DiskFiles(disk, wake))
    return story, successor, bool(woken)


@pytest.mark.parametrize("acts", [1, 3, 6])
def test_a_predecessor_goes_on_at_any_step_of_a_take_over(root: Path, acts: int) -> None:
    """It commits and rolls while the successor is on its way in; what was acknowledged to either is there. Coming
    in takes fewer steps than are tried."""
    for stop in range(80):
        disk = Disk(root.parent)
        story, successor, woken = gone_on(root, disk, stop, acts=acts)
        assert woken
        assert successor.acknowledged >= story.acknowledged
        successor.check_all_there(disk)
        successor.check_all_there(disk.after_power_cut(EXTREMES[0]))
