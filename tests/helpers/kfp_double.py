"""A stateful double of KFP 2.17's v2beta1 API that uses the message types of kfp-server-api and rejects invalid calls.

It reproduces the unexpected behavior of the real backend: a duplicate is a 409, an unknown id a 500, a cron expression
of five fields is accepted, and two recurring runs may have the same name.
"""

from __future__ import annotations

import datetime
import email
import functools
import json
import uuid
from types import SimpleNamespace
from typing import Any

import kfp_server_api as api
import yaml

from tests.helpers.http_double import Double, Refused, Request

NEVER = datetime.datetime(1, 1, 1, tzinfo=datetime.UTC)  # Go's zero time
NOW = datetime.datetime(2026, 11, 23, 8, 0, tzinfo=datetime.UTC)
LIST_PARAMETERS = {"namespace", "page_token", "page_size", "sort_by", "filter", "experiment_id"}
BASE = "/apis/v2beta1"
ID = "([^/:]+)"


class KfpDouble(Double):
    """The services for pipelines, versions, experiments, runs and recurring runs.

    Attributes:
        token: bearer token that every request must have; empty if none is required.
        next_run_id: id of the next run; random if empty.
        script: successive states of a run, one entry per request for it: the run's state and (name, state) per task.
    """

    def __init__(self) -> None:
        super().__init__()
        self.token = ""
        self.multi_user = False
        self.health: dict[str, Any] = {"pipeline_store": "database"}
        self.script: list[tuple[str, list[tuple[str, str]]]] = [("SUCCEEDED", [])]
        self.pipelines: dict[str, Any] = {}
        self.versions: dict[str, Any] = {}
        self.packages: dict[str, str] = {}
        self.experiments: dict[str, Any] = {}
        self.runs: dict[str, Any] = {}
        self.recurring: dict[str, Any] = {}
        self.retried: list[str] = []
        self.next_run_id = ""
        self._client = api.ApiClient(api.Configuration())
        self.routes = [
            ("GET", f"{BASE}/healthz", lambda _: {"multi_user": self.multi_user, **self.health}),
            ("GET", f"{BASE}/pipelines", lambda r: self._list(r, self.pipelines, "pipelines")),
            ("POST", f"{BASE}/pipelines", self._create_pipeline),
            ("POST", f"{BASE}/pipelines/upload_version", self._upload_version),
            ("GET", f"{BASE}/pipelines/{ID}", lambda _, key: self._known(self.pipelines, key)),
            ("GET", f"{BASE}/pipelines/{ID}/versions", self._list_versions),
            ("GET", f"{BASE}/experiments", lambda r: self._list(r, self.experiments, "experiments")),
            ("POST", f"{BASE}/experiments", self._create_experiment),
            ("GET", f"{BASE}/runs", lambda r: self._list(r, self.runs, "runs")),
            ("POST", f"{BASE}/runs", self._create_run),
            ("GET", f"{BASE}/runs/{ID}", self._get_run),
            ("POST", f"{BASE}/runs/{ID}:retry", self._retry_run),
            ("GET", f"{BASE}/recurringruns", lambda r: self._list(r, self.recurring, "recurringRuns")),
            ("POST", f"{BASE}/recurringruns", self._create_recurring),
            ("DELETE", f"{BASE}/recurringruns/{ID}", self._delete_recurring),
            ("POST", f"{BASE}/recurringruns/{ID}:(enable|disable)", self._switch_recurring),
        ]

    def refusal(self, status: int, message: str) -> Any:
        detail = {"@type": "type.googleapis.com/google.rpc.Status", "message": message}
        return {"error": f"Failed: {message}", "code": 13, "message": f"Failed: {message}", "details": [detail]}

    def allow(self, request: Request) -> None:
        if self.token and request.headers.get("authorization") != f"Bearer {self.token}":
            raise Refused(401, self.refusal(401, "Unauthorized: token expired"))
        if request.path != f"{BASE}/healthz" and request.method == "GET":
            self._need(request.query.keys() <= LIST_PARAMETERS, f"unknown parameter in {sorted(request.query)}")

    def version_named(self, name: str) -> Any:
        return next(item for item in self.versions.values() if item.name == name)

    def add_run(self, **fields: Any) -> Any:
        """Adds an existing run."""
        run = api.V2beta1Run(run_id=str(uuid.uuid4()), storage_state="AVAILABLE", created_at=NOW, **fields)
        self.runs[run.run_id] = run
        return run

    def _create_pipeline(self, request: Request) -> Any:
        message = self._read(request, "V2beta1Pipeline")
        self._need(message.name and message.display_name, "a pipeline needs a name")
        self._need_new(message.name, (item.name for item in self.pipelines.values()))
        message.pipeline_id, message.created_at = str(uuid.uuid4()), NOW
        return self._keep(self.pipelines, message.pipeline_id, message)

    def _upload_version(self, request: Request) -> Any:
        self._need(request.query.keys() == {"name", "pipelineid"}, "name and pipelineid are required")
        pipeline_id, name = request.query["pipelineid"], request.query["name"]
        self._known(self.pipelines, pipeline_id)
        self._need_new(name, (item.name for item in self.versions.values() if item.pipeline_id == pipeline_id))
        form = email.message_from_bytes(
            b"Content-Type: " + request.headers["Content-Type"].encode() + b"\r\n\r\n" + request.body
        )
        (part,) = form.get_payload()  # type: ignore[misc]
        assert not isinstance(part, str)
        self._need(part.get_param("name", header="content-disposition") == "uploadfile", "the file is `uploadfile`")
        text = part.get_payload(decode=True).decode()  # type: ignore[union-attr]
        self._need("pipelineInfo" in _parsed(text), "the file is no pipeline")
        message = api.V2beta1PipelineVersion(
            pipeline_id=pipeline_id, pipeline_version_id=str(uuid.uuid4()), name=name, display_name=name, created_at=NOW
        )
        self.packages[message.pipeline_version_id] = text
        return self._keep(self.versions, message.pipeline_version_id, message)

    def _list_versions(self, request: Request, pipeline_id: str) -> Any:
        self._known(self.pipelines, pipeline_id)
        own = {key: item for key, item in self.versions.items() if item.pipeline_id == pipeline_id}
        return self._list(request, own, "pipeline_versions")

    def _create_experiment(self, request: Request) -> Any:
        message = self._read(request, "V2beta1Experiment")
        self._need(message.display_name, "an experiment needs a name")
        self._need(bool(message.namespace) == self.multi_user, "a namespace belongs to multi-user mode, and only there")
        self._need_new(message.display_name, (item.display_name for item in self.experiments.values()))
        message.experiment_id, message.created_at = str(uuid.uuid4()), NOW
        return self._keep(self.experiments, message.experiment_id, message)

    def _create_run(self, request: Request) -> Any:
        message = self._read(request, "V2beta1Run")
        self._known(self.experiments, message.experiment_id)
        self._check_parameters(message)
        message.run_id = self.next_run_id or str(uuid.uuid4())
        message.created_at, message.state, message.storage_state = NOW, "PENDING", "AVAILABLE"
        message.service_account = message.service_account or "pipeline-runner"
        return self._keep(self.runs, message.run_id, message)

    def _get_run(self, request: Request, run_id: str) -> Any:
        run = self._known(self.runs, run_id, model=True)
        if run.state in ("PENDING", "RUNNING"):
            run.state, tasks = self.script[0] if len(self.script) == 1 else self.script.pop(0)
            run.run_details = api.V2beta1RunDetails(task_details=[*_inner_nodes(), *map(_task, tasks)])
        return self._json(run)

    def _retry_run(self, request: Request, run_id: str) -> Any:
        run = self._known(self.runs, run_id, model=True)
        self._need(run.state in ("FAILED", "CANCELED"), f"a run in state {run.state} cannot be retried")
        run.state = "RUNNING"
        self.retried.append(run_id)
        return {}

    def _create_recurring(self, request: Request) -> Any:
        message = self._read(request, "V2beta1RecurringRun")
        self._known(self.experiments, message.experiment_id)
        self._check_parameters(message)
        self._need(int(message.max_concurrency or 0) >= 1, "max_concurrency must be at least 1")
        self._need(len(message.trigger.cron_schedule.cron.split()) in (5, 6), "cron needs five or six fields")
        message.recurring_run_id, message.created_at = str(uuid.uuid4()), NOW
        message.status = {"ENABLE": "ENABLED", "DISABLE": "DISABLED"}[message.mode]
        message.service_account = message.service_account or "pipeline-runner"
        return self._keep(self.recurring, message.recurring_run_id, message)

    def _delete_recurring(self, request: Request, key: str) -> Any:
        self._known(self.recurring, key)
        del self.recurring[key]
        return {}

    def _switch_recurring(self, request: Request, key: str, switch: str) -> Any:
        self._known(self.recurring, key, model=True).status = {"enable": "ENABLED", "disable": "DISABLED"}[switch]
        return {}

    def _check_parameters(self, message: Any) -> None:
        """Requires known parameters of the right type, and all parameters without a default."""
        version = message.pipeline_version_reference.pipeline_version_id
        self._known(self.versions, version)
        declared = _parsed(self.packages[version])["root"]["inputDefinitions"]["parameters"]
        given = message.runtime_config.parameters
        self._need(given.keys() <= declared.keys(), f"unknown parameters {sorted(given.keys() - declared.keys())}")
        for name, definition in declared.items():
            self._need(name in given or "defaultValue" in definition, f"parameter {name} is missing")
            if name in given:
                self._need(_fits(given[name], definition["parameterType"]), f"{name} has the wrong type")

    def _list(self, request: Request, objects: dict[str, Any], field: str) -> Any:
        matching = [item for item in objects.values() if self._passes(request.query.get("filter"), item)]
        if experiment := request.query.get("experiment_id"):
            matching = [item for item in matching if item.experiment_id == experiment]
        start, size = int(request.query.get("page_token") or 0), int(request.query.get("page_size") or 10)
        page = {field: [self._json(item) for item in matching[start : start + size]], "total_size": len(matching)}
        return page | ({"next_page_token": str(start + size)} if start + size < len(matching) else {})

    def _passes(self, text: str | None, item: Any) -> bool:
        predicates = json.loads(text)["predicates"] if text else []
        for predicate in predicates:
            self._need(predicate.keys() == {"operation", "key", "stringValue"}, "a predicate has other fields")
            self._need(predicate["operation"] == "EQUALS" and predicate["key"] == "display_name", "unknown predicate")
        return all(item.display_name == predicate["stringValue"] for predicate in predicates)

    def _read(self, request: Request, kind: str) -> Any:
        """Parses the body as a message and rejects unknown fields."""
        content = request.json()
        message = self._client.deserialize(SimpleNamespace(data=request.body), kind)
        for name in content:
            self._need(name in getattr(api, kind).attribute_map.values(), f"{kind} has no field {name}")
        return message

    def _keep(self, objects: dict[str, Any], key: str, message: Any) -> Any:
        objects[key] = message
        return self._json(message)

    def _known(self, objects: dict[str, Any], key: str, *, model: bool = False) -> Any:
        if key not in objects:
            raise Refused(500, self.refusal(500, f"{key} not found"))
        return objects[key] if model else self._json(objects[key])

    def _json(self, message: Any) -> Any:
        return self._client.sanitize_for_serialization(message)

    def _need(self, held: Any, message: str) -> None:
        if not held:
            raise Refused(400, self.refusal(400, f"Invalid input error: {message}"))

    def _need_new(self, name: str, names: Any) -> None:
        if name in names:
            raise Refused(409, self.refusal(409, ""))


@functools.cache
def _parsed(package: str) -> Any:
    return next(yaml.safe_load_all(package))


def _fits(value: Any, kind: str) -> bool:
    allowed = {"STRING": str, "BOOLEAN": bool, "NUMBER_INTEGER": int, "NUMBER_DOUBLE": (int, float)}[kind]
    return isinstance(value, allowed) and (kind == "BOOLEAN" or not isinstance(value, bool))  # type: ignore[arg-type]


def _inner_nodes() -> list[Any]:
    """Returns Argo's internal nodes, which KFP lists among the tasks of a run."""
    names = ("radiograft-x7k2p", "root-driver", "root", "ingest-driver", "executor")
    return [_task((name, "SUCCEEDED")) for name in names]


def _task(task: tuple[str, str]) -> Any:
    name, state = task
    started = NEVER if state == "PENDING" else NOW
    ended = NOW + datetime.timedelta(seconds=90) if state in ("SUCCEEDED", "FAILED") else NEVER
    return api.V2beta1PipelineTaskDetail(display_name=name, state=state, start_time=started, end_time=ended)
