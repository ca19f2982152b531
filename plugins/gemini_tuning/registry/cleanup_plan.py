"""The cleanup plan of a tuned model, from its endpoints, copies and traffic as the hook reads them.

The decisions are those of :mod:`gemini_tuning.registry.cleanup_rules`.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

from gemini_tuning.core.exceptions import InvalidInputError
from gemini_tuning.core.names import ResourceName, ResourceNameError, location_problem, project_problem, serving_problem
from gemini_tuning.core.text import redact, replace_surrogates, short_repr, shorten
from gemini_tuning.registry.cleanup_rules import (
    COPY,
    DELETE,
    KEEP,
    CleanupItem,
    Copy,
    EndpointTraffic,
    Rules,
    decide_copies,
    decide_endpoint,
    empty_endpoint_reasons,
)

if TYPE_CHECKING:
    from gemini_tuning.core.resources import Endpoint, Model, Traffic
    from gemini_tuning.hooks.gemini_tuning import GeminiTuningHook

MAX_IDLE_DAYS = 42  # the retention of Cloud Monitoring
UNCHANGED = "Nothing was planned or deleted."


@dataclass(frozen=True)
class CleanupSettings:
    """The parameters of a cleanup, as :class:`GeminiPlanCleanupOperator` describes them.

    :raises InvalidInputError: when a parameter would delete more than intended.
    """

    model: str
    tuning_job: str | None = None
    champion: str | None = None
    keep_checkpoints: tuple[str, ...] = ()
    idle_days: float = 7.0
    ignore_traffic: bool = False
    keep_copies: int | None = None
    copy_location: str | None = None
    copy_project_id: str | None = None

    def __post_init__(self) -> None:
        problems = {field: problem for field, problem in self._problems() if problem}
        if problems:
            raise _invalid(next(iter(problems)), "; ".join(problems.values()), "invalid_setting")

    def _problems(self) -> Iterable[tuple[str, str | None]]:
        yield "model", _name_problem("model", self.model, "models", versioned=True)
        if self.tuning_job is not None:
            yield "tuning_job", _name_problem("tuning_job", self.tuning_job, "tuningJobs")
        if self.champion is not None:
            yield "champion", serving_problem("champion", self.champion)
        if not 1 <= self.idle_days <= MAX_IDLE_DAYS:
            limits = f"between 1 and {MAX_IDLE_DAYS}"
            yield "idle_days", f"idle_days must be {limits}; to skip the traffic check set ignore_traffic"
        if self.keep_copies is not None:
            if self.keep_copies < 1:
                yield "keep_copies", f"keep_copies must be at least 1, not {short_repr(self.keep_copies)}"
            yield "copy_location", location_problem("copy_location", self.copy_location)
        if self.copy_project_id is not None:
            yield "copy_project_id", project_problem("copy_project_id", self.copy_project_id)


def _invalid(field: str, problem: str, code: str, resource: str = "") -> InvalidInputError:
    return InvalidInputError(f"{problem}. {UNCHANGED}", field=field, code=code, resource=resource)


def _name_problem(field: str, value: object, collection: str, *, versioned: bool = False) -> str | None:
    try:
        name = ResourceName.parse(value, collection)
    except ResourceNameError as error:
        return f"{field}: {error}"
    if versioned and (name.version is None or not name.version.isdigit()):
        return f"{field}: {short_repr(value)} must end in @ and the version number, because an alias may be moved"
    return None


@dataclass(frozen=True)
class CleanupPlan:
    """What is deleted and what is kept."""

    settings: CleanupSettings
    model: str  # full name with its version
    default_checkpoint_id: str | None
    counted: bool  # whether Cloud Monitoring is known to count the prompts to these endpoints
    items: tuple[CleanupItem, ...] = ()

    @classmethod
    def from_xcom(cls, value: object) -> Self:
        """Read the XCom of :class:`GeminiPlanCleanupOperator`; anything else is an :class:`InvalidInputError`."""
        from pydantic import TypeAdapter

        try:
            return TypeAdapter(cls).validate_json(json.dumps(value), strict=True, extra="forbid")
        except (TypeError, ValueError, RecursionError) as error:
            problem = f"plan: expected the XCom of the plan: {redact(error, 500)}"
            raise InvalidInputError(problem, field="plan", code="invalid_plan") from None

    def as_xcom(self) -> dict[str, Any]:
        """Return the XCom: plain JSON."""
        found: dict[str, Any] = json.loads(replace_surrogates(json.dumps(asdict(self), ensure_ascii=False)))
        return found

    @property
    def to_delete(self) -> list[CleanupItem]:
        """The endpoints and copies to delete, endpoints first."""
        return [item for item in self.items if item.action == DELETE]

    @property
    def fingerprint(self) -> str:
        """Hash of the plan: an approval is valid only for the plan that was shown."""
        return hashlib.sha256(json.dumps(self.as_xcom(), sort_keys=True).encode()).hexdigest()


class CleanupPlanner:
    """Decides about all endpoints and copies, or about a single one again; what is protected is read once.

    :ivar endpoints: the endpoints by full name, as they were when they were decided about: a model that has been
        deployed since is not known to be unused.
    :param counted: whether Cloud Monitoring is known to count the prompts to these endpoints; ``None``: determine it.
        Once known it is not determined again, because the endpoint that showed it may have been deleted.
    """

    def __init__(self, hook: GeminiTuningHook, settings: CleanupSettings, *, counted: bool | None = None) -> None:
        self._hook = hook
        self._settings = settings
        self.endpoints: dict[str, Endpoint] = {}
        self._counted = counted
        self._now = time.time()

    @cached_property
    def model(self) -> Model:
        """The tuned model."""
        found = self._hook.find_model(self._settings.model)
        if found is None:
            raise _not_found("model", self._settings.model)
        ids = [checkpoint.checkpoint_id for checkpoint in found.checkpoints]
        if unknown := set(self._settings.keep_checkpoints) - set(ids):
            problem = f"{found.name} has no checkpoint {short_repr(min(unknown))}"
            problem = f"keep_checkpoints: {problem}; it has: {shorten(', '.join(ids) or 'none')}"
            raise _invalid("keep_checkpoints", problem, "not_found_in_model", found.name)
        return found

    @cached_property
    def _traffic_of_endpoints(self) -> list[EndpointTraffic]:
        return self._deployed(self.model.endpoints)

    @cached_property
    def rules(self) -> Rules:
        """What is protected."""
        settings, model, counted = self._settings, self.model, self._counted
        if counted is None:
            counted = any(found.traffic and found.traffic.last_prompt for found in self._traffic_of_endpoints)
        return Rules(
            model=model.resource_name,
            default_checkpoint_id=model.default_checkpoint_id,
            keep_checkpoints=frozenset(settings.keep_checkpoints),
            protected=self._protected(),
            champion=self._champion_model(),
            idle_days=settings.idle_days,
            counted=counted,
            now=self._now,
        )

    def plan(self) -> CleanupPlan:
        """Decide about all endpoints and copies."""
        items = (*(decide_endpoint(found, self.rules) for found in self._traffic_of_endpoints), *self._copies())
        model, counted = self.model, self.rules.counted
        return CleanupPlan(self._settings, model.name, model.default_checkpoint_id, counted, items)

    def _copies(self) -> list[CleanupItem]:
        settings = self._settings
        if settings.keep_copies is None or settings.copy_location is None:
            return []
        project = settings.copy_project_id or self.model.resource_name.project
        copies: list[Copy] = []
        versions: dict[str, list[str]] = {}
        for listed in self._hook.list_models(project, settings.copy_location):
            if not self._is_copy(listed):
                continue
            name = listed.resource_name.unversioned
            of_model = self._hook.list_model_versions(name)
            versions[name] = [str(version.resource_name.version) for version in of_model]
            read = (self._hook.find_model(each.name) for each in of_model if self._is_copy(each))
            copies += [Copy(version, tuple(self._deployed(version.endpoints))) for version in read if version]
        return decide_copies(copies, versions, settings.keep_copies, self.rules)

    def _is_copy(self, version: Model) -> bool:
        """Whether a version is certainly a copy of a version of the model.

        Two projects may have models with the same custom id. So the project must be written in one of the two ways that
        are known to be the model's: as in the settings, or as the service returns it.
        """
        if not version.is_copy or version.original_model is None:
            return False
        original, own = ResourceName.parse(version.original_model, "models"), self.model.resource_name
        projects = {own.project, ResourceName.parse(self._settings.model, "models").project}
        return original.project in projects and original.is_same_resource(own)

    def _deployed(self, names: Iterable[str]) -> list[EndpointTraffic]:
        read = (self._endpoint(name) for name in names)
        return [EndpointTraffic(endpoint, self._traffic(endpoint)) for endpoint in read if endpoint]

    def _endpoint(self, name: str) -> Endpoint | None:
        endpoint = self._hook.find_endpoint(name)
        if endpoint is not None:
            self.endpoints[endpoint.name] = endpoint
        return endpoint

    def _traffic(self, endpoint: Endpoint) -> Traffic | None:
        return None if self._settings.ignore_traffic else self._hook.read_traffic(endpoint.name, self._now)

    def _protected(self) -> dict[str, str]:
        """Return the endpoints of champion and tuning job, which must exist, with the reason to keep them."""
        found: dict[str, str] = {}
        champion = self._settings.champion
        if champion is not None and "/endpoints/" in champion:
            if self._hook.find_endpoint(champion) is None:
                raise _not_found("champion", champion)
            found[champion] = "it is the champion"
        if self._settings.tuning_job is not None:
            job = self._hook.get_tuning_job(self._settings.tuning_job)
            tuned = ResourceName.parse(job.model, "models") if job.model else None
            if tuned is None or not self.model.resource_name.is_same_resource(tuned):
                problem = f"tuning_job: {job.name} created {job.model or 'no model'}, not {self.model.name}"
                raise _invalid("tuning_job", problem, "other_model", job.name)
            if job.endpoint is not None:
                found[job.endpoint] = "it is the tuning job's endpoint"
        return found

    def _champion_model(self) -> ResourceName | None:
        champion = self._settings.champion
        if champion is None or "/models/" not in champion:
            return None
        found = self._hook.find_model(champion)
        if found is None:
            raise _not_found("champion", champion)
        name = found.resource_name
        return name if ResourceName.parse(champion, "models").version else replace(name, version=None)

    def recheck(self, item: CleanupItem) -> CleanupItem | None:
        """Decide again about an item that the plan deletes; return ``None`` when it no longer exists."""
        if item.kind == COPY:
            copies = {each.name: each for each in self._copies()}
            if item.name in copies or self._hook.find_model(item.name) is None:
                return copies.get(item.name)
            return replace(item, action=KEEP, reason="it is no longer what it was in the plan")
        endpoint = self._endpoint(item.name)
        if endpoint is None:
            return None
        if endpoint.deployed_models:
            return decide_endpoint(EndpointTraffic(endpoint, self._traffic(endpoint)), self.rules)
        reasons = empty_endpoint_reasons(endpoint, self.rules)
        return replace(item, action=KEEP, reason="; ".join(reasons)) if reasons else item

    def may_delete_empty(self, name: str) -> bool:
        """Whether an endpoint exists, is empty, and is not protected."""
        endpoint = self._endpoint(name)
        return endpoint is not None and not empty_endpoint_reasons(endpoint, self.rules)


def _not_found(field: str, name: str) -> InvalidInputError:
    return _invalid(field, f"{field}: {name} does not exist", "not_found", name)
