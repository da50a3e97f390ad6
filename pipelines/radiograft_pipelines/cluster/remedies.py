"""Remedies for what blocks a run's tasks or made them fail."""

from __future__ import annotations

import re

TERMINATED = "the run was terminated"

# Patterns of messages of Kubernetes and Argo, each with its remedy. The pattern's groups fill {0}, {1}.
REMEDIES = (
    (r'configmaps? "([^"]+)" not found', "create the config map {0} in the run's namespace (manifests/base has it)"),
    (r'secrets? "([^"]+)" not found', "create the secret {0} in the run's namespace"),
    (r'serviceaccounts? "([^"]+)" not found', "create the service account {0}, or name another with --service-account"),
    (r'persistentvolumeclaims? "([^"]+)" not found', "create the persistent volume claim {0}"),
    (r"couldn't find key (\S+) in", "add the key {0} to the config map or secret"),
    (r"exceeded quota: ([\w.-]+)", "raise the resource quota {0}, or wait until other pods have ended and retry"),
    (
        r"failed quota: ([\w.-]+): must specify",
        "add a LimitRange with default requests and limits to the namespace: KFP's own containers declare none",
    ),
    (r"violates PodSecurity", "the namespace rejects the pod: use the pipelines that this package compiles"),
    (r"quantities must match|unable to parse quantity", "write quantities in Kubernetes's notation: 500m, 8, 16Gi"),
    (
        r"InvalidImageName|ErrImageNeverPull|ErrImagePull|ImagePullBackOff|Failed to pull image",
        "check the image's name and digest, and the image pull secret",
    ),
    (
        r"Insufficient nvidia\.com/gpu",
        "no node has enough free GPUs: add a node with two nvidia.com/gpu, or wait for other pods to end",
    ),
    (r"Insufficient (cpu|memory|ephemeral-storage|pods)", "no node has enough free {0}: add a larger node, or wait"),
    (r"untolerated taint \{([^:}]+)", "add a toleration for the taint {0} of the nodes"),
    (r"didn't match Pod's node affinity/selector", "label a node to match the node selector, or change the selector"),
    (r"Unschedulable|FailedScheduling", "no node can run the pod: see kubectl describe nodes"),
    (TERMINATED, "resume it with radiograft retry"),
    (r"OOMKilled", "the task exceeded its memory limit: lower train_batch_size or image_size, or raise the limit"),
    (
        r"signal: killed",
        "the task most likely exceeded its memory limit: lower train_batch_size or image_size, or raise the limit",
    ),
    (
        r"DeadlineExceeded|longer than the specified deadline|exceeded its deadline",
        "the task exceeded its timeout: resume it from its checkpoint with radiograft retry",
    ),
    (r"Evicted|Preempt|NodeLost|node shutdown", "the node evicted the pod: resume the run with radiograft retry"),
    (r"pod deleted", "the pod was deleted: unless KFP starts it again, resume the run with radiograft retry"),
    (r"no exception in the log of the pod (\S+)", "see kubectl logs {0} --container main"),
    (r"FailedMount|FailedAttachVolume", "a volume cannot be mounted: see kubectl describe pod"),
    (r"CreateContainer|RunContainerError|CrashLoopBackOff", "the container does not start: see kubectl describe pod"),
)  # fmt: skip


def remedy(message: str) -> str:
    """Returns the remedy for a message of Kubernetes or Argo; empty if unknown."""
    for pattern, text in REMEDIES:
        if match := re.search(pattern, message):
            return text.format(*match.groups())
    return ""
