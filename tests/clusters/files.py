"""The files of clusters/, and what their parts have in common: a header, YAML, commands for a shell."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Hashable, Iterator
from pathlib import Path
from typing import Any

import click
import yaml
from click.parser import _OptionParser as Parser

from caviar.cli import main

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "clusters"
FILES = sorted(path for path in FOLDER.iterdir() if path.name != "README.md")


class Wrong(Exception):  # noqa: N818
    """What a check says of a file that does not hold."""


def read(name: str) -> str:
    return (FOLDER / name).read_text("utf-8")


def replace(text: str, old: str, new: str) -> str:
    """``text`` with one thing changed, which must be there."""
    assert text.count(old) >= 1, f"{old!r} is not in the file any more"
    return text.replace(old, new, 1)


class _Loader(yaml.SafeLoader):
    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """YAML takes the last of two equal keys without a word; here they are a mistake."""
        keys = [key.value for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge"]
        for key in keys:
            if keys.count(key) > 1:
                raise Wrong(f"line {node.start_mark.line + 1}: two keys {key!r}")
        return super().construct_mapping(node, deep)


def documents(text: str) -> list[Any]:
    try:
        return list(yaml.load_all(text, _Loader))
    except yaml.YAMLError as error:
        raise Wrong(f"no YAML: {error}") from error


def document(text: str) -> Any:
    (only,) = documents(text)
    return only


PARTS = ("What for", "Edit", "Start", "Run", "Stop")


def header(text: str) -> dict[str, str]:
    """The parts of the comment that a file begins with, by their names."""
    lines = [line for line in text.splitlines() if not line.startswith("#!")]
    found: dict[str, list[str]] = {}
    part: list[str] = []
    for line in lines:
        if not line.startswith("#"):
            break
        said = line.removeprefix("#").removeprefix(" ")
        name = next((name for name in PARTS if said.startswith(f"{name}  ")), None)
        if name is not None:
            part = found.setdefault(name, [])
            said = said.removeprefix(name)
        elif not said.startswith("          "):
            part = []
        part.append(said.strip())
    return {name: "\n".join(lines) for name, lines in found.items()}


def sound(command: str) -> None:
    """A shell reads this command, and those of caviar and Ray in it know the options that they are given."""
    read_by_bash = subprocess.run(["bash", "-n"], input=command, capture_output=True, text=True, check=False)
    if read_by_bash.returncode != 0:
        raise Wrong(f"{command}: {read_by_bash.stderr.strip()}")
    for words in simple_commands(command):
        try:
            known(words)
        except click.ClickException as error:
            raise Wrong(f"{' '.join(words)}: {error.format_message()}") from error


def simple_commands(command: str) -> Iterator[list[str]]:
    """The commands of a command line, without assignments and redirections before and after them."""
    inner = re.sub(r'"\$\(.*?\)"', "INNER", command.replace("\\\n", " "))
    for line in inner.splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
        lexer.wordchars += "$@%+,^"  # what stays within a word
        lexer.whitespace_split = True
        words: list[str] = []
        for word in [*lexer, ";"]:
            if word and set(word) <= set("();<>|&"):
                if words:
                    yield words
                words = []
            elif words or not (
                re.fullmatch(r"\w+=.*", word) or word in {"{", "}", "export", "exec", "then", "do"}
            ):
                words.append(word)


def known(words: list[str]) -> None:
    """Raise click's own error for an option that a command of caviar or Ray has not."""
    from ray.scripts.scripts import cli as ray

    for place, word in enumerate(words):
        name = Path(word).name
        if name not in {"caviar", "ray"} or (place > 0 and words[place - 1] not in {"--", "on_node"}):
            continue
        group: click.Group = main if name == "caviar" else ray
        if place + 1 == len(words):
            raise click.UsageError("which command?")
        context = click.Context(group, info_name=name)
        command = group.get_command(context, words[place + 1])
        if command is None:
            raise click.UsageError(f"there is no `{name} {words[place + 1]}`")
        arguments = words[place + 2 :]
        if command.name == "symmetric_run":  # what is not its own goes to `ray start`, on this side of the --
            arguments = arguments[: arguments.index("--")]
            arguments = symmetric(arguments)
            command = group.get_command(context, "start")
            assert command is not None
        parse(command, arguments)
        return


def symmetric(arguments: list[str]) -> list[str]:
    """The arguments of `ray symmetric-run` that `ray start` gets, with the address that it adds."""
    rest = list(arguments)
    for own in ("--address", "--min-nodes"):
        if own in rest:
            at = rest.index(own)
            del rest[at : at + 2]
    for refused in ("--head", "--node-ip-address", "--port", "--block"):
        if any(word.split("=")[0] == refused for word in rest):
            raise click.UsageError(f"symmetric-run takes no {refused}")
    if "--address" not in arguments:
        raise click.UsageError("symmetric-run needs --address")
    return rest


def parse(command: click.Command, arguments: list[str]) -> None:
    parser: Parser = command.make_parser(click.Context(command, info_name=command.name))
    given, rest, _ = parser.parse_args(list(arguments))
    needed = [
        param.name
        for param in command.params
        if param.required and param.value_is_missing(given[param.name or ""])
    ]
    if rest or needed:
        raise click.UsageError(f"missing: {needed}" if needed else f"one word too many: {rest}")
