"""What there is to clean up: reads model, endpoints, copies and traffic through the hook that it is given.

What it read is judged by :mod:`gemini_tuning.registry.cleanup_rules`. Knows no Airflow and no Google.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

from gemini_tuning.core.exceptions import InvalidInputError
from gemini_tuning.core.names import ResourceName, ResourceNameError, location_problem, project_problem, serving_problem
from gemini_tuning.core.resources import Endpoint, Model, Traffic, checkpoint_id
from gemini_tuning.core.text import short_repr, shorten
from gemini_tuning.registry.cleanup_rules import (
    COPY,
    Copy,
    Deployed,
    Item,
    Rules,
    copy_items,
    emptied_reasons,
    endpoint_item,
)

if TYPE_CHECKING:
    from gemini_tuning.hooks.gemini_tuning import GeminiTuningHook

MAX_IDLE_DAYS = 42  # as far back as Cloud Monitoring remembers


@dataclass(frozen=True)
class CleanupSettings:
    """What somebody asked for.

    :param model: full name of the tuned model with its version.
    :param tuning_job: full name of the job that made it, whose endpoint stays.
    :param champion: endpoint or model in production, which stays.
    :param keep_checkpoints: ids of checkpoints whose endpoints stay.
    :param idle_days: an endpoint that was asked within so many days stays.
    :param ignore_traffic: do not look whether anybody asks.
    :param keep_copies: so many of the newest copies stay; ``None``: copies are not looked at.
    :param copy_location: where the copies are.
    :param copy_project_id: ``None``: the model's project.
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
        """Refuse what would delete more than was meant.

        :raises InvalidInputError: with a sentence for each problem, beginning with the parameter's name.
        """
        if problems := [problem for problem in self._problems() if problem]:
            raise InvalidInputError(f"{'; '.join(problems)}. Nothing was planned.")

    @classmethod
    def from_mapping(cls, data: object) -> Self:
        """Read what :meth:`as_dict` wrote.

        :raises InvalidInputError: when it is anything else.
        """
        if not isinstance(data, Mapping) or set(data) != {field.name for field in fields(cls)}:
            raise InvalidInputError(f"plan: settings: {short_repr(data)} are not what the step plan pushed")
        return cls(**{**data, "keep_checkpoints": tuple(data["keep_checkpoints"])})

    def as_dict(self) -> dict[str, Any]:
        """Return the form that goes to XCom."""
        return {**asdict(self), "keep_checkpoints": list(self.keep_checkpoints)}

    def _problems(self) -> Iterable[str | None]:
        yield _name_problem("model", self.model, "models", versioned=True)
        if self.tuning_job is not None:
            yield _name_problem("tuning_job", self.tuning_job, "tuningJobs")
        if self.champion is not None:
            yield serving_problem("champion", self.champion)
        for checkpoint in self.keep_checkpoints:
            yield _checkpoint_problem(checkpoint)
        if not 1 <= self.idle_days <= MAX_IDLE_DAYS:
            yield f"idle_days must be between 1 and {MAX_IDLE_DAYS}; to skip the traffic check set ignore_traffic"
        if self.keep_copies is not None:
            if self.keep_copies < 1:
                yield f"keep_copies: {short_repr(self.keep_copies)} is not 1 or more"
            yield location_problem("copy_location", self.copy_location)
        if self.copy_project_id is not None:
            yield project_problem("copy_project_id", self.copy_project_id)


def _name_problem(field: str, value: object, collection: str, *, versioned: bool = False) -> str | None:
    try:
        name = ResourceName.parse(value, collection)
    except ResourceNameError as error:
        return f"{field}: {error}"
    if versioned and (name.version is None or not name.version.isdigit()):
        return f"{field}: {short_repr(value)} must end in @ and the version's number: an alias may move meanwhile"
    return None


def _checkpoint_problem(value: object) -> str | None:
    try:
        checkpoint_id(value, "keep_checkpoints")
    except ValueError as error:
        return str(error)
    return None


