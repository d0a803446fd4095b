"""The declaration that holds now: sweep.json, which is written once, as amended by what was recorded since."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from caviar.messages import DeclarationChanged, Extended, StageOpened

_AMENDMENTS = pa.array([kind.kind for kind in (DeclarationChanged, Extended, StageOpened)])


def amended(declaration: Mapping[str, Any], events: pa.Table) -> dict[str, Any]:
    """The declaration after these rows of the events table."""
    now = dict(declaration)
    rows = events.filter(pc.is_in(events.column("kind"), value_set=_AMENDMENTS))
    for kind, text in zip(rows.column("kind").to_pylist(), rows.column("data").to_pylist(), strict=True):
        data = json.loads(text)
        match kind:
            case DeclarationChanged.kind:
                now.update(data["changes"])
            case Extended.kind:
                now.update(trials=data["trials"], max_step=data.get("max_step"))
            case StageOpened.kind:
                now.update(space=data["space"])
    return now
