"""What the store needs of the place where a sweep lies, be it a file system or an object store.

Files are named by keys: relative names with `/` between them (`_hot/000000000003.arrow`), which `layout` makes.
The key `""` is the place itself. A storage knows no format and no protocol; its one promise is that of `create`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import BinaryIO

NO_BUCKET = "there is no such bucket"
"""The ``strerror`` of a `FileNotFoundError` for which no folder can be made."""


class Storage(ABC):
    """One sweep's place. Every operation raises `OSError` when it fails, `OutageError` where it may work later,
    and none is retried for long here: the recorder's caller knows what to do meanwhile. Where it can, the error's
    ``filename`` is the whole location."""

    look_s: float = 0.0
    """How long one look for what is new should wait for the next; where it is not 0, looking takes a while."""

    @abstractmethod
    def where(self, key: str) -> str:
        """The whole location of a key, for messages."""

    # --- files ----------------------------------------------------------------------------------------------

    @abstractmethod
    def create(self, key: str, data: bytes) -> None:
        """Make ``key`` hold ``data``, durably and as a whole, unless it exists.

        Succeeds for exactly one of all callers, on this host or another; the rest get `FileExistsError`. Any other
        `OSError` leaves it open whether ``key`` now exists: read it back before trying the same name again.
        """

    @abstractmethod
    def replace(self, key: str, data: bytes) -> None:
        """Make ``key`` hold ``data`` as a whole, whatever it held before."""

    @abstractmethod
    def sync(self, key: str) -> None:
        """Make durable a file that is there, although the `create` of it failed."""

    @abstractmethod
    def read(self, key: str, *, most_bytes: int | None = None) -> bytes:
        """A file's whole content; `FolderError` where that is more than ``most_bytes``, or it is no plain file."""

    def read_many(self, keys: Sequence[str]) -> list[bytes]:
        """The content of several files, in their order; one that is missing raises `FileNotFoundError`."""
        return [self.read(key) for key in keys]

    @abstractmethod
    def open(self, key: str) -> BinaryIO:
        """A file to seek and read in, whose content is fetched piece by piece; close it. `FolderError` where it is
        no plain file."""

    @abstractmethod
    def size_bytes(self, key: str) -> int:
        """A file's size; one that is missing raises `FileNotFoundError`."""

    @abstractmethod
    def exists(self, key: str) -> bool:
        """Whether there is a file or a folder of this name."""

    @abstractmethod
    def names(self, folder: str) -> list[str]:
        """The names in a folder, folders among them, in no order. Where folders are made by what is in them, one
        may go on to be named for a while after its last file went; it does not exist then."""

    @abstractmethod
    def walk(self, folder: str) -> Iterator[tuple[str, int]]:
        """Every file below a folder, at any depth, by its key, and its size in bytes; those of one folder side by
        side. A folder that is missing has none."""

    @abstractmethod
    def unlink(self, key: str) -> None:
        """Remove a file; one that is gone already is no error."""

    def unlink_many(self, keys: Sequence[str]) -> None:
        """Remove several files; after a failure some of them may be left."""
        for key in keys:
            self.unlink(key)

    @abstractmethod
    def move(self, key: str, target: str) -> None:
        """Give a file another name, in place of what has that name; folders above that are made."""

    # --- where there are links ------------------------------------------------------------------------------

    def check_plain(self, folders: Sequence[str], files: Sequence[str]) -> None:
        """Check that what of these exists is what it should be, and lies here: what is written or removed behind a
        link would be somebody else's. Raises `FolderError`."""

    def is_within(self, key: str, folder: str) -> bool:
        """Whether what a key stands for lies in this folder, also when links are followed, and the folder itself
        is not reached through one in the sweep's. Where there are no links it always is."""
        return True

    # --- whole folders: checkpoints and logs ----------------------------------------------------------------

    @abstractmethod
    def draft(self, folder: str) -> Path:
        """A new folder on this machine, to be filled and then published as ``folder``, or dropped."""

    @abstractmethod
    def publish(self, draft: Path, folder: str, *, marker: str) -> None:
        """Make a draft the folder of this name, durably, in place of what has the name; the draft is gone then.

        Who finds the file ``marker`` in the folder finds all others too.
        """

    @abstractmethod
    def drop(self, draft: Path) -> None:
        """Remove a draft, as far as that is possible."""

    @abstractmethod
    def fetch(self, folder: str) -> Path:
        """A folder of this machine that holds the files of a published one, until `settle`."""

    @abstractmethod
    def remove_folder(self, folder: str) -> None:
        """Remove a published folder, which nobody needs any more; one that is gone already is no error."""

    @abstractmethod
    def appendable(self, key: str) -> Path:
        """A file of this machine, perhaps still to be made, to append to; what is written ends up under this key
        with `appended` at the latest."""

    def appended(self, key: str, path: Path) -> None:
        """All is written to the file that `appendable` gave, and the file is closed. Never fails."""

    def settle(self, folder: str) -> None:
        """This process is done with what `fetch` gave it of this folder and those below it. Never fails."""

    def make_folders(self, folders: Sequence[str]) -> None:
        """Make these folders where they are missing, in a place that has such things."""

    # --- beginning and end ----------------------------------------------------------------------------------

    @abstractmethod
    def check_writable(self) -> None:
        """Check that a sweep can be made here, as far as can be told without leaving anything; `FolderError` if
        not."""

    @abstractmethod
    def founding(
        self, folders: Sequence[str], files: Sequence[str], *, begun: bool = False
    ) -> AbstractContextManager[None]:
        """Make this the place of a new sweep with these folders, and prove that `create` keeps its word here.

        Where the block fails, everything that was made is taken away again: the folders, and ``files`` beside
        them. Not so where it raises `FileExistsError`: then another process is at it too, and this one yields.
        Raises `FolderError` where the place is of no use, or another process is at it.

        ``begun``: another process had begun, and is gone. What it made is used, and nothing is taken away.
        """

    @abstractmethod
    def remove_leftovers(self, spare: str) -> None:
        """Remove what crashed writers left on its way, but not what is on its way into the folder ``spare``."""