class Survey:
    """Looks at everything, or at one thing once more; what is protected is read once.

    :ivar judged: the endpoints as they were when they were judged, by their full names: nothing that has been deployed
        since is known to be useless.
    :param counted: whether Cloud Monitoring is known to count these endpoints' prompts; ``None``: find out. Once it is
        known it stays so, also when the endpoint that has shown it is gone.
    """

    def __init__(self, hook: GeminiTuningHook, settings: CleanupSettings, *, counted: bool | None = None) -> None:
        self._hook = hook
        self._settings = settings
        self.judged: dict[str, Endpoint] = {}
        self._counted = counted
        self._now = time.time()

    @cached_property
    def model(self) -> Model:
        """The tuned model."""
        found = self._hook.find_model(self._settings.model)
        if found is None:
            raise InvalidInputError(f"model: there is no {self._settings.model}. Nothing was planned or deleted.")
        ids = [checkpoint.checkpoint_id for checkpoint in found.checkpoints]
        if unknown := set(self._settings.keep_checkpoints) - set(ids):
            there = ", ".join(ids) or "none"
            raise InvalidInputError(
                f"keep_checkpoints: {found.name} has no checkpoint {short_repr(min(unknown))}; it has: "
                f"{shorten(there)}. "
                "Nothing was planned or deleted."
            )
        return found

    @cached_property
    def _endpoints(self) -> list[Deployed]:
        return self._deployed(self.model.endpoints)

    @cached_property
    def rules(self) -> Rules:
        """What is protected."""
        settings, model = self._settings, self.model
        return Rules(
            model=model.resource_name,
            default_checkpoint_id=model.default_checkpoint_id,
            keep_checkpoints=frozenset(settings.keep_checkpoints),
            protected=self._protected(),
            champion=self._champion_model(),
            idle_days=settings.idle_days,
            counted=self._is_counted() if self._counted is None else self._counted,
            now=self._now,
        )

    def _is_counted(self) -> bool:
        return any(found.traffic and found.traffic.last_prompt is not None for found in self._endpoints)

    def items(self) -> list[Item]:
        """Decide about all endpoints and copies."""
        return [endpoint_item(found, self.rules) for found in self._endpoints] + self.copies()

    def copies(self) -> list[Item]:
        """Decide about the copies; none when they are not to be looked at."""
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
        return copy_items(copies, versions, settings.keep_copies, self.rules)

    def _is_copy(self, version: Model) -> bool:
        """Whether a version is for certain a copy of some version of the model.

        A model id that somebody chose may be there in two projects. So the project has to be spelt like one that is
        known to be the model's: as somebody typed it, or as the service has it.
        """
        if not version.is_copy or version.original_model is None:
            return False
        original, own = ResourceName.parse(version.original_model, "models"), self.model.resource_name
        projects = {own.project, ResourceName.parse(self._settings.model, "models").project}
        return original.project in projects and original.is_same_resource(own)

    def _deployed(self, names: Iterable[str]) -> list[Deployed]:
        read = (self._endpoint(name) for name in names)
        return [Deployed(endpoint, self._traffic(endpoint)) for endpoint in read if endpoint]

    def _endpoint(self, name: str) -> Endpoint | None:
        endpoint = self._hook.find_endpoint(name)
        if endpoint is not None:
            self.judged[endpoint.name] = endpoint
        return endpoint

    def _traffic(self, endpoint: Endpoint) -> Traffic | None:
        return None if self._settings.ignore_traffic else self._hook.read_traffic(endpoint.name, self._now)

    def _protected(self) -> dict[str, str]:
        """Return the endpoints that were named, directly or not; what was named and is not there is a mistake."""
        found: dict[str, str] = {}
        champion = self._settings.champion
        if champion is not None and "/endpoints/" in champion:
            if self._hook.find_endpoint(champion) is None:
                raise InvalidInputError(f"champion: there is no {champion}. Nothing was planned or deleted.")
            found[champion] = "it is the champion"
        if self._settings.tuning_job is not None:
            job = self._hook.get_tuning_job(self._settings.tuning_job)
            if job.model is None or not self.model.resource_name.is_same_resource(
                ResourceName.parse(job.model, "models")
            ):
                raise InvalidInputError(
                    f"tuning_job: {job.name} has made {job.model or 'no model'}, not {self.model.name}. Nothing was "
                    "planned or deleted."
                )
            if job.endpoint is not None:
                found[job.endpoint] = "it is the tuning job's endpoint"
        return found

    def _champion_model(self) -> ResourceName | None:
        champion = self._settings.champion
        if champion is None or "/models/" not in champion:
            return None
        found = self._hook.find_model(champion)
        if found is None:
            raise InvalidInputError(f"champion: there is no {champion}. Nothing was planned or deleted.")
        name = found.resource_name
        return name if ResourceName.parse(champion, "models").version else replace(name, version=None)

    # ------------------------------------------------------------------------------------------- looking again

    def again(self, item: Item) -> Item | None:
        """Decide anew about one thing that was to be deleted.

        :returns: ``None`` when it is gone.
        """
        if item.kind == COPY:
            anew = {each.name: each for each in self.copies()}
            if item.name in anew or self._hook.find_model(item.name) is None:
                return anew.get(item.name)
            return _kept(item, ["it is not what the plan took it for any more"])
        endpoint = self._endpoint(item.name)
        if endpoint is None:
            return None
        if endpoint.deployed_models:
            return endpoint_item(Deployed(endpoint, self._traffic(endpoint)), self.rules)
        return _kept(item, reasons) if (reasons := emptied_reasons(endpoint, self.rules)) else item

    def emptied(self, name: str) -> bool:
        """Whether an endpoint of a copy is there, and so empty and unprotected that it may be deleted."""
        endpoint = self._endpoint(name)
        return endpoint is not None and not emptied_reasons(endpoint, self.rules)


def _kept(item: Item, reasons: Iterable[str]) -> Item:
    return Item(item.kind, item.name, "keep", "; ".join(reasons), item.display_name)
