"""laptop.md: its commands run, in order, on a machine of their own, with the sweep that the page defines."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import pytest

import caviar
from tests.clusters.files import FOLDER, ROOT, Wrong, replace, sound
from tests.clusters.machines import Machines, why_not
from tests.pages import blocks

PAGE = FOLDER / "laptop.md"


def check(page: Path) -> None:
    text = page.read_text("utf-8")
    headings = re.findall(r"^## (.+)$", text, re.MULTILINE)
    if headings != ["Start", "Run", "Stop"]:
        raise Wrong(f"headings: {headings}")
    if not re.match(r"# .+\n\nFor one machine", text):
        raise Wrong("it does not say what it is for")
    parts = dict(zip(headings, re.split(r"^## .+$", text, flags=re.MULTILINE)[1:], strict=True))
    for part, needed in {"Start": "ray start --head", "Run": "caviar submit", "Stop": "ray stop"}.items():
        if needed not in parts[part]:
            raise Wrong(f"{part}: no `{needed}`")
    for block in blocks(page):
        if block.language == "console":
            for line in block.text.splitlines():
                sound(line)
    for command in re.findall(r"`((?:caviar|ray) [^`\s]+ [^`\n]+)`", text):
        sound(command)


def test_it_is_sound() -> None:
    check(PAGE)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("## Stop", "## End", "headings"),
        ("For one machine", "Machines", "what it is for"),
        ("ray start --head", "ray start --heads", "--heads"),
        ("ray stop", "ray halt", "no `ray"),
        ("caviar submit first.py", "caviar submits first.py", "no `caviar submit"),
        ("caviar jobs --address", "caviar jobs --adress", "--adress"),
        ('"$PWD/runs/second"', '"$PWD/runs/second', "unexpected EOF"),
    ],
)
def test_a_broken_page_is_found(old: str, new: str, said: str, tmp_path: Path) -> None:
    page = tmp_path / "laptop.md"
    page.write_text(replace(PAGE.read_text("utf-8"), old, new))
    with pytest.raises(Wrong, match=said):
        check(page)


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.skipif(why_not() is not None, reason=f"{why_not()}")
def test_its_commands_run() -> None:
    code = [block for block in blocks(PAGE) if block.run]
    (sweep,) = (block.text for block in code if block.language == "python")
    commands = [line for block in code if block.language == "console" for line in block.text.splitlines()]
    listening = "ss -Hltn | awk '{print $4}' | sed -e 's/:[0-9]*$//' -e 's/.*ffff://' -e 's/]//' | sort -u"
    assert commands[-1] == "ray stop"
    script = "\n".join(["set -e", "cd sweeps", *commands[:-1], f"{listening} >listening", commands[-1]])
    with Machines() as machines:
        folder, home = machines.folder / "sweeps", machines.folder / "home"
        folder.mkdir()
        home.mkdir()
        (folder / "first.py").write_text(sweep)
        env = {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "HOME": str(home),
            "PYTHONPATH": str(ROOT), "RAY_TMPDIR": str(machines.tmp),
        }  # fmt: skip
        status, said = machines.run(0, ["bash", "-c", script], env=env, timeout_s=270)
        assert status == 0, said
        for name in ("first", "second"):
            result = caviar.load(folder / "runs" / name)
            assert result.status == "finished"
            assert sum(result.counts().values()) == 20
        assert (folder / "listening").read_text() == "127.0.0.1\n"
        assert (home / ".ray" / "auth_token").stat().st_mode & 0o777 == 0o600
