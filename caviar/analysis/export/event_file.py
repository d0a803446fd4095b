"""A file of TensorBoard's events, written with TensorBoard's own messages and its own writer of records."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams import metadata
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData, SessionEndInfo
from tensorboard.summary.writer.record_writer import RecordWriter

_VERSION = "brain.Event:2"


class EventFile:
    """The events of one run, in the order in which they are added."""

    def __init__(self, records: Any, start_s: float) -> None:
        self._records = records
        self._add(Event(wall_time=start_s, file_version=_VERSION))

    def add_scalars(self, names: Sequence[str], values: Sequence[float], *, step: int, time_s: float) -> None:
        """What was reported together; values are rounded to 32 bits."""
        values = [Summary.Value(tag=name, simple_value=value) for name, value in zip(names, values, strict=True)]
        self._add(Event(wall_time=time_s, step=step, summary=Summary(value=values)))

    def add_summary(self, summary: Summary, *, time_s: float) -> None:
        """A summary of a plugin's."""
        self._add(Event(wall_time=time_s, summary=summary))

    def add_status(self, status: int, *, time_s: float, ended: bool) -> None:
        """How the run ended, or that it has not, for the HParams page."""
        end_s = time_s if ended else None
        end = HParamsPluginData(session_end_info=SessionEndInfo(status=status, end_time_secs=end_s))
        value = Summary.Value(
            tag=metadata.SESSION_END_INFO_TAG,
            metadata=metadata.create_summary_metadata(end),
            tensor=metadata.NULL_TENSOR,
        )
        self.add_summary(Summary(value=[value]), time_s=time_s)

    def _add(self, event: Event) -> None:
        self._records.write(event.SerializeToString())


@contextmanager
def event_file(folder: Path, *, start_s: float) -> Iterator[EventFile]:
    """The one file of a run, which began at ``start_s``, seconds since the epoch."""
    folder.mkdir(exist_ok=True)
    with (folder / f"events.out.tfevents.{int(start_s):010d}.caviar").open("xb") as file:
        yield EventFile(RecordWriter(file), start_s)
