"""Files of this machine that stand for what lies in an object store, since training functions need files.

All lie in this process's scratch folder, which goes with the process. Logs are appended to here, and brought to
their place when they are closed; what an earlier attempt printed, here or elsewhere, comes first in them.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
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


@dataclass(slots=True)
class _Log:
    path: Path
    closed: bool = False
    headless: bool = False
    """Whether what lay in the object store before could not be read, so that it is to come first."""


class Copies:
    """What this process has of one sweep. Any thread may call."""

    def __init__(self) -> None:
        self._fetched: dict[str, Path] = {}
        self._logs: dict[str, _Log] = {}
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

    def log(self, key: str, read: Callable[[str], bytes]) -> Path:
        """The copy of a log, open again if it was closed."""
        with self._changing:
            log = self._logs.get(key)
            if log is None:
                number, name = tempfile.mkstemp(prefix="log-", dir=scratch())
                log = _Log(Path(name))
                with os.fdopen(number, "wb") as file:
                    try:
                        file.write(read(key))
                    except FileNotFoundError:
                        pass
                    except OSError:  # whoever prints must not wait for it
                        log.headless = True
                self._logs[key] = log
            log.closed = False
            return log.path

    def close_log(self, key: str, *, read: Callable[[str], bytes], write: Callable[[str, bytes], None]) -> None:
        """A log is closed for now: bring it, and closed ones that could not be brought before, to their place."""
        with self._changing:
            log = self._logs.get(key)
            if log is None:
                return
            log.closed = True
        with self._uploading, suppress(OSError):  # later, when another closes: nobody is to fail for it
            for name, closed in self._closed():
                write(name, _content(name, closed, read))
                closed.headless = False
                with self._changing:
                    if closed.closed:  # else it was opened again meanwhile
                        closed.path.unlink(missing_ok=True)
                        del self._logs[name]

    def _closed(self) -> list[tuple[str, _Log]]:
        with self._changing:
            return [(name, log) for name, log in self._logs.items() if log.closed]


def _content(key: str, log: _Log, read: Callable[[str], bytes]) -> bytes:
    before = b""
    if log.headless:
        with suppress(FileNotFoundError):
            before = read(key)
    return before + log.path.read_bytes()
