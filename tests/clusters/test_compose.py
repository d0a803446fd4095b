"""docker-compose.yaml: the Compose specification, sound commands, nothing open to the outside."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from tests.clusters.files import FOLDER, Wrong, document, read, replace, sound

NAME = "docker-compose.yaml"


@cache
def specification() -> Any:
    """As check-jsonschema ships it."""
    path = files("check_jsonschema") / "builtin_schemas" / "vendor" / "compose-spec.json"
    schema = json.loads(path.read_text("utf-8"))
    return jsonschema.validators.validator_for(schema)(schema)


def check(text: str) -> None:
    config = document(text)
    error = jsonschema.exceptions.best_match(specification().iter_errors(config))
    if error is not None:
        raise Wrong(f"{error.json_path}: {error.message}")
    services = config["services"]
    if set(services) != {"head", "worker"}:
        raise Wrong(f"services: {sorted(services)}")
    head, worker = services["head"], services["worker"]
    for name, service in services.items():
        sound(service["command"])
        environment = service["environment"]
        if environment.get("RAY_AUTH_MODE") != "token" or not environment.get("RAY_AUTH_TOKEN", "").startswith(
            "${RAY_AUTH_TOKEN:?"
        ):
            raise Wrong(f"{name}: no token, or one that everybody knows")
        for volume in service["volumes"]:
            source, target = volume.split(":")
            if source not in config["volumes"] or target != "/sweeps":
                raise Wrong(f"{name}: volume {volume}")
        image(service)
    for port in [port for service in services.values() for port in service.get("ports", [])]:
        if not re.fullmatch(r"127\.0\.0\.1:8265:8265", port):
            raise Wrong(f"open to the outside: {port}")
    connected(head, worker)
    sound(head["healthcheck"]["test"])
    if "ray health-check" not in head["healthcheck"]["test"]:
        raise Wrong("what tells that the head is there?")


def image(service: dict[str, Any]) -> None:
    """The image is built of a Ray of a stated version, the one in its own name, and has caviar."""
    recipe = service["build"]["dockerfile_inline"]
    base = re.match(r"FROM rayproject/ray:(\d+\.\d+\.\d+)-py31[123]\n", recipe)
    if base is None or not service["image"].endswith(f":{base[1]}}}"):
        raise Wrong(f"image {service['image']} of {recipe.splitlines()[0]}")
    for line in recipe.splitlines():
        instruction, _, rest = line.partition(" ")
        if instruction not in {"FROM", "RUN", "USER"}:
            raise Wrong(f"no instruction: {line}")
        if instruction == "RUN":
            sound(rest)
    if '"caviar-sweep[cluster,s3]"' not in recipe or not re.search(r"install -d -o ray .* /sweeps\n", recipe):
        raise Wrong("without caviar, or without a folder that the user ray may write to")


def connected(head: dict[str, Any], worker: dict[str, Any]) -> None:
    """The head listens where the workers look for it, and they wait until it does."""
    begins, joins = head["command"].split(), worker["command"].split()
    if "--block" not in begins or "--block" not in joins:
        raise Wrong("a container whose command ends at once")
    if not {"ray", "start", "--head", "--port=6379", "--dashboard-host=0.0.0.0"} <= set(begins):
        raise Wrong(f"head: {head['command']}")
    if "--address=head:6379" not in joins or head.get("hostname") != "head":
        raise Wrong(f"worker: {worker['command']}")
    if worker.get("depends_on") != {"head": {"condition": "service_healthy"}}:
        raise Wrong("workers that start before the head")


def test_it_is_valid() -> None:
    check(read(NAME))


def test_the_tool_of_the_specification_takes_it() -> None:
    said = subprocess.run(
        [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(FOLDER / NAME)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert said.returncode == 0, said.stdout


BROKEN = [
    ("services:", "service:", "service"),
    ("    command: ray start --head", "    comand: ray start --head", "comand"),
    ("ray start --head --block", "ray start --head", "ends at once"),
    ("ray start --head --block", "ray begin --head --block", "no `ray begin`"),
    ("--num-cpus=0", "--num-cpu=0", "--num-cpu"),
    ("--dashboard-host=0.0.0.0", "--dashboard-host=127.0.0.1", "head"),
    ("--address=head:6379", "--address=haed:6379", "worker"),
    ("hostname: head", "hostname: haed", "worker"),
    ("127.0.0.1:8265:8265", "8265:8265", "open to the outside"),
    ("RAY_AUTH_MODE: token", "RAY_AUTH_MODE: disabled", "no token"),
    (
        "${RAY_AUTH_TOKEN:?export RAY_AUTH_TOKEN first, as the header of this file says}",
        "secret",
        "everybody knows",
    ),
    ("- sweeps:/sweeps", "- sweep:/sweeps", "volume"),
    ("  sweeps:\n", "  other:\n", "volume"),
    ("condition: service_healthy", "condition: healthy", "depends_on"),
    ("condition: service_healthy", "condition: service_started", "start before"),
    ("replicas: 2", "replicas: [2]", "replicas"),
    ("nofile: 65536", "nofile: [65536]", "ulimits"),
    ("ray health-check --address", "ray health --address", "no `ray health`"),
    ("FROM rayproject/ray:2.60.0-py311", "FROM rayproject/ray:2.55.0-py311", "image"),
    ("RUN install -d", "RUNS install -d", "no instruction"),
    (
        'RUN pip install --no-cache-dir "caviar',
        'RUN pip install --no-cache-dir "caviar" "',
        "bash|EOF|without caviar",
    ),
    ("interval: 5s", "intervals: 5s", "intervals|healthcheck"),
    ("init: true", "init: [true]", "init"),
    ("<<: *ray", "<<: *rays", "no YAML"),
    ("name: caviar\n", "name: caviar\nname: other\n", "two keys"),
]


@pytest.mark.parametrize(("old", "new", "said"), BROKEN, ids=[f"{row[1]!r}" for row in BROKEN])
def test_a_broken_file_is_found(old: str, new: str, said: str) -> None:
    with pytest.raises(Wrong, match=said):
        check(replace(read(NAME), old, new))


def has_compose() -> bool:
    if shutil.which("docker") is None:
        return False
    return subprocess.run(["docker", "compose", "version"], capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(not has_compose(), reason="docker compose is not here")
def test_docker_compose_reads_it(tmp_path: Path) -> None:
    said = subprocess.run(
        ["docker", "compose", "-f", str(FOLDER / NAME), "config", "--quiet"],
        env={"RAY_AUTH_TOKEN": "any", "PATH": "/usr/bin:/bin:/usr/local/bin", "HOME": str(tmp_path)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert said.returncode == 0, said.stderr
