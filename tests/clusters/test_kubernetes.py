"""kuberay-rayjob.yaml: KubeRay's fields by a schema of theirs, Kubernetes' own by `kubernetes-validate`."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from collections.abc import Mapping
from typing import Any

import jsonschema
import kubernetes_validate
import pytest

from tests.clusters.files import Wrong, document, documents, header, read, replace, sound
from tests.clusters.kuberay import RAY_JOB, VERSION

NAME = "kuberay-rayjob.yaml"
KUBERNETES = "1.34"
QUANTITY = re.compile(r"\d+(\.\d+)?(m|[kMGTPE]|[KMGTPE]i)?")


def check(text: str) -> None:
    by_kind = {one["kind"]: one for one in documents(text) if isinstance(one, dict) and "kind" in one}
    if set(by_kind) != {"PersistentVolumeClaim", "RayJob"}:
        raise Wrong(f"kinds: {sorted(by_kind)}")
    claim, job = by_kind["PersistentVolumeClaim"], by_kind["RayJob"]
    valid(claim)
    error = jsonschema.exceptions.best_match(jsonschema.Draft202012Validator(RAY_JOB).iter_errors(job))
    if error is not None:
        raise Wrong(f"KubeRay: {error.json_path}: {error.message}")
    valid(
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": job["metadata"]}
    )  # metadata is everywhere the same
    spec = job["spec"]
    cluster = spec["rayClusterSpec"]
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    for group in groups:
        pods(group, claim["metadata"]["name"], text)
    goes_on(spec)
    sound(spec["entrypoint"])
    if not cluster["enableInTreeAutoscaling"] or "--autoscale" not in spec["entrypoint"].split():
        raise Wrong("nothing asks for workers")
    for group in cluster["workerGroupSpecs"]:
        if not group["minReplicas"] <= group["replicas"] <= group["maxReplicas"] or group["maxReplicas"] == 0:
            raise Wrong(f"{group['groupName']}: replicas")
    secret = cluster.get("authOptions", {}).get("secretName")
    if cluster.get("authOptions", {}).get("mode") != "token" or secret not in made(text, "secret generic"):
        raise Wrong(f"no token, or the secret {secret!r} is made nowhere")
    if f"--version {VERSION}" not in header(text)["Start"]:
        raise Wrong("another KubeRay than the schema is of")


def valid(thing: Mapping[str, Any]) -> None:
    try:
        kubernetes_validate.validate(dict(thing), KUBERNETES, strict=True)
    except (kubernetes_validate.ValidationError, kubernetes_validate.SchemaNotFoundError) as error:
        raise Wrong(f"Kubernetes: {thing['kind']}: {error.message}") from error


def made(text: str, kind: str) -> set[str]:
    """The names of what the header's commands make of a kind."""
    return set(re.findall(rf"kubectl create {kind} (\S+)", text))


def pods(group: Mapping[str, Any], claim: str, text: str) -> None:
    """A group's pods are pods, have what they mount, and mount what the entrypoint names."""
    template = group["template"]
    valid({"apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": "any"}, "template": template})
    pod = template["spec"]
    volumes = {volume["name"]: volume for volume in pod.get("volumes", [])}
    claims = {
        volume["persistentVolumeClaim"]["claimName"]
        for volume in volumes.values()
        if "persistentVolumeClaim" in volume
    }
    maps = {volume["configMap"]["name"] for volume in volumes.values() if "configMap" in volume}
    if claims != {claim}:
        raise Wrong(f"volumes of {claims}, and the claim is {claim}")
    if not maps <= made(text, "configmap"):
        raise Wrong(f"{maps} are made nowhere")
    (container,) = pod["containers"]
    mounts = {mount["name"]: mount["mountPath"] for mount in container.get("volumeMounts", [])}
    if set(mounts) != set(volumes) or set(mounts.values()) != {"/sweeps", "/code"}:
        raise Wrong(f"mounts: {mounts}")
    for amounts in container["resources"].values():
        for what, amount in amounts.items():
            if not QUANTITY.fullmatch(str(amount)):
                raise Wrong(f"{what}: {amount!r} is no quantity")
    if not {"cpu", "memory"} <= set(container["resources"].get("limits", {})):
        raise Wrong("Ray counts the cores of a worker by its limits")


def goes_on(spec: Mapping[str, Any]) -> None:
    """After a failure there is another cluster, and the entrypoint goes on with what lies outside of it."""
    words = shlex.split(spec.get("entrypoint", ""))
    if words[:2] != ["caviar", "run"] or "--resume" not in words:
        raise Wrong(f"a retry would not go on: {spec.get('entrypoint')}")
    if not words[words.index("--out") + 1].startswith("/sweeps/"):
        raise Wrong("the sweep would go with the cluster")
    if not spec.get("backoffLimit") or not spec.get("shutdownAfterJobFinishes"):
        raise Wrong("no retries, or clusters that stay")


