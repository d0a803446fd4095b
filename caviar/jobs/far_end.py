"""What a query runs on the cluster, as ``python -m caviar.jobs.far_end``: it finds the Python that caviar needs.

It needs nothing but Python's own library itself.
"""

from __future__ import annotations

import importlib.util
import os
import runpy
import sys

from caviar.jobs.entry import rays_python

ANSWERING = "caviar.cli.answering"
"""What carries out the command line. By name: it stands above this room."""

SURE_TO_BE_THERE = "click"
"""What any Python has that caviar was installed for."""


def main(words: list[str]) -> None:
    """Carry out a command line, where need be in the Python that Ray runs with."""
    if importlib.util.find_spec(SURE_TO_BE_THERE) is None and (python := rays_python()) != sys.executable:
        os.execv(python, [python, "-m", "caviar.jobs.far_end", *words])
    runpy.run_module(ANSWERING, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(sys.argv[1:])
