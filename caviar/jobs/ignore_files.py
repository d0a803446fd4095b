"""What .gitignore and .rayignore say of a file, as git reads them: those of a folder count below it, the innermost
that has a rule for a name decides, and in it the last such rule. What people have git ignore without saying so to
others counts as a .gitignore further out: the info/exclude of a repository, and core.excludesFile.
"""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from caviar.errors import UsageError
from caviar.jobs.extra import lacking

if TYPE_CHECKING:
    from pathspec import GitIgnoreSpec

GITIGNORE, RAYIGNORE = ".gitignore", ".rayignore"


@dataclass(frozen=True, slots=True)
class IgnoreFiles:
    """Those that count in a folder, the outermost first."""

    found: tuple[tuple[str, str, GitIgnoreSpec], ...] = ()
    """Of each its name, the way from its folder to this one, and what it says."""

    @classmethod
    def above(cls, folder: Path) -> IgnoreFiles:
        """Those of the folders above, up to the root of the git repository that ``folder`` lies in."""
        folder = folder.resolve()
        root = repository(folder)
        rules = cls(tuple(_rules(_everywhere(folder))))
        if root is None or root == folder:
            return rules
        for outer in reversed([one for one in folder.parents if one.is_relative_to(root)]):
            rules = rules.at(outer).below(folder.relative_to(outer).parts[0])
        return rules

    def at(self, folder: Path) -> IgnoreFiles:
        """With those that lie in the folder itself."""
        own = [rule for name in (GITIGNORE, RAYIGNORE) for rule in _rules(folder / name, name)]
        if (folder / ".git").exists():
            own = [*_rules(_exclude(folder)), *own]
        return IgnoreFiles((*self.found, *own)) if own else self

    def below(self, name: str) -> IgnoreFiles:
        """The same, seen from a folder in this one."""
        return IgnoreFiles(tuple((file, f"{way}{name}/", spec) for file, way, spec in self.found))

    def ignore(self, name: str, *, by: str) -> bool:
        """Whether files called ``by`` ignore what has this name in the folder; a folder's ends with a slash."""
        for file, way, spec in reversed(self.found):
            if file == by and (said := spec.check_file(f"{way}{name}").include) is not None:
                return said
        return False


def repository(folder: Path) -> Path | None:
    """The root of the git repository that a folder lies in."""
    return next((one for one in (folder, *folder.parents) if (one / ".git").exists()), None)


def tracked(folder: Path) -> frozenset[str]:
    """The files below a folder that its git repository knows, by their names below it; none where there is no
    repository, or no git."""
    if repository(folder.resolve()) is None:
        return frozenset()
    told = _git(folder, "ls-files", "-z")
    return frozenset() if told is None else frozenset(told.split("\0")) - {""}


def _everywhere(folder: Path) -> Path:
    """The file that says what git ignores in any repository of this user."""
    named = (_git(folder, "config", "--type=path", "core.excludesFile") or "").removesuffix("\n")
    return (
        Path(named) if named else Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "git/ignore"
    )


def _exclude(root: Path) -> Path:
    """The file that says what is ignored in this copy of a repository alone. Where its .git is no folder, as in a
    worktree, only git knows."""
    named = (_git(root, "rev-parse", "--git-path", "info/exclude") or "").removesuffix("\n")
    return root / (named or ".git/info/exclude")


def _git(folder: Path, *words: str) -> str | None:
    """What git says; None where there is no git, or it has nothing to say."""
    try:
        told = subprocess.run(["git", "-C", str(folder), *words], capture_output=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
    return told.decode("utf-8", "surrogateescape")


def _rules(file: Path, name: str = GITIGNORE) -> list[tuple[str, str, GitIgnoreSpec]]:
    return [] if (spec := _spec(file)) is None else [(name, "", spec)]


def _spec(file: Path) -> GitIgnoreSpec | None:
    try:
        from pathspec import GitIgnoreSpec
    except ImportError as error:
        raise lacking(error) from error
    try:
        text = file.read_text(encoding="utf-8", errors="surrogateescape")
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return None
    except OSError as error:
        raise UsageError(f"{file}: cannot be read: {error.strerror}") from error
    try:
        return GitIgnoreSpec.from_lines(text.splitlines())
    except ValueError as error:
        raise UsageError(f"{file}: {error}") from error
