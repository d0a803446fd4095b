"""What a sweep begins with that another one has trained: its origin, copied into its own folder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from caviar.errors import FolderError
from caviar.origin import Origin
from caviar.store.checkpoints import CheckpointFiles
from caviar.store.place import place
from caviar.trial import ORIGIN


@contextmanager
def brought(files: CheckpointFiles, origin: Origin | None) -> Iterator[None]:
    """Copy the origin, if there is one, to where nobody sees it, and once the block has ended put it in its place.
    Raises `FolderError` where it is not there any more."""
    if origin is None:
        yield
        return
    with files.checkpoint(origin.trial, ORIGIN, origin.step) as draft:
        CheckpointFiles.of(place(origin.path)).copy(origin.trial, origin.saved, draft)
        yield


def bring_again(files: CheckpointFiles, origin: Origin | None) -> None:
    """Have the origin whole. A driver may have gone when it had just made the folder; nothing has begun then.
    Raises `FolderError` where it cannot be had again."""
    if origin is None or (damage := files.damage(origin.trial, (ORIGIN, origin.step))) is None:
        return
    try:
        with brought(files, origin):
            pass
    except (FolderError, FileNotFoundError) as error:
        raise FolderError(f"{damage}; its trials begin from it, and it cannot be had again: {error}") from None
