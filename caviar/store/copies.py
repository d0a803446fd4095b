"""Files of this machine that stand for what lies in an object store, since training functions need files.

All lie in this process's scratch folder, which goes with the process. A log is written here, a file for each time
that one is opened, and what such a file holds goes to the end of the log in the store once it is closed: attempts
of one trial may print in several processes, and a file may be on its way while the next is open.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from caviar.messages import SCRATCH

_lock = threading.RLock()
_own: tuple[int, Path] | None = None


def scratch() -> Path:
    """The folder for copies: the one that whoever started this process has named, else one of its own."""
    global _own
    named = os.environ.get(SCRATCH)
    if named:
        Path(named).mkdir(mode=0o700, parents=True, exist_ok=True)
        return Path(named)
    with _lock:
        if _own is None or _own[0] != os.getpid() or not _own[1].exists():
            _own = (os.getpid(), Path(tempfile.mkdtemp(prefix="caviar-")))
            atexit.register(_remove, *_own)
        return _own[1]


def _remove(pid: int, path: Path) -> None:
    if pid == os.getpid():  # a forked child inherits what is to be done at exit
        shutil.rmtree(path, ignore_errors=True)


class Copies:
    """What this process has of one sweep. Any thread may call."""

    def __init__(self) -> None:
        self._fetched: dict[str, Path] = {}
        self._written: list[tuple[str, Path]] = []
        """What is to go to the end of logs, in this order."""
        self._changing = threading.Lock()
        self._uploading = threading.Lock()

    def draft(self) -> Path:
        """A new, empty folder."""
        return Path(tempfile.mkdtemp(prefix="draft-", dir=scratch()))

    def fetched(self, folder: str, download: Callable[[Path], None]) -> Path:
        """The copy of a folder; where there is none, ``download`` fills a new one."""
        with self._changing:
            found = self._fetched.get(folder)
        if found is not None:
            return found
        path = Path(tempfile.mkdtemp(prefix="copy-", dir=scratch()))
        try:
            download(path)
        except BaseException:
            shutil.rmtree(path, ignore_errors=True)
            raise
        with self._changing:
            self._fetched[folder] = path
        return path

    def forget(self, folder: str) -> None:
        """Remove the copies of a folder, and of those in it."""
        with self._changing:
            going = [name for name in self._fetched if f"{name}/".startswith(f"{folder}/")]
            paths = [self._fetched.pop(name) for name in going]
        for path in paths:
            shutil.rmtree(path, ignore_errors=True)

    def log(self) -> Path:
        """A new file, to write to; `append` brings it to its place."""
        number, name = tempfile.mkstemp(prefix="log-", dir=scratch())
        os.close(number)
        return Path(name)

    def append(
        self, key: str, path: Path, *, read: Callable[[str], bytes], write: Callable[[str, bytes], None]
    ) -> None:
        """All is written: bring it, and what could not be brought before, to the ends of the logs in the store."""
        with self._changing:
            self._written.append((key, path))
        with self._uploading, suppress(OSError):  # later, when another is written: nobody is to fail for it
            while self._written:
                key, path = self._written[0]
                before = b""
                with suppress(FileNotFoundError):
                    before = read(key)
                if (text := path.read_bytes()) and not before.endswith(
                    text
                ):  # else it got there, and nobody heard
                    write(key, before + text)
                path.unlink(missing_ok=True)
                with self._changing:
                    del self._written[0]
