"""A sweep in files of other tools.

```
source.py    what is exported: the rows of all trials, or of some
folder.py    the folder that is made: whole or not at all, and never in the place of what is not ours
csv.py       as CSV
boards.py    as runs of TensorBoard
```
"""

from __future__ import annotations

import datetime
import json
import os
from pathlib import Path
from typing import Literal

import caviar
from caviar.analysis.export.folder import RECORD, made
from caviar.analysis.export.source import Source
from caviar.errors import UsageError

Target = Literal["csv", "tensorboard"]
TARGETS: tuple[Target, ...] = ("csv", "tensorboard")


def export(source: Source, path: str | os.PathLike[str], *, to: str, tidy: bool, replace: bool) -> Path:
    """Write the rows of ``source`` into the new folder ``path``, and return where it lies.

    With ``replace`` also in the place of an earlier export. Raises `UsageError` for a folder that cannot be made
    or replaced, `CaviarError` where TensorBoard is not installed.
    """
    if to not in TARGETS:
        raise UsageError(f"export(to={to!r}): must be one of {', '.join(TARGETS)}")
    if to == "tensorboard" and (tidy or source.with_attempt):
        raise UsageError(f'export(to={to!r}): takes neither tidy nor attempts="all": it has one curve a trial')
    if to == "csv":
        from caviar.analysis.export.csv import check, write
    else:
        from caviar.analysis.export.boards import check, write
    check(source, tidy)
    with made(path, outside=source.path, replace=replace) as (folder, path):
        write(source, folder, tidy=tidy)
        (folder / RECORD).write_text(json.dumps(_record(source, to), indent=2) + "\n", "utf-8")
    return path


def _record(source: Source, to: str) -> dict[str, object]:
    now = datetime.datetime.now(datetime.UTC)
    return {
        "caviar": caviar.__version__,
        "to": to,
        "exported": now.isoformat(timespec="seconds"),
        "sweep": str(source.path),
        "status": source.status,
        "trials": len(source.trial),
        "reports": int(source.reports.report_starts().sum()),
        "events": len(source.event_rows),
        "of_trials": source.of_trials,
        "metric": source.metric,
        "mode": "max" if source.maximize else "min",
        "declaration": source.declaration,
    }
