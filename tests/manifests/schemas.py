"""Whether an object is one that Kubernetes, Kubeflow or KServe knows, field by field."""

from __future__ import annotations

from typing import Any

import jsonschema
import kubernetes_validate

from tests.manifests.rendered import Document, pod_spec

KUBERNETES = "1.36"
TEXT, NUMBER = {"type": "string"}, {"type": "integer", "minimum": 0}


def _object(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "additionalProperties": False, "required": list(properties)}


# No package has JSON Schemas of these kinds. Here stand the fields that we use, as the types of kubeflow/kubeflow
# (tensorboard_types.go, profile_types.go) and kserve/kserve (component.go) name them; an InferenceService's pod is
# checked as a pod.
OTHERS = {
    ("tensorboard.kubeflow.org/v1alpha1", "Tensorboard"): _object(logspath=TEXT),
    ("kubeflow.org/v1", "Profile"): _object(owner=_object(kind={"enum": ["User", "Group"]}, name=TEXT)),
    ("serving.kserve.io/v1beta1", "InferenceService"): _object(
        predictor={
            "type": "object",
            "properties": {
                "minReplicas": NUMBER,
                "maxReplicas": NUMBER,
                "scaleTarget": NUMBER,
                "scaleMetric": {"enum": ["cpu", "memory", "concurrency", "rps"]},
            },
            "required": ["containers"],
        }
    ),
}


def errors(document: Document) -> list[str]:
    """What is wrong with an object, each with its place; nothing for one that the cluster would take."""
    found = OTHERS.get((document["apiVersion"], document["kind"]))
    if not found:
        return _kubernetes_errors(document)
    schema = {**_object(apiVersion=TEXT, kind=TEXT, metadata={"type": "object"}, spec=found)}
    wrong = [_say(document, error) for error in jsonschema.Draft202012Validator(schema).iter_errors(document)]
    metadata = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": document["metadata"]}
    return [*wrong, *_kubernetes_errors(metadata), *_embedded_pod_errors(document)]


def _embedded_pod_errors(document: Document) -> list[str]:
    spec = pod_spec(document)
    if spec is None:
        return []
    own = OTHERS[document["apiVersion"], document["kind"]]["properties"]["predictor"]["properties"]
    pod = {name: value for name, value in spec.items() if name not in own}
    return _kubernetes_errors({"apiVersion": "v1", "kind": "Pod", "metadata": document["metadata"], "spec": pod})


def _kubernetes_errors(document: Document) -> list[str]:
    try:
        kubernetes_validate.validate(document, KUBERNETES, strict=True)
    except kubernetes_validate.SchemaNotFoundError as error:
        return [error.message]
    except kubernetes_validate.ValidationError as error:
        return [_say(document, error)]
    return []


def _say(document: Document, error: Any) -> str:
    place = ".".join(map(str, error.absolute_path))
    return f"{document['kind']} {document['metadata']['name']}: {place}: {error.message}"
