"""``caviar check``: whether a sweep folder is whole, and what to do where it is not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from caviar.cli.app import DONE, FAILED, debug_option, folder_argument
from caviar.cli.table import Form, form_options, print_json

if TYPE_CHECKING:
    from caviar.store.check.findings import Finding
    from caviar.store.check.look import Verdict
    from caviar.store.check.repair import Done


@click.command()
@folder_argument
@click.option(
    "--repair", "mend", is_flag=True, help="Set damaged files aside, so that the rest can be used again."
)
@form_options(csv=False)
@debug_option
def check(folder: str, mend: bool, form: Form | None) -> int:
    """Verify every file of a sweep, finished, interrupted or running.

    One line a finding: damage; harmless, which everybody passes over; or a note. The last line is the verdict.

    \b
    --repair moves damaged files into DIR/.damaged, deletes nothing, and records what was lost.
    """
    from caviar.execution.logs import LOG_BYTES
    from caviar.store.check.look import check as verify
    from caviar.store.check.repair import repair
    from caviar.store.layout import SweepFolder
    from caviar.store.place import place

    sweep = SweepFolder(place(folder))
    verdict = verify(sweep, log_bytes=LOG_BYTES)
    _tell(verdict.findings, form)
    if mend and not verdict.sound:
        _tell_done(repair(sweep, verdict, log_bytes=LOG_BYTES), form)
        verdict = verify(sweep, log_bytes=LOG_BYTES)
        _tell(verdict.findings, form)
    if form == "json":
        print_json(_as_dict(verdict))
    else:
        click.echo(f"{folder}: {_sentence(verdict)}")
    return DONE if verdict.sound else FAILED


def _tell(findings: Any, form: Form | None) -> None:
    for finding in findings:
        if form == "json":
            print_json({"severity": finding.severity.value, "file": finding.file, "text": finding.text})
        else:
            click.echo(_line(finding))


def _line(finding: Finding) -> str:
    where = f"{finding.file}: " if finding.file else ""
    return f"{finding.severity.value.ljust(8)}  {where}{' '.join(finding.text.split())}"


def _tell_done(done: Done, form: Form | None) -> None:
    for verb, files in (("set aside", done.aside), ("made", done.made)):
        for file in files:
            if form == "json":
                print_json({"repair": verb, "file": file})
            else:
                click.echo(f"{verb.ljust(9)} {file}")


def _as_dict(verdict: Verdict) -> dict[str, Any]:
    return {
        "verdict": "sound" if verdict.sound else "damaged",
        "running": verdict.held,
        "commits": verdict.commits,
        "whole_until": verdict.whole_until,
        "trials": verdict.trials,
        "reports": verdict.reported.reports,
        "events": verdict.told.events,
        "lost": {table: [list(span) for span in spans] for table, spans in verdict.lost.items()},
    }


def _sentence(verdict: Verdict) -> str:
    from caviar.store.check.findings import Severity

    trials, reports = verdict.trials, verdict.reported.reports
    rows = f"{trials:,} trials, {reports:,} reports and {verdict.told.events:,} events"
    if verdict.sound:
        return f"sound: {verdict.commits:,} commits with {rows}"
    damages = sum(finding.severity is Severity.DAMAGE for finding in verdict.findings)
    until = "nothing is whole" if verdict.whole_until < 0 else f"whole up to commit {verdict.whole_until:,}"
    return (
        f"damaged ({damages:,} findings): {until} of {verdict.files.last:,}; {rows} can still be read, by other "
        "tools part by part, by caviar after --repair"
    )
