"""A stateful double of KFP 2.17's v2beta1 API, built from kfp-server-api's message types. It rejects invalid calls.

It reproduces the surprising behavior of the real backend: a cron expression of five fields is accepted, several
recurring runs may share a name, and a run keeps its state forever once its recurring run is deleted.
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

from tests.helpers.http_double import Double, ErrorResponse, Request

NEVER = datetime.datetime(1, 1, 1, tzinfo=datetime.UTC)  # Go's zero time, of tasks
EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)  # zero time of runs and experiments
NOW = datetime.datetime(2026, 11, 23, 8, 0, tzinfo=datetime.UTC)
LIST_PARAMETERS = {"namespace", "page_token", "page_size", "sort_by", "filter", "experiment_id"}
BASE = "/apis/v2beta1"
ID = "([^/:]+)"
CODES = {400: 3, 401: 16, 404: 5, 409: 6, 500: 13}  # gRPC's codes by HTTP status


class KfpDouble(Double):
    """The services for pipelines, versions, experiments, runs and recurring runs.

    Attributes:
        token: bearer token that every request must have; empty for no authentication.
        next_run_id: ID of the next run; empty for a random one.
        script: state of a run and (name, state) of its tasks, one entry per request for a run.
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
        self._created = 0
        self._client = api.ApiClient(api.Configuration())
        self.routes = [
            ("GET", f"{BASE}/healthz", lambda _: {"multi_user": self.multi_user, **self.health}),
            ("GET", f"{BASE}/pipelines", lambda r: self._list(r, self.pipelines, "pipelines")),
            ("POST", f"{BASE}/pipelines", self._create_pipeline),
            ("POST", f"{BASE}/pipelines/upload_version", self._upload_version),
            ("GET", f"{BASE}/pipelines/{ID}", lambda _, key: self._find(self.pipelines, key)),
            ("GET", f"{BASE}/pipelines/{ID}/versions", self._list_versions),
            ("GET", f"{BASE}/pipelines/{ID}/versions/{ID}", lambda _, __, key: self._find(self.versions, key)),
            ("GET", f"{BASE}/experiments", lambda r: self._list(r, self.experiments, "experiments")),
            ("POST", f"{BASE}/experiments", self._create_experiment),
            ("GET", f"{BASE}/runs", lambda r: self._list(r, self.runs, "runs")),
            ("POST", f"{BASE}/runs", self._create_run),
            ("GET", f"{BASE}/runs/{ID}", self._get_run),
            ("POST", f"{BASE}/runs/{ID}:retry", self._retry_run),
            ("POST", f"{BASE}/runs/{ID}:archive", self._archive_run),
            ("GET", f"{BASE}/recurringruns", lambda r: self._list(r, self.recurring, "recurringRuns")),
            ("POST", f"{BASE}/recurringruns", self._create_recurring),
            ("DELETE", f"{BASE}/recurringruns/{ID}", self._delete_recurring),
            ("POST", f"{BASE}/recurringruns/{ID}:(enable|disable)", self._switch_recurring),
        ]

    def error_body(self, status: int, message: str, code: int | None = None) -> Any:
        code = code or CODES.get(status, 2)
        detail = {"@type": "type.googleapis.com/google.rpc.Status", "code": code, "message": message}
        return {"code": code, "message": f"Failed: {message}", "details": [detail]}

    def authorize(self, request: Request) -> None:
        if self.token and request.headers.get("authorization") != f"Bearer {self.token}":
            raise ErrorResponse(401, self.error_body(401, "Unauthorized: token expired"))
        if request.path != f"{BASE}/healthz" and request.method == "GET":
            self._require(request.query.keys() <= LIST_PARAMETERS, f"unknown parameter in {sorted(request.query)}")

    def version_named(self, name: str) -> Any:
        return next(version for version in self.versions.values() if version.name == name)

    def add_run(self, **fields: Any) -> Any:
        """Adds an existing run."""
        run = api.V2beta1Run(run_id=str(uuid.uuid4()), storage_state="AVAILABLE", created_at=self._now(), **fields)
        self.runs[run.run_id] = run
        return run

    def add_recorded_run(self, recording: dict[str, Any]) -> Any:
        """Adds a run as a real KFP reported it."""
        run = self._client.deserialize(SimpleNamespace(data=json.dumps(recording)), "V2beta1Run")
        self.runs[run.run_id] = run
        return run

    def add_recorded_schedules(self, recording: dict[str, Any]) -> None:
        """Adds the recurring runs that a real KFP listed."""
        response = SimpleNamespace(data=json.dumps(recording))
        for schedule in self._client.deserialize(response, "V2beta1ListRecurringRunsResponse").recurring_runs:
            self.recurring[schedule.recurring_run_id] = schedule

    def add_version(self, pipeline_id: str, version_id: str, package: str) -> None:
        """Adds the version of a pipeline that a user uploaded."""
        spec, *platform = yaml.safe_load_all(package)
        self.versions[version_id] = api.V2beta1PipelineVersion(
            pipeline_id=pipeline_id,
            pipeline_version_id=version_id,
            pipeline_spec={"pipeline_spec": spec, "platform_spec": platform[0]} if platform else spec,
        )

    def _now(self) -> datetime.datetime:
        """Returns the time of an object's creation, a second after that of the previous one."""
        self._created += 1
        return NOW + datetime.timedelta(seconds=self._created)

    def _create_pipeline(self, request: Request) -> Any:
        new = self._parse_body(request, "V2beta1Pipeline")
        self._require(new.name and new.display_name, "a pipeline needs a name")
        self._require_unique(new.name, (pipeline.name for pipeline in self.pipelines.values()))
        new.pipeline_id, new.created_at = str(uuid.uuid4()), self._now()
        return self._store(self.pipelines, new.pipeline_id, new)

    def _upload_version(self, request: Request) -> Any:
        self._require(request.query.keys() == {"name", "pipelineid"}, "name and pipelineid are required")
        pipeline_id, name = request.query["pipelineid"], request.query["name"]
        self._find(self.pipelines, pipeline_id)
        self._require_unique(name, (version.name for version in self._versions_of(pipeline_id).values()))
        message = email.message_from_bytes(
            b"Content-Type: " + request.headers["Content-Type"].encode() + b"\r\n\r\n" + request.body
        )
        (part,) = message.get_payload()  # type: ignore[misc]
        assert not isinstance(part, str)
        self._require(part.get_param("name", header="content-disposition") == "uploadfile", "the file is `uploadfile`")
        text = part.get_payload(decode=True).decode()  # type: ignore[union-attr]
        self._require("pipelineInfo" in _parse_package(text), "the file is not a pipeline")
        version_id = str(uuid.uuid4())
        self.add_version(pipeline_id, version_id, text)
        new = self.versions[version_id]
        new.name, new.display_name, new.created_at = name, name, self._now()
        self.packages[version_id] = text
        return self._json(new)

    def _list_versions(self, request: Request, pipeline_id: str) -> Any:
        self._find(self.pipelines, pipeline_id)
        return self._list(request, self._versions_of(pipeline_id), "pipeline_versions")

    def _versions_of(self, pipeline_id: str) -> dict[str, Any]:
        return {key: version for key, version in self.versions.items() if version.pipeline_id == pipeline_id}

    def _create_experiment(self, request: Request) -> Any:
        new = self._parse_body(request, "V2beta1Experiment")
        self._require(new.display_name, "an experiment needs a name")
        self._require(bool(new.namespace) == self.multi_user, "a namespace is for multi-user mode only")
        self._require_unique(new.display_name, (experiment.display_name for experiment in self.experiments.values()))
        new.experiment_id, new.created_at = str(uuid.uuid4()), self._now()
        new.storage_state, new.last_run_created_at = "AVAILABLE", EPOCH
        return self._store(self.experiments, new.experiment_id, new)

    def _create_run(self, request: Request) -> Any:
        new = self._parse_body(request, "V2beta1Run")
        self._find(self.experiments, new.experiment_id)
        self._check_parameters(new)
        new.run_id = self.next_run_id or str(uuid.uuid4())
        new.created_at, new.state, new.storage_state = self._now(), "PENDING", "AVAILABLE"
        new.scheduled_at, new.finished_at = new.created_at, EPOCH
        new.state_history = [api.V2beta1RuntimeStatus(update_time=new.created_at, state="PENDING")]
        new.service_account = new.service_account or "pipeline-runner"
        return self._store(self.runs, new.run_id, new)

    def _get_run(self, request: Request, run_id: str) -> Any:
        run = self._find(self.runs, run_id, model=True)
        deleted = run.recurring_run_id and run.recurring_run_id not in self.recurring
        if run.state in ("PENDING", "RUNNING") and not deleted:
            run.state, tasks = self.script[0] if len(self.script) == 1 else self.script.pop(0)
            run.run_details = api.V2beta1RunDetails(task_details=[*_inner_nodes(), *map(_task, tasks)])
        return self._json(run)

    def _retry_run(self, request: Request, run_id: str) -> Any:
        run = self._find(self.runs, run_id, model=True)
        if run.state not in ("FAILED", "CANCELED"):
            raise ErrorResponse(409, self.error_body(409, "Workflow must be Failed/Error to retry", code=10))
        run.state = "RUNNING"
        self.retried.append(run_id)
        return {}

    def _archive_run(self, request: Request, run_id: str) -> Any:
        self._find(self.runs, run_id, model=True).storage_state = "ARCHIVED"
        return {}

    def _create_recurring(self, request: Request) -> Any:
        new = self._parse_body(request, "V2beta1RecurringRun")
        self._find(self.experiments, new.experiment_id)
        self._check_parameters(new)
        self._require(int(new.max_concurrency or 0) >= 1, "max_concurrency must be at least 1")
        self._require(len(new.trigger.cron_schedule.cron.split()) in (5, 6), "cron needs five or six fields")
        new.recurring_run_id, new.created_at = str(uuid.uuid4()), self._now()
        new.updated_at = new.created_at
        new.status = {"ENABLE": "ENABLED", "DISABLE": "DISABLED"}[new.mode]
        new.service_account = new.service_account or "pipeline-runner"
        return self._store(self.recurring, new.recurring_run_id, new)

    def _delete_recurring(self, request: Request, key: str) -> Any:
        self._find(self.recurring, key)
        del self.recurring[key]
        return {}

    def _switch_recurring(self, request: Request, key: str, switch: str) -> Any:
        self._find(self.recurring, key, model=True).status = {"enable": "ENABLED", "disable": "DISABLED"}[switch]
        return {}

    def _check_parameters(self, new: Any) -> None:
        """Checks that all parameters are known and of the right type, and that none without a default is missing."""
        version = new.pipeline_version_reference.pipeline_version_id
        self._find(self.versions, version)
        declared = _parse_package(self.packages[version])["root"]["inputDefinitions"]["parameters"]
        given = new.runtime_config.parameters
        self._require(given.keys() <= declared.keys(), f"unknown parameters {sorted(given.keys() - declared.keys())}")
        for name, definition in declared.items():
            self._require(name in given or "defaultValue" in definition, f"parameter {name} is missing")
            if name in given:
                self._require(_fits(given[name], definition["parameterType"]), f"{name} has the wrong type")

    def _list(self, request: Request, objects: dict[str, Any], field: str) -> Any:
        matches = [item for item in objects.values() if self._matches(request.query.get("filter"), item)]
        if experiment := request.query.get("experiment_id"):
            matches = [item for item in matches if item.experiment_id == experiment]
        if request.query.get("sort_by") == "created_at desc":
            matches.sort(key=lambda item: item.created_at, reverse=True)
        start, size = int(request.query.get("page_token") or 0), int(request.query.get("page_size") or 10)
        page = {field: [self._json(item) for item in matches[start : start + size]], "total_size": len(matches)}
        return page | ({"next_page_token": str(start + size)} if start + size < len(matches) else {})

    def _matches(self, text: str | None, item: Any) -> bool:
        predicates = json.loads(text)["predicates"] if text else []
        for predicate in predicates:
            self._require(predicate.keys() == {"operation", "key", "stringValue"}, "a predicate has other fields")
            self._require((predicate["operation"], predicate["key"]) == ("EQUALS", "display_name"), "unknown predicate")
        return all(item.display_name == predicate["stringValue"] for predicate in predicates)

    def _parse_body(self, request: Request, kind: str) -> Any:
        """Parses the body as a message. Rejects fields that the message type does not have."""
        content = request.json()
        new = self._client.deserialize(SimpleNamespace(data=request.body), kind)
        for name in content:
            self._require(name in getattr(api, kind).attribute_map.values(), f"{kind} has no field {name}")
        return new

    def _store(self, objects: dict[str, Any], key: str, new: Any) -> Any:
        objects[key] = new
        return self._json(new)

    def _find(self, objects: dict[str, Any], key: str, *, model: bool = False) -> Any:
        if key not in objects:
            raise ErrorResponse(404, self.error_body(404, f"{key} not found"))
        return objects[key] if model else self._json(objects[key])

    def _json(self, new: Any) -> Any:
        return self._client.sanitize_for_serialization(new)

    def _require(self, condition: Any, message: str) -> None:
        if not condition:
            raise ErrorResponse(400, self.error_body(400, f"Invalid input error: {message}"))

    def _require_unique(self, name: str, names: Any) -> None:
        if name in names:
            raise ErrorResponse(409, self.error_body(409, ""))


@functools.cache
def _parse_package(package: str) -> Any:
    return next(yaml.safe_load_all(package))


def _fits(value: Any, kind: str) -> bool:
    allowed = {"STRING": str, "BOOLEAN": bool, "NUMBER_INTEGER": int, "NUMBER_DOUBLE": (int, float)}[kind]
    return isinstance(value, allowed) and (kind == "BOOLEAN" or not isinstance(value, bool))  # type: ignore[arg-type]


def _inner_nodes() -> list[Any]:
    """Returns Argo's internal nodes, which KFP lists among a run's tasks."""
    names = ("radiograft-x7k2p", "root-driver", "root", "ingest-driver", "executor")
    return [_task((name, "SUCCEEDED")) for name in names]


def _task(task: tuple[str, str]) -> Any:
    name, state = task
    started = NEVER if state == "PENDING" else NOW
    ended = NOW + datetime.timedelta(seconds=90) if state in ("SUCCEEDED", "FAILED") else NEVER
    return api.V2beta1PipelineTaskDetail(display_name=name, state=state, start_time=started, end_time=ended)
