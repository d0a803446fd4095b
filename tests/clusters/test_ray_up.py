"""on-prem.yaml, aws.yaml, gcp.yaml: Ray's own schema, the clouds' descriptions of a machine, sound commands."""

from __future__ import annotations

import copy
import ipaddress
import json
import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import click
import pytest

from tests.clusters.files import Wrong, document, read, replace, sound

NAMES = ("on-prem.yaml", "aws.yaml", "gcp.yaml")
COMMANDS = (
    "initialization_commands", "setup_commands", "head_setup_commands", "worker_setup_commands",
    "head_start_ray_commands", "worker_start_ray_commands",
)  # fmt: skip


def with_efs(text: str) -> str:
    """The file with its lines for EFS."""
    return re.sub(r"^#EFS#", "", text, flags=re.MULTILINE)


def check(text: str) -> None:
    config = document(text)
    if not isinstance(config, dict):
        raise Wrong("no mapping")
    whole = as_ray_takes_it(config)
    for kind in COMMANDS:
        for command in config.get(kind, []):
            sound(command)
    starts(config)
    {"local": local, "aws": aws, "gcp": gcp}[config["provider"]["type"]](config)
    if whole["cluster_name"] != config["cluster_name"]:
        raise Wrong("Ray would call it otherwise")


def as_ray_takes_it(config: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration with Ray's defaults, valid by Ray's own schema and checks."""
    from jsonschema import ValidationError
    from ray.autoscaler._private.util import prepare_config, validate_config

    try:
        whole: dict[str, Any] = prepare_config(copy.deepcopy(dict(config)))
        validate_config(whole)
    except ValidationError as error:
        raise Wrong(f"Ray's schema: {error.json_path}: {error.message}") from error
    except (click.ClickException, ValueError, KeyError, AssertionError, TypeError, NotImplementedError) as error:
        raise Wrong(f"Ray: {error!r}") from error
    return whole


def starts(config: Mapping[str, Any]) -> None:
    """Nodes start as one cluster, with a token, and with nothing open to the outside that need not be."""
    head, worker = (config.get(f"{side}_start_ray_commands", [""])[-1] for side in ("head", "worker"))
    for side, command in (("head", head), ("worker", worker)):
        if not re.search(r"(^|; )RAY_AUTH_MODE=token ray start ", command):
            raise Wrong(f"{side}: Ray starts without a token: {command!r}")
    for needed in (
        "--head",
        "--port=6379",
        "--dashboard-host=127.0.0.1",
        "--autoscaling-config=~/ray_bootstrap_config.yaml",
    ):
        if needed not in head.split():
            raise Wrong(f"head: no {needed}")
    if "--address=$RAY_HEAD_IP:6379" not in worker.split():
        raise Wrong("worker: it does not look for the head where the head is")
    sent = config.get("file_mounts", {})
    home = "/home/ray" if config.get("docker") else "~"
    if sent.get(f"{home}/.ray/auth_token") != "~/.ray/auth_token":
        raise Wrong(f"the token is not sent: {sent}")
    installed = " ".join(config.get("setup_commands", []))
    if "caviar-sweep[cluster,s3]" not in installed:
        raise Wrong("caviar is not installed")
    if "docker" in config and not re.fullmatch(
        r"rayproject/ray:\d+\.\d+\.\d+-py31[123](-gpu)?", config["docker"]["image"]
    ):
        raise Wrong(f"not an image of Ray with a version: {config['docker']['image']}")
    if "docker" not in config and "ray[default]==" not in installed:
        raise Wrong("Ray is not installed")


def local(config: Mapping[str, Any]) -> None:
    provider = config["provider"]
    addresses = [provider["head_ip"], *provider["worker_ips"]]
    try:
        found = {ipaddress.ip_address(address) for address in addresses}
    except ValueError as error:
        raise Wrong(str(error)) from error
    if len(found) != len(addresses):
        raise Wrong("the same machine twice")
    if not config["auth"].get("ssh_user") or not config["auth"].get("ssh_private_key"):
        raise Wrong("on machines of one's own, Ray needs a user and a key")


def node_types(config: Mapping[str, Any]) -> Iterator[tuple[str, bool, dict[str, Any]]]:
    """Name, whether it is the head, and the description for the cloud, of each type of node."""
    head = config["head_node_type"]
    for name, kind in config["available_node_types"].items():
        if name == head and (kind["resources"].get("CPU") != 0 or kind.get("max_workers")):
            raise Wrong("the head is to run no trials")
        if name != head and not kind.get("max_workers"):
            raise Wrong(f"{name}: there would never be one")
        yield name, name == head, kind["node_config"]


@cache
def run_instances() -> Any:
    """What EC2 takes for new instances, as botocore ships it."""
    import botocore.session

    return botocore.session.get_session().get_service_model("ec2").operation_model("RunInstances").input_shape


def aws(config: Mapping[str, Any]) -> None:
    from botocore.validate import ParamValidator

    model = run_instances()
    for name, is_head, node in node_types(config):
        asked = {"MinCount": 1, "MaxCount": 1, **node}
        if errors := ParamValidator().validate(asked, model).generate_report():
            raise Wrong(f"{name}: {errors}")
        for path, value, allowed in of_a_set(asked, model, name):
            if value not in allowed:
                raise Wrong(f"{path}: EC2 knows no {value!r}")
        if not {"InstanceType", "BlockDeviceMappings"} <= set(node):
            raise Wrong(f"{name}: which machine, which disk?")
        market = node.get("InstanceMarketOptions", {}).get("MarketType")
        if market != (None if is_head else "spot"):
            raise Wrong(f"{name}: {market} instances")
        if not is_head and "IamInstanceProfile" not in node:
            raise Wrong(f"{name}: nothing lets it write to the bucket")
    zones = config["provider"]["availability_zone"].split(",")
    if any(not zone.startswith(config["provider"]["region"]) for zone in zones):
        raise Wrong(f"{zones} are not in {config['provider']['region']}")
    if config["provider"].get("cache_stopped_nodes") is not False:
        raise Wrong("a spot instance cannot be stopped, only ended")


def of_a_set(value: Any, shape: Any, path: str) -> Iterator[tuple[str, str, list[str]]]:
    """Each text of which EC2 knows a set of values: its place, itself, the set."""
    if shape.type_name == "structure":
        for key, part in value.items():
            yield from of_a_set(part, shape.members[key], f"{path}.{key}")
    elif shape.type_name == "list":
        for part in value:
            yield from of_a_set(part, shape.member, path)
    elif shape.type_name == "string" and shape.enum:
        yield path, value, shape.enum


def gcp(config: Mapping[str, Any]) -> None:
    from google.cloud.compute_v1.types import Instance, Scheduling
    from google.protobuf.json_format import ParseError

    for name, is_head, node in node_types(config):
        try:
            Instance.from_json(json.dumps(node), ignore_unknown_fields=False)
        except ParseError as error:
            raise Wrong(f"{name}: {error}") from error
        if "machineType" not in node or not any(disk.get("boot") for disk in node.get("disks", [])):
            raise Wrong(f"{name}: which machine, which disk?")
        plan = node.get("scheduling", {})
        kinds = {
            "provisioningModel": Scheduling.ProvisioningModel, "onHostMaintenance": Scheduling.OnHostMaintenance,
            "instanceTerminationAction": Scheduling.InstanceTerminationAction,
        }  # fmt: skip
        for key, kind in kinds.items():
            if key in plan and plan[key] not in kind.__members__:
                raise Wrong(f"{name}: {key}: Google knows no {plan[key]!r}")
        if plan.get("preemptible", False) is is_head:
            raise Wrong(f"{name}: {'a head' if is_head else 'no'} VM that may be taken away")
        if not is_head:
            (account,) = node.get("serviceAccounts", [None])
            if account is None or config["provider"]["project_id"] not in account["email"]:
                raise Wrong(f"{name}: nothing lets it write to the bucket")
    if not config["provider"]["availability_zone"].startswith(config["provider"]["region"] + "-"):
        raise Wrong("the zone is in another region")


@pytest.mark.parametrize("name", NAMES)
def test_ray_takes_it(name: str) -> None:
    check(read(name))


def test_aws_with_efs_is_taken_as_well() -> None:
    text = with_efs(read("aws.yaml"))
    check(text)
    config = document(text)
    assert any("mount -t nfs4" in command for command in config["initialization_commands"])
    assert any("--volume /sweeps:/sweeps" in option for option in config["docker"]["run_options"])


EVERYWHERE = [
    ("cluster_name:", "cluster_nam:", "additional|Additional|cluster_nam|otherwise|KeyError"),
    ("provider:\n", "provider:\n\t", "no YAML"),
    ("head_start_ray_commands:", "head_start_ray_command:", "Additional properties"),
    ("ray start --head", "ray start", "no --head"),
    ("--dashboard-host=127.0.0.1", "--dashboard-host=0.0.0.0", "dashboard-host"),
    ("--disable-usage-stats", "--disable-usage", "disable-usage"),
    ("RAY_AUTH_MODE=token ray start --address", "ray start --address", "without a token"),
    ("$RAY_HEAD_IP:6379", "$RAY_HEAD_IP:6380", "where the head is"),
    (": ~/.ray/auth_token", ": ~/.ray/token", "not sent"),
    ('"caviar-sweep[cluster,s3]"\n', '"caviar"\n', "not installed"),
    ("worker_start_ray_commands:\n", "worker_start_ray_commands:\n    - ray stap\n", "no `ray stap`"),
    ("setup_commands:\n", "setup_commands:\n    - if true\n", "syntax error"),
    ("file_mounts:", "cluster_name: again\nfile_mounts:", "two keys"),
    ("    ssh_user: ", "    ssh_user: [1]\n    ssh_users: ", "ssh_user"),
]
BROKEN = [
    *((name, *row) for name in NAMES for row in EVERYWHERE),
    ("on-prem.yaml", "head_ip:", "head_ips:", "head_ip"),
    ("on-prem.yaml", "192.0.2.12", "192.0.2.11", "twice"),
    ("on-prem.yaml", "192.0.2.12", "192.0.2.1222", "192.0.2.1222"),
    ("on-prem.yaml", "type: local", "type: locale", "Ray"),
    ("on-prem.yaml", "ssh_private_key", "ssh_public_key", "Additional|user and a key"),
    ("aws.yaml", "InstanceType: m6i.4xlarge", "InstanceType: m6i.5xlarge", "knows no"),
    ("aws.yaml", "InstanceMarketOptions", "InstanceMarketOption", "Unknown parameter"),
    ("aws.yaml", "VolumeSize: 150", 'VolumeSize: "150"', "Invalid type"),
    ("aws.yaml", "MarketType: spot", "MarketType: Spot", "knows no"),
    ("aws.yaml", "head_node_type: head", "head_node_type: heads", "head_node_type"),
    ("aws.yaml", "min_workers: 0", "min_workers: 17", "max_workers"),
    ("aws.yaml", "min_workers: 0", "min_workers: none", "integer"),
    ("aws.yaml", "us-west-2c", "us-east-1c", "not in"),
    ("aws.yaml", "-py311 ", " ", "not an image"),
    ("aws.yaml", "container_name: caviar", "# container_name", "container"),
    ("aws.yaml", 'resources: {"CPU": 0}', "resources: {}", "no trials"),
    ("gcp.yaml", "preemptible: true", "preemptable: true", "no field"),
    ("gcp.yaml", "diskSizeGb: 100", "diskSizeGb: large", "Failed to parse"),
    ("gcp.yaml", "provisioningModel: SPOT", "provisioningModel: CHEAP", "knows no"),
    ("gcp.yaml", "preemptible: true", "preemptible: false", "taken away"),
    ("gcp.yaml", "us-west1-a", "us-east1-a", "another region"),
    ("gcp.yaml", "@my-project", "@other", "nothing lets it"),
    ("gcp.yaml", "machineType: n2-standard-16", "machine: n2-standard-16", "no field"),
]


@pytest.mark.parametrize(("name", "old", "new", "said"), BROKEN, ids=[f"{row[0]}: {row[2]!r}" for row in BROKEN])
def test_a_broken_file_is_found(name: str, old: str, new: str, said: str) -> None:
    with pytest.raises(Wrong, match=said):
        check(replace(read(name), old, new))


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("mountpoint -q /sweeps ||", "mountpoint -q /sweeps || ||", "syntax error"),
        ("#EFS#        - --volume", "#EFS#        --volume", "YAML|schema"),
    ],
)
def test_a_broken_line_for_efs_is_found(old: str, new: str, said: str) -> None:
    with pytest.raises(Wrong, match=said):
        check(with_efs(replace(read("aws.yaml"), old, new)))
