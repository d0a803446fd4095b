"""Where a fork begins, held on to: a run that is under way gives up most of its checkpoints sooner or later."""

from __future__ import annotations

import logging
import os

from caviar.errors import CommandError, UsageError
from caviar.forking import Beginning, beginning
from caviar.panda.asking import carried_out
from caviar.store.reader import Reader

_log = logging.getLogger(__name__)

TRIES = 3


def held(path: str | os.PathLike[str], *, trial: int, at_step: int | None) -> Beginning:
    """As `beginning`; and where a driver has the sweep in hand, it keeps that checkpoint from now on, so that it
    can be copied when everything else is ready. If the driver cannot be asked, that is logged."""
    for attempt in range(TRIES):
        begin = beginning(path, trial=trial, at_step=at_step)
        own = begin.origin.attempt is not None  # what a fork began with is kept anyway
        if not (own and begin.under_way and Reader(path, metrics=False).state() == "running"):
            break
        args = {"attempt": begin.origin.attempt, "step": begin.origin.step}
        try:
            carried_out(path, "keep", trial=trial, args=args)
        except CommandError as error:  # it may have gone just now: then another one is the nearest
            if attempt == TRIES - 1:
                _log.warning("%s; the checkpoint may go while it is copied", error)
        except UsageError:  # nobody drives it any more
            break
        else:
            break
    return begin
