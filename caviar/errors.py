"""Everything that caviar raises on purpose.

Exception
└── CaviarError                 one clear line; the command line prints it without a traceback
    ├── UsageError              wrong use: nothing was started, nothing was written (exit status 2)
    │   ├── SpaceError          a space, a scale, or params outside their space
    │   └── FolderError         the sweep folder: missing, already taken, damaged, not usable
    │       ├── LeaseError      another driver holds the folder
    │       └── FencedError     another driver took the folder over while this one was away
    ├── MetricError             a report that cannot be stored (raised in the training function)
    ├── CommandError            a command to a running sweep that was refused, or not answered in time
    ├── ClusterError            the job API of a Ray cluster cannot be reached, refuses, or went away
    ├── ExecutionError          workers cannot be started, or all were lost
    └── IllegalMoveError        a trial was asked to make a move that its state forbids: a bug in caviar

OSError
└── OutageError                 the place of a sweep cannot be reached now; caviar waits, and tries again

BaseException
└── TrialStopped                raised by ``trial.report`` when the trial is to end; not an Exception, so
                                that ``except Exception`` in a training function lets it pass
"""

from __future__ import annotations


class CaviarError(Exception):
    """The root of caviar's errors; its text is one line that names the thing, the value and the mend."""


class UsageError(CaviarError, ValueError):
    """Wrong use, found before anything was started or written."""


class SpaceError(UsageError):
    """A mistake in a space, or params that do not belong to it."""


class FolderError(UsageError):
    """The sweep folder is missing, already taken, damaged or on a file system that cannot hold one."""


class LeaseError(FolderError):
    """Another driver holds the sweep folder."""


class FencedError(FolderError):
    """Another driver took over the sweep folder; this one must stop at once."""


class MetricError(CaviarError, ValueError):
    """A report that cannot be stored: a value that is no number, a reserved name, a step that shrinks."""


class CommandError(CaviarError, RuntimeError):
    """A command to a running sweep was refused, or not answered; the text says whether it can still be applied."""


class ClusterError(CaviarError, RuntimeError):
    """The job API of a Ray cluster cannot be reached, is not one, refuses, or went away."""


class ExecutionError(CaviarError, RuntimeError):
    """Workers could not be started, or none is left."""


class IllegalMoveError(CaviarError, RuntimeError):
    """A trial was asked to make a move that its state forbids; the text carries the trial's story."""


class OutageError(OSError):
    """The place where a sweep lies cannot be reached now, or is too busy: later it may work."""


class TrialStopped(BaseException):
    """The trial is to end. Let it pass; swallowed, it is raised again at the next report."""
