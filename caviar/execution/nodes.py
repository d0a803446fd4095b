"""How many workers the nodes of a cluster hold."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from caviar.execution.resources import Resources

_SOME = re.compile(r"(!?)in\((.*)\)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """What a node has: amounts by Ray's names of resources, and labels."""

    resources: Mapping[str, float]
    labels: Mapping[str, str] = field(default_factory=dict)


def needs(resources: Resources) -> dict[str, float]:
    """What one worker takes, by Ray's names."""
    named = {"CPU": resources.cpus, "GPU": resources.gpus, "memory": float(resources.memory_bytes or 0)}
    return {name: amount for name, amount in {**named, **resources.custom}.items() if amount}


def places(nodes: Sequence[Node], kinds: Sequence[Resources]) -> list[int]:
    """How many workers of each kind the nodes hold: of the first as many as fit, of each further one what fits
    beside them. What others use of the nodes is not taken off."""
    counts = [0] * len(kinds)
    for node in nodes:
        left = dict(node.resources)
        for index, kind in enumerate(kinds):
            count = _places(left, kind) if fits_labels(kind.labels, node.labels) else 0
            counts[index] += count
            for name, amount in needs(kind).items():
                left[name] = left.get(name, 0.0) - count * amount
    return counts


def lacking(nodes: Sequence[Node], kinds: Sequence[Resources], *, here: bool = False) -> str | None:
    """What is missing where no node holds a worker of any of these kinds, in words; None: one does. ``here``: the
    only node is this machine, else they are those of the Ray cluster."""
    if any(places([node], [kind])[0] for node in nodes for kind in kinds):
        return None
    return "; otherwise, ".join(_lacking(nodes, kind, here=here) for kind in kinds)


def _lacking(nodes: Sequence[Node], kind: Resources, *, here: bool) -> str:
    place, whole = ("this machine",) * 2 if here else ("the Ray cluster", "the whole Ray cluster")
    none = "no labels" if here else "none"
    labelled = [node for node in nodes if fits_labels(kind.labels, node.labels)]
    if nodes and not labelled:
        wanted = ", ".join(f"{name}={value}" for name, value in kind.labels.items())
        return f"a trial needs a node labelled {wanted}, and {place} has {none}"
    for name, amount in needs(kind).items():
        total = sum(node.resources.get(name, 0.0) for node in labelled)
        if total < amount:
            return f"a trial needs {amount:g} {name}, and {whole} has {total:g}"
        most = max(node.resources.get(name, 0.0) for node in labelled)
        if most < amount:
            return f"a trial needs {amount:g} {name}, and no node of {place} has more than {most:g}"
    wanted = " and ".join(f"{amount:g} {name}" for name, amount in needs(kind).items())
    return f"a trial needs {wanted}, and no node of {place} has all of it"


def fits_labels(selector: Mapping[str, str], labels: Mapping[str, str]) -> bool:
    """Whether a node's labels are what Ray's label selector asks for: ``value``, ``!value``, ``in(a, b)``,
    ``!in(a, b)``."""
    for name, wanted in selector.items():
        some = _SOME.fullmatch(wanted.strip())
        if some is not None:
            unwanted, values = bool(some[1]), {value.strip() for value in some[2].split(",")}
        else:
            unwanted, values = wanted.startswith("!"), {wanted.removeprefix("!")}
        if (labels.get(name) in values) is unwanted:
            return False
    return True


def _places(left: Mapping[str, float], kind: Resources) -> int:
    wanted = needs(kind)
    if not wanted:  # it takes nothing of a node: as many as it has cores
        return max(1, math.floor(left.get("CPU", 0.0)))
    counts = [left.get(name, 0.0) / amount for name, amount in wanted.items()]
    if 0 < kind.gpus < 1:  # a share lies within one GPU
        counts.append(math.floor(left.get("GPU", 0.0) + 1e-9) * math.floor(1 / kind.gpus + 1e-9))
    return max(0, math.floor(min(counts) + 1e-9))
