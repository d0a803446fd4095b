"""``FILE[:NAME]`` on the command line -> the Sweep that the file defines."""

from __future__ import annotations

import importlib.util
import sys
import traceback
from collections.abc import Callable
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from caviar.errors import CaviarError, UsageError

if TYPE_CHECKING:
    from caviar.sweep import Sweep


def load_sweep(target: str) -> Sweep:
    """Load the file as Python would run it, but not as ``__main__``, and find its Sweep.

    ``target``: a file, or ``FILE:NAME`` where the file defines several. What is wrong with either raises
    `UsageError` in one line. The functions of the file are pickled by value from now on, so that workers need
    not have it.
    """
    path, name = split_target(target)
    return find_sweep(import_target(target), path, name=name)


def import_target(target: str) -> ModuleType:
    """The file of ``FILE[:NAME]``, loaded; its functions are pickled by value from now on."""
    module = import_file(split_target(target)[0])
    import cloudpickle

    cloudpickle.register_pickle_by_value(module)
    return module


def split_target(target: str) -> tuple[Path, str | None]:
    """``FILE[:NAME]`` as the file, which must exist, and the name."""
    path, name = Path(target), None
    if not path.exists() and ":" in target:
        file, _, name = target.rpartition(":")
        path = Path(file)
    if path.is_dir():
        raise UsageError(f"{path}: is a folder; give the Python file that defines the Sweep")
    if not path.exists():
        raise UsageError(f"{path}: no such file")
    return path, name


def import_file(path: Path) -> ModuleType:
    """Import a file under its stem, or ``__caviar_<stem>__`` if another module has that name, with its folder
    first on ``sys.path``."""
    folder = str(path.resolve().parent)
    if sys.path[:1] != [folder]:
        sys.path.insert(0, folder)
    stem = path.stem.replace(".", "_")
    name = f"__caviar_{stem}__" if stem in sys.modules else stem
    spec = importlib.util.spec_from_file_location(name, path, loader=SourceFileLoader(name, str(path.resolve())))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a user's file may raise anything, SystemExit too
        del sys.modules[name]
        raise UsageError(_import_error(path, error)) from error
    return module


def _import_error(path: Path, error: BaseException) -> str:
    """One line: where in the file, and what."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{_as_given(path, error.filename)}:{error.lineno}: {type(error).__name__}: {error.msg}"
    line: int | None = None
    for frame in traceback.extract_tb(error.__traceback__):
        if frame.filename == str(path.resolve()):
            line = frame.lineno
    where = f"{path}:{line}" if line is not None else str(path)
    if isinstance(error, SystemExit):
        return f"{where}: exits while it is loaded; put what runs under `if __name__ == '__main__':`"
    # caviar's own errors say what is wrong by themselves
    kind = "" if isinstance(error, CaviarError) else f"{type(error).__name__}: "
    return f"{where}: {kind}{error}".rstrip(": ")


def _as_given(path: Path, filename: str) -> str:
    return str(path) if filename == str(path.resolve()) else filename


def pick_sweep(module: ModuleType, path: Path, *, name: str | None, fits: Callable[[Sweep], bool]) -> Sweep:
    """As `find_sweep`; where there are several and no name, the only one that fits."""
    fitting = {key: sweep for key, sweep in _sweeps(module).items() if fits(sweep)}
    return find_sweep(module, path, name=next(iter(fitting)) if name is None and len(fitting) == 1 else name)


def _sweeps(module: ModuleType) -> dict[str, Sweep]:
    from caviar.sweep import Sweep

    found: dict[str, Sweep] = {}
    for key, value in vars(module).items():
        # one Sweep under two names is still one
        if isinstance(value, Sweep) and all(value is not other for other in found.values()):
            found[key] = value
    return found


def find_sweep(module: ModuleType, path: Path, *, name: str | None) -> Sweep:
    """The Sweep called ``name``, or the only one of the module."""
    from caviar.sweep import Sweep

    found = _sweeps(module)
    if name is not None:
        value = getattr(module, name, None)
        if isinstance(value, Sweep):
            return value
        what = "is no Sweep" if hasattr(module, name) else "is not defined there"
        raise UsageError(f"{path}:{name}: {name} {what}; {_listed(found)}")
    if len(found) == 1:
        return next(iter(found.values()))
    if not found:
        raise UsageError(f"{path}: {_listed(found)} (one is `sweep = caviar.Sweep(train, space, ...)`)")
    raise UsageError(f"{path}: {_listed(found)}; say which, as {path}:{next(iter(found))}")


def _listed(found: dict[str, Sweep]) -> str:
    if not found:
        return "the file defines no Sweep"
    return f"the file defines {'the Sweep' if len(found) == 1 else f'{len(found)} Sweeps:'} {', '.join(found)}"
