"""What the documentation says is so: its code runs, its links lead somewhere, its tables match the code."""

from __future__ import annotations

import re
import shlex
import tomllib
from dataclasses import fields
from pathlib import Path

import click
import pyarrow as pa
import pytest

import caviar
from caviar.cli import main
from caviar.cli.app import COMMANDS
from caviar.messages import Recorded
from caviar.store.tables import SCHEMAS
from tests.pages import ROOT, blocks, run

PAGES = sorted(
    [ROOT / "README.md", ROOT / "CHANGELOG.md", *ROOT.glob("docs/**/*.md"), *ROOT.glob("*/README.md")],
    key=lambda page: page.relative_to(ROOT).as_posix(),
)
PAGES = list(dict.fromkeys(PAGES))


def name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


WITH_CODE = [page for page in PAGES if any(block.language == "python" for block in blocks(page))]


@pytest.mark.parametrize("page", WITH_CODE, ids=name)
def test_python_of_a_page_runs_in_order(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for package in ("torch", "lightning"):
        if f"\nimport {package}\n" in page.read_text("utf-8"):
            pytest.importorskip(package)
    namespace = run(page, tmp_path, monkeypatch)
    results = [value for value in namespace.values() if isinstance(value, caviar.Result)]
    assert results, "a page with code shows at least one sweep"
    for result in results:
        assert result.status == "finished"
        assert set(result.counts()) <= {"completed", "stopped"}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text("utf-8")):
        if target.startswith(("https://", "http://")):
            continue
        path, _, anchor = target.partition("#")
        found = (page.parent / path).resolve() if path else page
        assert found.exists(), f"{page}: {target} does not exist"
        if anchor:
            assert anchor in anchors(found), f"{page}: {target}: no such heading"


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives to a page's headings."""
    headings = re.findall(r"^#+ (.+)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def command(command_name: str) -> click.Command:
    found = main.get_command(click.Context(main), command_name)
    assert found is not None, f"there is no command `caviar {command_name}`"
    return found


def options(command_name: str) -> set[str]:
    params = command(command_name).params
    return {option for param in params for option in param.opts if option.startswith("--")}


def sections(text: str) -> dict[str, str]:
    parts = re.split(r"^## (.+)$", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


GUIDE = ROOT / "docs" / "guides" / "command-line.md"


def test_guide_has_the_commands_of_the_help_page() -> None:
    text = GUIDE.read_text("utf-8")
    assert re.findall(r"^\| \[`caviar ([\w-]+)`\]", text, re.MULTILINE) == list(COMMANDS)
    assert list(sections(text)) == list(COMMANDS)


@pytest.mark.parametrize("command_name", COMMANDS)
def test_guide_has_the_options_of_each_command(command_name: str) -> None:
    section = sections(GUIDE.read_text("utf-8"))[command_name]
    prose = re.sub(r"```.*?```", "", section, flags=re.DOTALL)
    assert set(re.findall(r"--[a-z][a-z-]*", prose)) == options(command_name) - {"--debug", "--log-format"}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_commands_of_a_page_exist_with_their_options(page: Path) -> None:
    lines = [line for block in blocks(page) if block.language == "console" for line in block.text.splitlines()]
    for line in lines:
        words = shlex.split(line, comments=True)
        if words[:1] == ["caviar"]:
            used = {word for word in words if word.startswith("--")}
            assert used <= options(words[1]), line
    for command_name in re.findall(r"`caviar (\w[\w-]*)", page.read_text("utf-8")):
        assert command(command_name)


def rows(text: str, heading: str, columns: int) -> list[list[str]]:
    """The cells of the first table under a heading, without its head."""
    begin = re.search(rf"^#+ {re.escape(heading)}$", text, re.MULTILINE)
    assert begin is not None, f"no heading {heading!r}"
    lines = text[begin.end() :].splitlines()
    first = next(number for number, line in enumerate(lines) if line.startswith("|"))
    found = []
    for line in lines[first + 2 :]:
        if not line.startswith("|"):
            break
        found.append([cell.strip(" `") for cell in line.strip("|").split("|")])
        assert len(found[-1]) == columns, line
    return found


FORMAT = (ROOT / "docs" / "file-format.md").read_text("utf-8")


@pytest.mark.parametrize("table", SCHEMAS)
def test_columns_in_the_file_format_are_those_of_the_store(table: str) -> None:
    def words(kind: pa.DataType) -> str:
        if pa.types.is_dictionary(kind):
            return f"dictionary<{kind.index_type}, {kind.value_type}>"
        return str(kind).replace(", tz=", ", ")

    found = [(column, kind) for column, kind, _ in rows(FORMAT, table, 3)]
    assert found == [(field.name, words(field.type)) for field in SCHEMAS[table]]


def test_kinds_of_events_in_the_file_format_are_those_of_the_messages() -> None:
    found = {
        kind: [field for field in data.split(", ") if field]
        for kind, data, _ in rows(FORMAT, "Kinds of events", 3)
    }
    columns = ("time_us", "trial", "attempt", "step")
    assert found == {
        event.kind: [field.name for field in fields(event) if field.name not in columns]  # type: ignore[arg-type]
        for event in Recorded.__subclasses__()
    }


def test_the_file_tree_of_the_readme_is_complete() -> None:
    tree = sections((ROOT / "README.md").read_text("utf-8"))["The file tree"]
    shown = set(re.findall(r"^  (\S+)  ", tree, re.MULTILINE))
    there = {
        f"{path.name}/" if path.is_dir() else path.name
        for path in (ROOT / "caviar").iterdir()
        if path.name != "py.typed" and not path.name.startswith("__pycache__")
    }
    assert shown == there


def test_the_layers_in_the_architecture_are_those_that_are_checked() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]["contracts"]
    layers = next(contract["layers"] for contract in contracts if contract["type"] == "layers")
    text = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    assert " → ".join(layers) in " ".join(text.split())


def test_the_changelog_has_this_version() -> None:
    assert f"## [{caviar.__version__}]" in (ROOT / "CHANGELOG.md").read_text("utf-8")


def test_architecture_names_who_imports_ray() -> None:
    package = ROOT / "caviar"
    importing = {
        file.relative_to(package)
        for file in package.rglob("*.py")
        if re.search(r"^\s*(import|from) ray\b", file.read_text("utf-8"), re.MULTILINE)
    }
    said = re.search(r"Only the Ray executor \(in `execution/`: ([^)]*)\) and `jobs/` import ray", architecture())
    assert said is not None
    named = set(re.findall(r"`(\w+\.py)`", said[1]))
    assert named == {path.name for path in importing if path.parts[0] == "execution"}
    assert {path.parts[0] for path in importing} == {"execution", "jobs"}


def test_architecture_says_nothing_twice() -> None:
    sentences = [one for one in re.split(r"(?<=[.:;]) ", architecture()) if len(one) > 40]
    assert len(sentences) == len(set(sentences)), {one for one in sentences if sentences.count(one) > 1}


def architecture() -> str:
    return " ".join((ROOT / "docs" / "architecture.md").read_text("utf-8").split())
