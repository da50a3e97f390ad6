"""Validates objects against the schemas of Kubernetes, Kubeflow and KServe."""

from __future__ import annotations

from typing import Any

import jsonschema
import kubernetes_validate

from tests.manifests.rendered import Document, pod_spec

KUBERNETES = "1.36"
TEXT, NUMBER = {"type": "string"}, {"type": "integer", "minimum": 0}


def _object(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "additionalProperties": False, "required": list(properties)}


# No package provides JSON Schemas of these kinds. These cover the fields in use, by the types in kubeflow/kubeflow
# (tensorboard_types.go, profile_types.go) and kserve/kserve (component.go). The pod of an InferenceService is validated
# as a pod.
CUSTOM_RESOURCES = {
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
    """Returns the validation errors of an object, each with its path."""
    spec_schema = CUSTOM_RESOURCES.get((document["apiVersion"], document["kind"]))
    if not spec_schema:
        return _kubernetes_errors(document)
    schema = {**_object(apiVersion=TEXT, kind=TEXT, metadata={"type": "object"}, spec=spec_schema)}
    errors = [_format_error(document, error) for error in jsonschema.Draft202012Validator(schema).iter_errors(document)]
    metadata = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": document["metadata"]}
    return [*errors, *_kubernetes_errors(metadata), *_embedded_pod_errors(document)]


def _embedded_pod_errors(document: Document) -> list[str]:
    spec = pod_spec(document)
    if spec is None:
        return []
    own = CUSTOM_RESOURCES[document["apiVersion"], document["kind"]]["properties"]["predictor"]["properties"]
    pod = {name: value for name, value in spec.items() if name not in own}
    return _kubernetes_errors({"apiVersion": "v1", "kind": "Pod", "metadata": document["metadata"], "spec": pod})


def _kubernetes_errors(document: Document) -> list[str]:
    try:
        kubernetes_validate.validate(document, KUBERNETES, strict=True)
    except kubernetes_validate.SchemaNotFoundError as error:
        return [error.message]
    except kubernetes_validate.ValidationError as error:
        return [_format_error(document, error)]
    return []


def _format_error(document: Document, error: Any) -> str:
    path = ".".join(map(str, error.absolute_path))
    return f"{document['kind']} {document['metadata']['name']}: {path}: {error.message}"
