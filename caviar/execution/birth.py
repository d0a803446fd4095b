"""The life of one training process: born from the fork server, watched, and ended with all that it started."""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import sys
import threading
import types
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from caviar.execution import preload, process

STACK_S = 1.0
"""How long a process that is to end has to tell where its threads are."""

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")


def prepare_fork_server(job_file: str, *, threads: int) -> None:
    """Set what the fork server inherits. It starts with the first training process."""
    for name in THREAD_VARIABLES:
        os.environ[name] = str(threads)
    # asking whether there is a GPU would otherwise start CUDA in the fork server, and no child could use it
    os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")
    os.environ[preload.JOB_FILE] = job_file
    multiprocessing.get_context("forkserver").set_forkserver_preload([process.__name__])


class TrainingProcess:
    """One training process. What it sends arrives at `connection`, which ends when the process does."""

    def __init__(self, job_file: str, *, log_mark: bytes) -> None:
        context = multiprocessing.get_context("forkserver")
        self.connection, theirs = context.Pipe()
        self.output, their_output = context.Pipe(duplex=False)
        self._process = context.Process(
            target=process.main, args=(theirs, their_output, log_mark, job_file), name="caviar-training"
        )
        with _no_main_module():
            self._process.start()
        theirs.close()
        their_output.close()
        self._stack_file = process.stack_file(job_file)
        self._dead = threading.Event()
        threading.Thread(target=self._mourn, name="caviar-mourner", daemon=True).start()

    def end(self) -> str:
        """End it and every process that it started. Returns how it ended, in words."""
        with suppress(OSError):
            os.killpg(self.pid, signal.SIGKILL)
        with suppress(OSError):
            self._process.kill()  # it may not have got as far as its own group
        self._dead.wait(10)
        return _cause(self._process.exitcode)

    def bury(self) -> str:
        """It hung up: wait for its end, and end what it left running. Returns how it ended, in words."""
        self._dead.wait(5)
        return self.end()

    def end_with_words(self) -> None:
        """End it, once it has written where its threads are: see `words`. It is still to be buried."""
        with suppress(OSError):
            self._stack_file.write_bytes(b"")
            os.kill(self.pid, process.STACK_SIGNAL)
        if not self._dead.wait(STACK_S):
            self.end()

    @property
    def words(self) -> str:
        """Where its threads were at `end_with_words`, as faulthandler tells it; nothing if it could not."""
        try:
            return self._stack_file.read_text(errors="replace")
        except OSError:
            return ""

    @property
    def pid(self) -> int:
        """Its process id, which is also that of the session of all that it starts."""
        assert self._process.pid is not None
        return self._process.pid

    @property
    def killed(self) -> bool:
        """Whether it was ended by SIGKILL, by whoever."""
        return self._process.exitcode == -signal.SIGKILL

    @property
    def returned(self) -> bool:
        """Whether it came to an orderly end by itself."""
        return self._process.exitcode == 0

    def _mourn(self) -> None:
        self._process.join()
        self._dead.set()
        # a process that a trial left behind may hold the other end open: nobody shall wait for it
        with suppress(OSError), socket.socket(fileno=os.dup(self.connection.fileno())) as end:
            end.shutdown(socket.SHUT_RDWR)


def _cause(code: int | None) -> str:
    if code is None:
        return "does not end"
    if code >= 0:
        return f"exited with status {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    return f"was killed by {name}"


@contextmanager
def _no_main_module() -> Iterator[None]:
    """A process that starts in here does not import this process's ``__main__`` again: Ray's takes 0.4 s."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main
