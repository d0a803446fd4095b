"""What KubeRay 1.6.2 takes of a RayJob: names and types of its fields, as a JSON schema.

No package ships KubeRay's definition of the resource. These are the fields of `RayJobSpec`, `RayClusterSpec` and
what they refer to, by the reference of the API
(https://docs.ray.io/en/master/cluster/kubernetes/references/api.html). Pod templates and other parts that are
Kubernetes' own are left open here: `kubernetes-validate` has their schemas.
"""

from __future__ import annotations

from typing import Any

VERSION = "1.6.2"

TEXT = {"type": "string"}
YES_NO = {"type": "boolean"}
NUMBER = {"type": "number"}
COUNT = {"type": "integer", "minimum": 0, "maximum": 2**31 - 1}
TEXTS = {"type": "object", "additionalProperties": TEXT}
KUBERNETES: dict[str, Any] = {"type": "object"}
KUBERNETES_LIST = {"type": "array", "items": {"type": "object"}}


def one_of(*words: str) -> dict[str, Any]:
    return {"enum": list(words)}


def record(*needed: str, **fields: Any) -> dict[str, Any]:
    return {"type": "object", "properties": fields, "required": list(needed), "additionalProperties": False}


MANAGERS = one_of("ray.io/kuberay-operator", "kueue.x-k8s.io/multikueue")
POLICY = one_of("DeleteCluster", "DeleteWorkers", "DeleteSelf", "DeleteNone")

AUTH = record(mode=one_of("disabled", "token"), secretName=TEXT, enableK8sTokenAuth=YES_NO)

AUTOSCALER = record(
    version=one_of("v1", "v2"),
    upscalingMode=one_of("Default", "Aggressive", "Conservative"),
    idleTimeoutSeconds=COUNT,
    image=TEXT,
    imagePullPolicy=one_of("Always", "Never", "IfNotPresent"),
    resources=KUBERNETES,
    securityContext=KUBERNETES,
    env=KUBERNETES_LIST,
    envFrom=KUBERNETES_LIST,
    volumeMounts=KUBERNETES_LIST,
)

HEAD = record(
    "rayStartParams",
    "template",
    template=KUBERNETES,
    headService=KUBERNETES,
    enableIngress=YES_NO,
    resources=TEXTS,
    labels=TEXTS,
    rayStartParams=TEXTS,
    serviceType=one_of("ClusterIP", "NodePort", "LoadBalancer", "ExternalName"),
)

WORKERS = record(
    "groupName",
    "minReplicas",
    "maxReplicas",
    "rayStartParams",
    "template",
    suspend=YES_NO,
    groupName={"type": "string", "minLength": 1},
    replicas=COUNT,
    minReplicas=COUNT,
    maxReplicas=COUNT,
    idleTimeoutSeconds=COUNT,
    resources=TEXTS,
    labels=TEXTS,
    rayStartParams=TEXTS,
    template=KUBERNETES,
    scaleStrategy=record(workersToDelete={"type": "array", "items": TEXT}),
    numOfHosts=COUNT,
)

CREDENTIAL = record(value=TEXT, valueFrom=KUBERNETES)

CLUSTER = record(
    "headGroupSpec",
    upgradeStrategy=record(type=one_of("Recreate", "None")),
    authOptions=AUTH,
    suspend=YES_NO,
    managedBy=MANAGERS,
    autoscalerOptions=AUTOSCALER,
    headServiceAnnotations=TEXTS,
    enableInTreeAutoscaling=YES_NO,
    gcsFaultToleranceOptions=record(
        redisUsername=CREDENTIAL, redisPassword=CREDENTIAL, externalStorageNamespace=TEXT, redisAddress=TEXT
    ),
    headGroupSpec=HEAD,
    rayVersion=TEXT,
    workerGroupSpecs={"type": "array", "items": WORKERS},
)

RULE = record(
    "policy",
    "condition",
    policy=POLICY,
    condition=record(ttlSeconds=COUNT, jobStatus=TEXT, jobDeploymentStatus=TEXT),
)

JOB = record(
    activeDeadlineSeconds={"type": "integer", "minimum": 1},
    backoffLimit=COUNT,
    rayClusterSpec=CLUSTER,
    submitterPodTemplate=KUBERNETES,
    metadata=TEXTS,
    clusterSelector=TEXTS,
    submitterConfig=record(backoffLimit=COUNT),
    managedBy=MANAGERS,
    deletionStrategy=record(
        onSuccess=record(policy=POLICY),
        onFailure=record(policy=POLICY),
        deletionRules={"type": "array", "items": RULE, "minItems": 1},
    ),
    entrypoint=TEXT,
    runtimeEnvYAML=TEXT,
    jobId=TEXT,
    submissionMode=one_of("K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode"),
    entrypointResources=TEXT,
    entrypointNumCpus=NUMBER,
    entrypointNumGpus=NUMBER,
    ttlSecondsAfterFinished=COUNT,
    preRunningDeadlineSeconds={"type": "integer", "minimum": 1},
    shutdownAfterJobFinishes=YES_NO,
    suspend=YES_NO,
)

RAY_JOB = record(
    "apiVersion",
    "kind",
    "metadata",
    "spec",
    apiVersion=one_of("ray.io/v1"),
    kind=one_of("RayJob"),
    metadata=KUBERNETES,
    spec=JOB,
)