def test_it_is_valid() -> None:
    check(read(NAME))


BROKEN = [
    ("backoffLimit: 10", "backoffLimits: 10", "backoffLimits"),
    ("backoffLimit: 10", 'backoffLimit: "10"', "backoffLimit"),
    ("backoffLimit: 10 ", "# backoffLimit ", "no retries"),
    ("kind: RayJob", "kind: RayJobs", "kinds"),
    ("apiVersion: ray.io/v1", "apiVersion: ray.io/v2", "ray.io/v2"),
    ("apiVersion: v1", "apiVersion: v2", "PersistentVolumeClaim"),
    ("metadata:\n  name: caviar\n", "metadata:\n  nam: caviar\n", "ConfigMap"),
    ("headGroupSpec:", "headGroup:", "headGroup"),
    ('num-cpus: "0"', "num-cpus: 0", "num-cpus"),
    ("rayVersion: 2.60.0", "rayVersion: 2.60", "rayVersion"),
    ("rayStartParams: {}", "", "rayStartParams"),
    ("maxReplicas: 16", "maxReplicas: many", "maxReplicas"),
    ("minReplicas: 0 ", "minReplicas: 1 ", "replicas"),
    ("groupName: workers", "name: workers", "groupName|name"),
    ("serviceType: ClusterIP", "serviceType: Cluster", "serviceType"),
    ("submissionMode: K8sJobMode", "submissionMode: JobMode", "submissionMode"),
    ("upscalingMode: Default", "upscalingMode: Fast", "upscalingMode"),
    ("mode: token", "mode: tokens", "mode"),
    ("mode: token", "mode: disabled", "no token"),
    ("secretName: caviar-token", "secretName: caviar-tokens", "made nowhere"),
    ("name: caviar-code", "name: caviar-codes", "made nowhere"),
    ("claimName: caviar-sweeps", "claimName: caviar-sweep", "the claim is"),
    ("mountPath: /sweeps}", "mountPaths: /sweeps}", "mountPath"),
    ("{name: sweeps, mountPath", "{name: sweep, mountPath", "mounts"),
    ("containers:", "container:", "PodTemplate"),
    ("containerPort: 6379", 'containerPort: "6379"', "PodTemplate"),
    ("optional: true", "optional: perhaps", "PodTemplate"),
    ("image: registry", "images: registry", "PodTemplate"),
    ("fsGroup: 100", "fsGroup: users", "PodTemplate"),
    ('cpu: "4", memory: 16Gi', 'cpu: "4", memory: 16GiB', "no quantity"),
    ('limits: {cpu: "4", memory: 16Gi}', "limits: {memory: 16Gi}", "by its limits"),
    ("accessModes: [ReadWriteMany]", "accessModes: ReadWriteMany", "PersistentVolumeClaim"),
    ("storage: 100Gi", "storage: [100Gi]", "PersistentVolumeClaim"),
    ("entrypoint: caviar run", "entrypoint: caviar runs", "would not go on"),
    (" --resume --address", " --address", "would not go on"),
    ("--address auto --autoscale", "--address auto --scale", "--scale"),
    ("--address auto --autoscale", "--address auto", "nothing asks"),
    ("--out /sweeps/first", "--out /tmp/first", "go with the cluster"),
    ("  spec:\n", "  spec\n", "no YAML"),
    ("envFrom: *env-from", "envFrom: *env-form", "no YAML"),
    ("--version 1.6.2", "--version 1.3.0", "another KubeRay"),
]


@pytest.mark.parametrize(("old", "new", "said"), BROKEN, ids=[f"{row[1]!r}" for row in BROKEN])
def test_a_broken_file_is_found(old: str, new: str, said: str) -> None:
    text = read(NAME)
    comment, body = text.split("\napiVersion: v1\n", 1)
    body = "\napiVersion: v1\n" + body
    with pytest.raises(Wrong, match=said):
        check(comment + replace(body, old, new) if old in body else replace(comment, old, new) + body)


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not here")
def test_kubectl_makes_the_secret_of_the_header() -> None:
    (command,) = (line for line in header(read(NAME))["Start"].splitlines() if "create secret" in line)
    said = subprocess.run(
        ["bash", "-c", f"{command} --dry-run=client --output=yaml"], capture_output=True, text=True, check=True
    )
    secret = document(said.stdout)
    valid(secret)
    assert secret["metadata"]["name"] == "caviar-token"
    assert list(secret["data"]) == ["auth_token"]
