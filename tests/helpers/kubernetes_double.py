"""A double of the Kubernetes API that serves objects given as YAML."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from tests.helpers.http_double import Double, ErrorResponse, Request

PLURALS = {
    "Node": "nodes", "Pod": "pods", "Event": "events", "ConfigMap": "configmaps", "Secret": "secrets",
    "ServiceAccount": "serviceaccounts", "ResourceQuota": "resourcequotas", "LimitRange": "limitranges",
    "Deployment": "deployments", "Workflow": "workflows", "Tensorboard": "tensorboards",
}  # fmt: skip
BUILT_IN = "/(?:api/v1|apis/apps/v1)"
CUSTOM = "/apis/(argoproj.io/v1alpha1|tensorboard.kubeflow.org/v1alpha1)"
OBJECTS = "(?:/namespaces/([^/]+))?/([^/]+)"


class KubernetesDouble(Double):
    """Serves lists, objects and pod logs, and accepts Tensorboard resources.

    Attributes:
        objects: manifests of all objects.
        logs: logs by pod name.
        denied: plural names of the kinds that the user may not read.
        kinds: API groups of the custom resources that the cluster has.
    """

    def __init__(self, *manifests: str) -> None:
        super().__init__()
        self.objects = [item for text in manifests for item in yaml.safe_load_all(text) if item]
        self.logs: dict[str, str] = {}
        self.denied: set[str] = set()
        self.kinds = {"argoproj.io/v1alpha1"}
        self.routes = [
            ("GET", f"{BUILT_IN}/namespaces/([^/]+)/pods/([^/]+)/log", self._log),
            ("GET", BUILT_IN + OBJECTS, self._list),
            ("GET", f"{BUILT_IN}{OBJECTS}/([^/]+)", self._get),
            ("GET", CUSTOM + OBJECTS, self._list_custom),
            ("POST", CUSTOM + OBJECTS, self._create_custom),
            ("PATCH", f"{CUSTOM}{OBJECTS}/([^/]+)", self._patch_custom),
        ]

    def error_body(self, status: int, message: str) -> Any:
        return {"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message, "code": status}

    def kubeconfig(self, path: Path) -> str:
        """Writes a kubeconfig for this double and returns its path."""
        path.write_text(
            yaml.safe_dump(
                {
                    "apiVersion": "v1",
                    "kind": "Config",
                    "current-context": "double",
                    "contexts": [{"name": "double", "context": {"cluster": "double", "user": "double"}}],
                    "clusters": [{"name": "double", "cluster": {"server": self.url}}],
                    "users": [{"name": "double", "user": {"token": "secret"}}],
                }
            )
        )
        return str(path)

    def _items(self, namespace: str | None, plural: str) -> list[dict[str, Any]]:
        if plural in self.denied:
            raise ErrorResponse(403, self.error_body(403, f'{plural} is forbidden: User "me" cannot list resource'))
        return [
            item
            for item in self.objects
            if PLURALS[item["kind"]] == plural and namespace in (None, item["metadata"].get("namespace"))
        ]

    def _list(self, request: Request, namespace: str | None, plural: str) -> Any:
        items = self._items(namespace, plural)
        for label, value in _pairs(request.query.get("labelSelector")):
            items = [item for item in items if item["metadata"].get("labels", {}).get(label) == value]
        for path, value in _pairs(request.query.get("fieldSelector")):
            items = [item for item in items if (_field(item, path.removesuffix("!")) == value) != path.endswith("!")]
        return {"kind": "List", "apiVersion": "v1", "metadata": {}, "items": items}

    def _get(self, request: Request, namespace: str | None, plural: str, name: str) -> Any:
        for item in self._items(namespace, plural):
            if item["metadata"]["name"] == name:
                return item
        raise ErrorResponse(404, self.error_body(404, f'{plural} "{name}" not found'))

    def _log(self, request: Request, namespace: str, name: str) -> Any:
        if request.query.get("container") != "main" or name not in self.logs:
            raise ErrorResponse(404, self.error_body(404, f"no log of {name}"))
        return "\n".join(self.logs[name].splitlines()[-int(request.query.get("tailLines", 0)) :])

    def _list_custom(self, request: Request, group: str, namespace: str, plural: str) -> Any:
        self._require_kind(group)
        return self._list(request, namespace, plural)

    def _create_custom(self, request: Request, group: str, namespace: str, plural: str) -> Any:
        self._require_kind(group)
        new = request.json()
        if new["apiVersion"] != group or PLURALS[new["kind"]] != plural or new["metadata"]["namespace"] != namespace:
            raise ErrorResponse(400, self.error_body(400, "the object does not match the URL"))
        self.objects.append(new)
        return new

    def _patch_custom(self, request: Request, group: str, namespace: str, plural: str, name: str) -> Any:
        item = self._get(request, namespace, plural, name)
        item["spec"] |= request.json()["spec"]
        return item

    def _require_kind(self, group: str) -> None:
        if group not in self.kinds:
            raise ErrorResponse(404, "404 page not found")


def _pairs(selector: str | None) -> list[list[str]]:
    return [part.split("=", 1) for part in re.split(",", selector)] if selector else []


def _field(item: Any, path: str) -> Any:
    for name in path.split("."):
        item = item.get(name, {})
    return item
