"""Making a new sweep folder on a file system, with nothing left behind if that fails."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from caviar.errors import FolderError
from caviar.store.files import Files


@contextlib.contextmanager
def founding(root: Path, files: Files, *, folders: Sequence[Path], loose: Sequence[Path]) -> Iterator[None]:
    """Make the folder of a new sweep, with ``folders`` in it; a block that fails takes away again all that was
    made, and the files ``loose`` beside them; unless it raises `FileExistsError`: then they are not ours alone.

    Raises `FolderError` where that cannot be done, or another process is at it: a folder is made by one alone,
    so the first of ``folders`` decides. Temporary files are written there too.
    """
    outer: list[Path] = []
    path = root.absolute()
    while not files.exists(path):
        outer.insert(0, path)
        path = path.parent
    made: list[Path] = []
    taken = False
    """Another process took this for the remains of a founding that was cut off, and goes on with it."""
    try:
        try:
            for path in (*outer, *folders):
                files.make_folder(path)
                made.append(path)
                files.sync_folder(path.parent)
            files.probe(folders[0])
        except FileExistsError as error:
            taken = folders[0] in made
            raise FolderError(f"{root}: another process is making a sweep of it") from error
        except OSError as error:
            raise FolderError(f"{root}: cannot be made: {error.strerror}") from error
        yield
    except FileExistsError:  # another process goes on with what was begun here
        raise
    except BaseException:
        if taken:
            raise
        if folders[0] in made:  # otherwise another process's files lie there
            for path in loose:
                files.unlink(path)
        for path in reversed(made):
            if path in outer:
                with contextlib.suppress(OSError):
                    files.remove_folder(path)  # not its content: others may have put a sweep of theirs beside ours
            else:
                files.remove_tree(path)
        raise


@contextlib.contextmanager
def founding_again(root: Path, files: Files, *, folders: Sequence[Path]) -> Iterator[None]:
    """The same where another process had begun, and is gone: its folders are used, and a block that fails leaves
    things as they are, to be begun again."""
    try:
        for path in folders:
            files.make_folders(path)
            files.sync_folder(path.parent)
        files.probe(folders[0])
    except OSError as error:
        raise FolderError(f"{root}: cannot be made: {error.strerror}") from error
    yield
