"""Each file of clusters/ says what it is for, how to start, run and stop; its commands and options exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.clusters.files import FILES, ROOT, Wrong, header, read, replace, sound

EXPECTED = (
    "aws.yaml",
    "docker-compose.yaml",
    "gcp.yaml",
    "kuberay-rayjob.yaml",
    "laptop.md",
    "on-prem.yaml",
    "slurm.sbatch",
)
WITH_HEADER = [name for name in EXPECTED if name != "laptop.md"]

SUBMIT = "caviar submit .*--out "
ASKED = {
    "on-prem.yaml": ("^ray up .*on-prem.yaml", SUBMIT + "/shared", "ray down .*on-prem.yaml"),
    "aws.yaml": ("^ray up .*aws.yaml", SUBMIT + "s3://", "ray down .*aws.yaml"),
    "gcp.yaml": ("^ray up .*gcp.yaml", SUBMIT + "gs://", "ray down .*gcp.yaml"),
    "kuberay-rayjob.yaml": ("helm install kuberay-operator", "kubectl apply .*kuberay-rayjob", "kubectl delete"),
    "slurm.sbatch": ("sbatch clusters/slurm.sbatch", "caviar watch", "scancel"),
    "docker-compose.yaml": (
        "docker compose .*docker-compose.yaml up",
        SUBMIT + "/sweeps",
        "docker compose .* down",
    ),
}
"""What must stand in each header under Start, Run and Stop."""


def check(name: str, text: str) -> None:
    parts = header(text)
    if missing := [part for part in ("What for", "Start", "Run", "Stop") if not parts.get(part, "").strip()]:
        raise Wrong(f"{name}: the header does not say: {missing}")
    for part, needed in zip(("Start", "Run", "Stop"), ASKED[name], strict=True):
        if not re.search(needed, parts[part], re.MULTILINE):
            raise Wrong(f"{name}: {part}: nothing like {needed}")
        prose_at_its_end = name == "slurm.sbatch" and part == "Start"
        for line in parts[part].splitlines()[: 1 if prose_at_its_end else None]:
            sound(line)
    for path in re.findall(r"(?:clusters|docs)/[\w./-]+\w", text):
        if not (ROOT / path).exists():
            raise Wrong(f"{name}: there is no {path}")


def test_the_files_are_those_that_are_tested() -> None:
    assert [path.name for path in FILES] == list(EXPECTED)


@pytest.mark.parametrize("name", WITH_HEADER)
def test_the_header_is_whole(name: str) -> None:
    check(name, read(name))


@pytest.mark.parametrize("part", ["What for", "Start", "Run", "Stop"])
@pytest.mark.parametrize("name", WITH_HEADER)
def test_a_header_without_one_of_its_parts_is_found(name: str, part: str) -> None:
    text = replace(read(name), f"# {part}  ", "# Otherwise  ")
    with pytest.raises(Wrong, match=r"does not say|nothing like"):
        check(name, text)


BROKEN = [
    ("aws.yaml", "ray up -y", "ray upp -y", "nothing like"),
    ("aws.yaml", "ray down -y", "ray down --yess", "--yess"),
    ("aws.yaml", "ray dashboard clusters/aws.yaml &", "ray dashboard &", "missing"),
    ("aws.yaml", "ray up -y clusters/aws.yaml", "ray up -y clusters/aws2.yaml", "nothing like|there is no"),
    ("gcp.yaml", "caviar status gs", "caviar stats gs", "no `caviar stats`"),
    ("gcp.yaml", "&& chmod 600", "&& && chmod 600", "syntax error"),
    ("on-prem.yaml", "caviar status /shared", "caviar status --on /shared", "--on"),
    ("docker-compose.yaml", 'openssl rand -hex 32)"', "openssl rand -hex 32)", "unexpected EOF"),
    ("kuberay-rayjob.yaml", "-- caviar watch", "-- caviar look", "no `caviar look`"),
    ("slurm.sbatch", "caviar watch ~/runs/first", "caviar watch --forever ~/runs/first", "--forever"),
    ("slurm.sbatch", "VENV=~/caviar-venv sbatch", "VENV=~/caviar-venv sbutch", "nothing like"),
]


@pytest.mark.parametrize(("name", "old", "new", "said"), BROKEN, ids=[f"{row[0]}: {row[2]}" for row in BROKEN])
def test_a_wrong_command_in_a_header_is_found(name: str, old: str, new: str, said: str) -> None:
    with pytest.raises(Wrong, match=said):
        check(name, replace(read(name), old, new))


def test_the_pages_lead_to_every_file() -> None:
    page = (ROOT / "docs" / "clusters.md").read_text("utf-8")
    for name in EXPECTED:
        assert f"](../clusters/{name})" in page
    for place in (ROOT / "README.md", ROOT / "docs" / "README.md"):
        assert re.search(r"\]\((docs/)?clusters\.md", place.read_text("utf-8")), Path(place).name
