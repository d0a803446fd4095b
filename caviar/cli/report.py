"""``caviar report``: a sweep as one HTML page."""

from __future__ import annotations

from pathlib import Path

import click

from caviar.cli import logs
from caviar.cli.app import debug_option, folder_argument


@click.command()
@folder_argument
@click.option("--out", type=click.Path(path_type=Path), help="Where to write it; without, beside DIR: DIR.html.")
@click.option("--title", help="What stands above it; without, the name of the sweep.")
@click.option("--open", "show", is_flag=True, help="Show it in the browser.")
@debug_option
def report(folder: str, out: Path | None, title: str | None, show: bool) -> None:
    """One HTML page that works offline: the best setting, what mattered, what to do next, all figures."""
    import webbrowser

    from caviar.analysis.result import load
    from caviar.errors import UsageError

    if out is not None and out.is_dir():
        own = (out / "sweep.json").exists()  # nothing but the sweep's own files is written into it
        better = beside(out) if own else out / "report.html"
        raise UsageError(f"--out {out}: is a {'sweep ' * own}folder; name a file, as in --out {better}")
    result = load(folder)
    page = result.report(beside(result.path) if out is None else out, title=title)
    click.echo(f"{page}: {page.stat().st_size / 1e6:.1f} MB, {_said(result.status)}")
    if show and not webbrowser.open(page.resolve().as_uri()):
        logs.say(f"no browser was found; open {page} yourself")


def beside(path: Path | str) -> Path:
    """``runs/digits`` -> ``runs/digits.html``; of a sweep in an object store, in the current folder."""
    if isinstance(path, Path):
        folder = path.resolve() if path.name in ("", "..") else path  # the folder of now has no name of its own
        return folder.with_name(f"{folder.name}.html")
    return Path(f"{path.rstrip('/').rpartition('/')[2]}.html")


def _said(status: str) -> str:
    return {
        "running": "a picture of now, as it still runs",
        "interrupted": "of a sweep that was interrupted",
    }.get(status, "everything in one file")
