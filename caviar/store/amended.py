"""The declaration that holds now: sweep.json, which is written once, as amended by what was recorded since."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from caviar.messages import DeclarationChanged, Extended, StageOpened
from caviar.store.tables import events_of

_AMENDMENTS = pa.array([kind.kind for kind in (DeclarationChanged, Extended, StageOpened)])


def amended(declaration: Mapping[str, Any], events: pa.Table, *, where: str) -> dict[str, Any]:
    """The declaration after these rows of the events table; those that cannot be raise a `FolderError` that names
    ``where``, the sweep folder."""
    now = dict(declaration)
    rows = events.filter(pc.is_in(events.column("kind"), value_set=_AMENDMENTS))
    for event in events_of(rows, where=where):
        match event:
            case DeclarationChanged():
                now.update(event.changes)
            case Extended():
                now.update(trials=event.trials, max_step=event.max_step)
            case StageOpened() if event.zoom is None:
                now.update(space=event.space)
    return now
