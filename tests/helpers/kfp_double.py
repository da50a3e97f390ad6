"""A double of KFP 2.17's v2beta1 API, made of kfp-server-api's message types: it keeps state and refuses wrong calls.

Where the real backend surprises, the double does the same: a duplicate is a 409, an unknown id a 500, a cron of five
fields is accepted, and two recurring runs may have one name.
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
        token: bearer token that every request must have; empty: none is asked for.
        next_run_id: of a run that is made; empty: any.
        script: what the runs go through, one entry a look at a run: its state and the tasks' (name, state).
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
        return next(each for each in self.versions.values() if each.name == name)

    def add_run(self, **fields: Any) -> Any:
        """A run that is there already."""
        run = api.V2beta1Run(run_id=str(uuid.uuid4()), storage_state="AVAILABLE", created_at=NOW, **fields)
        self.runs[run.run_id] = run
        return run

    def _create_pipeline(self, request: Request) -> Any:
        made = self._read(request, "V2beta1Pipeline")
        self._need(made.name and made.display_name, "a pipeline needs a name")
        self._need_new(made.name, (each.name for each in self.pipelines.values()))
        made.pipeline_id, made.created_at = str(uuid.uuid4()), NOW
        return self._keep(self.pipelines, made.pipeline_id, made)

    def _upload_version(self, request: Request) -> Any:
        self._need(request.query.keys() == {"name", "pipelineid"}, "name and pipelineid are required")
        pipeline_id, name = request.query["pipelineid"], request.query["name"]
        self._known(self.pipelines, pipeline_id)
        self._need_new(name, (each.name for each in self.versions.values() if each.pipeline_id == pipeline_id))
        message = email.message_from_bytes(
            b"Content-Type: " + request.headers["Content-Type"].encode() + b"\r\n\r\n" + request.body
        )
        (part,) = message.get_payload()  # type: ignore[misc]
        assert not isinstance(part, str)
        self._need(part.get_param("name", header="content-disposition") == "uploadfile", "the file is `uploadfile`")
        text = part.get_payload(decode=True).decode()  # type: ignore[union-attr]
        self._need("pipelineInfo" in _parsed(text), "the file is no pipeline")
        made = api.V2beta1PipelineVersion(
            pipeline_id=pipeline_id, pipeline_version_id=str(uuid.uuid4()), name=name, display_name=name, created_at=NOW
        )
        self.packages[made.pipeline_version_id] = text
        return self._keep(self.versions, made.pipeline_version_id, made)

    def _list_versions(self, request: Request, pipeline_id: str) -> Any:
        self._known(self.pipelines, pipeline_id)
        own = {key: each for key, each in self.versions.items() if each.pipeline_id == pipeline_id}
        return self._list(request, own, "pipeline_versions")

    def _create_experiment(self, request: Request) -> Any:
        made = self._read(request, "V2beta1Experiment")
        self._need(made.display_name, "an experiment needs a name")
        self._need(bool(made.namespace) == self.multi_user, "a namespace belongs to multi-user mode, and only there")
        self._need_new(made.display_name, (each.display_name for each in self.experiments.values()))
        made.experiment_id, made.created_at = str(uuid.uuid4()), NOW
        return self._keep(self.experiments, made.experiment_id, made)

    def _create_run(self, request: Request) -> Any:
        made = self._read(request, "V2beta1Run")
        self._known(self.experiments, made.experiment_id)
        self._check_parameters(made)
        made.run_id = self.next_run_id or str(uuid.uuid4())
        made.created_at, made.state, made.storage_state = NOW, "PENDING", "AVAILABLE"
        made.service_account = made.service_account or "pipeline-runner"
        return self._keep(self.runs, made.run_id, made)

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
        made = self._read(request, "V2beta1RecurringRun")
        self._known(self.experiments, made.experiment_id)
        self._check_parameters(made)
        self._need(int(made.max_concurrency or 0) >= 1, "max_concurrency must be at least 1")
        self._need(len(made.trigger.cron_schedule.cron.split()) in (5, 6), "cron needs five or six fields")
        made.recurring_run_id, made.created_at = str(uuid.uuid4()), NOW
        made.status = {"ENABLE": "ENABLED", "DISABLE": "DISABLED"}[made.mode]
        made.service_account = made.service_account or "pipeline-runner"
        return self._keep(self.recurring, made.recurring_run_id, made)

    def _delete_recurring(self, request: Request, key: str) -> Any:
        self._known(self.recurring, key)
        del self.recurring[key]
        return {}

    def _switch_recurring(self, request: Request, key: str, switch: str) -> Any:
        self._known(self.recurring, key, model=True).status = {"enable": "ENABLED", "disable": "DISABLED"}[switch]
        return {}

    def _check_parameters(self, made: Any) -> None:
        """Each parameter must be one of the pipeline's, of its type, and none without default may be missing."""
        version = made.pipeline_version_reference.pipeline_version_id
        self._known(self.versions, version)
        declared = _parsed(self.packages[version])["root"]["inputDefinitions"]["parameters"]
        given = made.runtime_config.parameters
        self._need(given.keys() <= declared.keys(), f"unknown parameters {sorted(given.keys() - declared.keys())}")
        for name, definition in declared.items():
            self._need(name in given or "defaultValue" in definition, f"parameter {name} is missing")
            if name in given:
                self._need(_fits(given[name], definition["parameterType"]), f"{name} has the wrong type")

    def _list(self, request: Request, objects: dict[str, Any], field: str) -> Any:
        found = [each for each in objects.values() if self._passes(request.query.get("filter"), each)]
        if experiment := request.query.get("experiment_id"):
            found = [each for each in found if each.experiment_id == experiment]
        start, size = int(request.query.get("page_token") or 0), int(request.query.get("page_size") or 10)
        page = {field: [self._json(each) for each in found[start : start + size]], "total_size": len(found)}
        return page | ({"next_page_token": str(start + size)} if start + size < len(found) else {})

    def _passes(self, text: str | None, each: Any) -> bool:
        predicates = json.loads(text)["predicates"] if text else []
        for predicate in predicates:
            self._need(predicate.keys() == {"operation", "key", "stringValue"}, "a predicate has other fields")
            self._need(predicate["operation"] == "EQUALS" and predicate["key"] == "display_name", "unknown predicate")
        return all(each.display_name == predicate["stringValue"] for predicate in predicates)

    def _read(self, request: Request, kind: str) -> Any:
        """The body as a message, without a field that the message type does not have."""
        content = request.json()
        made = self._client.deserialize(SimpleNamespace(data=request.body), kind)
        for name in content:
            self._need(name in getattr(api, kind).attribute_map.values(), f"{kind} has no field {name}")
        return made

    def _keep(self, objects: dict[str, Any], key: str, made: Any) -> Any:
        objects[key] = made
        return self._json(made)

    def _known(self, objects: dict[str, Any], key: str, *, model: bool = False) -> Any:
        if key not in objects:
            raise Refused(500, self.refusal(500, f"{key} not found"))
        return objects[key] if model else self._json(objects[key])

    def _json(self, made: Any) -> Any:
        return self._client.sanitize_for_serialization(made)

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
    """Argo's own nodes, which KFP lists among a run's tasks."""
    names = ("radiograft-x7k2p", "root-driver", "root", "ingest-driver", "executor")
    return [_task((name, "SUCCEEDED")) for name in names]


def _task(task: tuple[str, str]) -> Any:
    name, state = task
    started = NEVER if state == "PENDING" else NOW
    ended = NOW + datetime.timedelta(seconds=90) if state in ("SUCCEEDED", "FAILED") else NEVER
    return api.V2beta1PipelineTaskDetail(display_name=name, state=state, start_time=started, end_time=ended)
