"""A double of Kubeflow Model Registry's REST API, as far as registering a version calls it.

Written after api/openapi/model-registry.yaml and internal/core of kubeflow/model-registry (bd07139, April 2026). What
is created gets 201, a name that exists 409, and a name that is not found 404. `v1`, which the client speaks since
0.3.12, has the same requests and responses as `v1alpha3`.
"""

from __future__ import annotations

from typing import Any

from tests.helpers.http_double import Double, ErrorResponse, Request

API = "/api/model_registry/v1(?:alpha3)?"  # a pattern, for faults


class ModelRegistryDouble(Double):
    """Holds registered models, versions and artifacts. With `token`, requests must carry it."""

    def __init__(self, version: str = "v1alpha3") -> None:
        super().__init__()
        self.token, api = "", f"/api/model_registry/{version}"
        self.stored: dict[str, list[dict[str, Any]]] = {"model": [], "version": [], "artifact": []}
        self.routes = [
            ("GET", f"{api}/registered_models", lambda request: self._list("model")),
            ("GET", f"{api}/registered_model", lambda request: self._find("model", request)),
            ("POST", f"{api}/registered_models", lambda request: self._create("model", request, "")),
            ("GET", f"{api}/model_version", lambda request: self._find("version", request)),
            ("POST", f"{api}/model_versions", self._create_version),
            ("GET", f"{api}/model_artifact", lambda request: self._find("artifact", request)),
            ("POST", f"{api}/model_versions/([0-9]+)/artifacts", self._create_artifact),
        ]

    def answer(self, request: Request) -> tuple[int, Any]:
        status, content = super().answer(request)
        return (201 if (status, request.method) == (200, "POST") else status), content

    def error_body(self, status: int, message: str) -> Any:
        return {"code": str(status), "message": message}

    def authorize(self, request: Request) -> None:
        if self.token and request.headers.get("Authorization") != f"Bearer {self.token}":
            raise ErrorResponse(401, self.error_body(401, "unauthorized"))

    def names(self) -> dict[str, list[str]]:
        """Returns the names of everything stored, by kind."""
        return {kind: [each["name"] for each in stored] for kind, stored in self.stored.items()}

    def _list(self, kind: str) -> dict[str, Any]:
        items = [_public(each) for each in self.stored[kind]]
        return {"items": items, "nextPageToken": "", "pageSize": len(items), "size": len(items)}

    def _find(self, kind: str, request: Request) -> dict[str, Any]:
        parent = request.query.get("parentResourceId", "")
        for each in self.stored[kind]:
            if (each["name"], each["parent"]) == (request.query["name"], parent):
                return _public(each)
        raise ErrorResponse(404, self.error_body(404, f"no {kind} found for name={request.query['name']}"))

    def _create_version(self, request: Request) -> dict[str, Any]:
        parent = request.json()["registeredModelId"]
        self._require("model", parent)
        return self._create("version", request, parent)

    def _create_artifact(self, request: Request, version: str) -> dict[str, Any]:
        self._require("version", version)
        if request.json()["artifactType"] != "model-artifact":
            raise ErrorResponse(400, self.error_body(400, "unsupported artifactType"))
        return self._create("artifact", request, version)

    def _require(self, kind: str, identifier: str) -> None:
        if identifier not in {each["id"] for each in self.stored[kind]}:
            raise ErrorResponse(404, self.error_body(404, f"no {kind} found for id {identifier}"))

    def _create(self, kind: str, request: Request, parent: str) -> dict[str, Any]:
        content = {key: value for key, value in request.json().items() if value is not None}
        if any((each["name"], each["parent"]) == (content["name"], parent) for each in self.stored[kind]):
            raise ErrorResponse(409, self.error_body(409, f"{kind} with name {content['name']} already exists"))
        identifier = str(sum(map(len, self.stored.values())) + 1)
        dates = dict.fromkeys(("createTimeSinceEpoch", "lastUpdateTimeSinceEpoch"), "1790000000000")
        self.stored[kind].append({"state": "LIVE", **content, **dates, "id": identifier, "parent": parent})
        return _public(self.stored[kind][-1])


def _public(stored: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in stored.items() if key != "parent"}
