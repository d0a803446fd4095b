"""Waiting for an answer: what is committed from now on, however it is rolled meanwhile."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from caviar.errors import FolderError, OutageError
from caviar.messages import CommandAnswered, Recorded, SweepEnded
from caviar.store.layout import SweepFolder
from caviar.store.local import LocalStorage
from caviar.store.recorder import Recorder
from caviar.store.rows import to_row
from caviar.store.sequel import Sequel

KINDS = (CommandAnswered.kind,)


def answer(name: str) -> CommandAnswered:
    return CommandAnswered(5, name, True, "done")


@pytest.fixture
def commit(recorder: Recorder) -> Callable[..., None]:
    return lambda *events: recorder.commit([], [to_row(event) for event in events])


def test_only_what_comes_from_now_on_and_only_what_is_asked_for(
    folder: SweepFolder, commit: Callable[..., None]
) -> None:
    commit(answer("before"))
    sequel = Sequel(folder, KINDS)
    assert sequel.new() == []
    commit(answer("a"), SweepEnded(6, "done"))
    commit(SweepEnded(7, "done"))
    commit(answer("b"))
    assert sequel.new() == [answer("a"), answer("b")]
    assert sequel.new() == []
    assert sequel.new(thorough=True) == []


def test_it_begins_where_everything_is_rolled(
    folder: SweepFolder, recorder: Recorder, commit: Callable[..., None]
) -> None:
    commit(answer("before"))
    recorder.roll()
    assert folder.storage.names("_hot") == ["000000000000.arrow"], "a seal stays"
    sequel = Sequel(folder, KINDS)
    assert sequel.new() == []
    commit(answer("a"))
    assert sequel.new() == [answer("a")]


def test_what_was_rolled_between_two_looks_is_found_by_a_thorough_one(
    folder: SweepFolder, recorder: Recorder, commit: Callable[..., None]
) -> None:
    commit(answer("before"))
    sequel = Sequel(folder, KINDS)
    commit(answer("a"))
    recorder.roll()
    commit(answer("b"))
    assert sequel.new() == []
    found = sequel.new(thorough=True)
    assert [event for event in found if event != answer("before")] == [answer("a"), answer("b")]
    commit(answer("c"))
    assert sequel.new() == [answer("c")]


def test_what_was_found_before_an_outage_is_not_lost(
    folder: SweepFolder, commit: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    sequel = Sequel(folder, KINDS)
    commit(answer("a"))
    read = LocalStorage.read
    found: list[Recorded] = []

    def out_of_reach(self: LocalStorage, key: str, **more: int) -> bytes:
        if key == folder.hot(2):
            raise OutageError(5, "away")
        return read(self, key, **more)

    with monkeypatch.context() as patch:
        patch.setattr(LocalStorage, "read", out_of_reach)
        with pytest.raises(OutageError):
            found += sequel.new()
    commit(answer("b"))
    assert found + sequel.new() == [answer("a"), answer("b")]


def test_a_folder_that_is_gone_is_told_by_a_thorough_look(
    folder: SweepFolder, recorder: Recorder, commit: Callable[..., None]
) -> None:
    sequel = Sequel(folder, KINDS)
    assert sequel.new() == []
    folder.path.rename(folder.path.with_name("elsewhere"))  # type: ignore[union-attr]
    assert sequel.new() == []
    with pytest.raises(FolderError, match="cannot be read"):
        sequel.new(thorough=True)
