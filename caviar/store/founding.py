"""Making a new sweep folder, with nothing left behind if that fails."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from caviar.errors import FolderError
from caviar.store.files import Files
from caviar.store.layout import TABLES, SweepFolder


@contextlib.contextmanager
def founding(folder: SweepFolder, files: Files) -> Iterator[None]:
    """Make the folders of a new sweep; a block that fails takes away again all that was made.

    Raises `FolderError` where that cannot be done, or another process is at it: a folder is made by one alone,
    so the first name that both want decides.
    """
    inner = (
        folder.tmp_folder,
        folder.hot_folder,
        *(folder.table_folder(table) for table in TABLES),
        folder.inbox_folder,
        folder.checkpoints_folder,
    )
    outer: list[Path] = []
    path = folder.path.absolute()
    while not path.exists():
        outer.insert(0, path)
        path = path.parent
    made: list[Path] = []
    try:
        try:
            for path in (*outer, *inner):
                files.make_folder(path)
                made.append(path)
                files.sync_folder(path.parent)
            files.probe(folder.tmp_folder)
        except FileExistsError as error:
            raise FolderError(f"{folder}: another process is making a sweep of it") from error
        except OSError as error:
            raise FolderError(f"{folder}: cannot be made: {error.strerror}") from error
        yield
    except BaseException:
        if folder.tmp_folder in made:  # otherwise another process's files lie there
            files.unlink(folder.sweep_json)
            files.unlink(folder.lease_json)
        for path in reversed(made):
            if path in outer:
                with contextlib.suppress(OSError):
                    path.rmdir()  # not its content: others may have put a sweep of theirs beside ours
            else:
                files.remove_tree(path)
        raise
