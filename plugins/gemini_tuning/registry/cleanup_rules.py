"""Rules: which endpoints and copies of a tuned model are deleted, which are kept, and why.

A deletion cannot be undone, so everything is kept that is not known to be unused: an endpoint or a copy is deleted only
if there is no reason to keep it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal

from gemini_tuning.core.names import ResourceName
from gemini_tuning.core.resources import Endpoint, Model, Traffic

Kind = Literal["endpoint", "copy"]
Action = Literal["delete", "keep"]
ENDPOINT: Kind = "endpoint"
COPY: Kind = "copy"
DELETE: Action = "delete"
KEEP: Action = "keep"
DEFAULT_ALIAS = "default"
DAY = 24 * 3600.0  # seconds


@dataclass(frozen=True)
class EndpointTraffic:
    """An endpoint and its traffic."""

    endpoint: Endpoint
    traffic: Traffic | None = None  # None when it is ignored and was not read


@dataclass(frozen=True)
class Copy:
    """A model version that is a copy, and the endpoints where it is deployed."""

    version: Model
    deployed: tuple[EndpointTraffic, ...] = ()


@dataclass(frozen=True)
class Rules:
    """What is protected."""

    model: ResourceName  # with its version
    default_checkpoint_id: str | None
    keep_checkpoints: frozenset[str] = frozenset()
    protected: Mapping[str, str] = field(default_factory=dict)  # endpoints to keep: full name and reason
    champion: ResourceName | None = None  # model in production, with its version or for all of them
    idle_days: float = 7.0
    counted: bool = False  # whether Cloud Monitoring is known to count the prompts to these endpoints
    now: float = 0.0  # seconds since 1970 (UTC)


@dataclass(frozen=True)
class CleanupItem:
    """An endpoint or a copy in the plan."""

    kind: Kind
    name: str  # full name; that of a copy with its version, or without if the whole model is deleted
    action: Action
    reason: str
    display_name: str = ""
    checkpoint_ids: tuple[str, ...] = ()  # those that the endpoint serves
    versions: tuple[str, ...] = ()  # of the copy
    endpoints: tuple[str, ...] = ()  # where the copy is deployed

    def __post_init__(self) -> None:
        ResourceName.parse(self.name, "endpoints" if self.kind == ENDPOINT else "models")


def decide_endpoint(found: EndpointTraffic, rules: Rules) -> CleanupItem:
    """Decide about an endpoint where a checkpoint of the model is deployed."""
    reasons = _endpoint_reasons(found, rules)
    return CleanupItem(
        ENDPOINT,
        found.endpoint.name,
        KEEP if reasons else DELETE,
        "; ".join(reasons) or f"not the default; {_last_prompt(found.traffic)}",
        found.endpoint.display_name,
        tuple(str(each.checkpoint_id) for each in found.endpoint.deployed_models),
    )


def _endpoint_reasons(found: EndpointTraffic, rules: Rules) -> list[str]:
    if not found.endpoint.deployed_models:
        return ["the model is no longer deployed there", *_protection(found.endpoint, rules)]
    reasons = _protection(found.endpoint, rules) + _others(found.endpoint, rules.model)
    if rules.default_checkpoint_id is None:
        reasons.append("the default checkpoint of the model is unknown")
    for checkpoint in dict.fromkeys(each.checkpoint_id for each in found.endpoint.deployed_models):
        if checkpoint is None:
            reasons.append("the service does not return the checkpoint")
        elif checkpoint == rules.default_checkpoint_id:
            reasons.append(f"checkpoint {checkpoint} is the default")
        elif checkpoint in rules.keep_checkpoints:
            reasons.append(f"checkpoint {checkpoint} is kept")
    return reasons + _use(found.traffic, rules)


def empty_endpoint_reasons(endpoint: Endpoint, rules: Rules) -> list[str]:
    """Return why an endpoint is kept that an earlier try has undeployed; nothing when it is empty and deleted."""
    deployed = ["something else has been deployed there"] if endpoint.deployed_models else []
    return deployed + _protection(endpoint, rules)


def _protection(endpoint: Endpoint, rules: Rules) -> list[str]:
    name = ResourceName.parse(endpoint.name, "endpoints")
    protected = ((ResourceName.parse(other, "endpoints"), why) for other, why in rules.protected.items())
    return [why for other, why in protected if name.is_same_resource(other)]


def _others(endpoint: Endpoint, own: ResourceName) -> list[str]:
    for deployed in endpoint.deployed_models:
        model = deployed.model
        if model is None or not model.is_same_resource(own) or model.version != own.version:
            return [f"{model or 'another model'} is deployed there"]
    return []


def _use(traffic: Traffic | None, rules: Rules) -> list[str]:
    if traffic is None:
        return []
    if traffic.problem:
        return [f"its traffic cannot be read: {traffic.problem}"]
    if traffic.last_prompt is not None and rules.now - traffic.last_prompt <= rules.idle_days * DAY:
        return [f"last prompt {_time(traffic.last_prompt)}, within {rules.idle_days:g} days"]
    if not rules.counted:
        return ["Cloud Monitoring has counted no prompt to any of these endpoints, so it may not count them"]
    return []


def _last_prompt(traffic: Traffic | None) -> str:
    if traffic is None:
        return "its traffic is ignored"
    return "no prompt for six weeks" if traffic.last_prompt is None else f"last prompt {_time(traffic.last_prompt)}"


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")


def decide_copies(
    copies: Sequence[Copy], versions: Mapping[str, Sequence[str]], keep: int, rules: Rules
) -> list[CleanupItem]:
    """Decide about the copies of a model in a location.

    :param copies: each known to be a copy of the model.
    :param versions: ids of all versions, copies or not, of each model that has copies, by its full name.
    :param keep: number of the newest copies to keep.
    """
    newest = _newest(copies, keep)
    reasons = {copy.version.name: _copy_reasons(copy, newest, keep, rules) for copy in copies}
    items: list[CleanupItem] = []
    for model in dict.fromkeys(copy.version.resource_name.unversioned for copy in copies):
        own = [copy for copy in copies if copy.version.resource_name.unversioned == model]
        there = {str(copy.version.resource_name.version) for copy in own}
        if there == set(versions.get(model, ())) and not any(reasons[copy.version.name] for copy in own):
            items.append(_copy_item(model, own, []))
            continue
        for copy in own:
            default = [f"it is the default version of {model}"] if DEFAULT_ALIAS in copy.version.aliases else []
            name = copy.version.name
            items.append(_copy_item(name, [copy], reasons[name] or default))
    return items


def _newest(copies: Iterable[Copy], keep: int) -> set[str]:
    dated = [(copy.version.create_time, copy.version.name) for copy in copies if copy.version.create_time]
    return {name for _, name in sorted(dated, reverse=True)[:keep]}


def _copy_reasons(copy: Copy, newest: set[str], keep: int, rules: Rules) -> list[str]:
    version = copy.version
    reasons = [f"one of the newest {keep}"] if version.name in newest else []
    if version.create_time is None:
        reasons.append("the service does not return when it was created")
    reasons += [f'it has the alias "{alias}"' for alias in version.aliases if alias != DEFAULT_ALIAS]
    champion, name = rules.champion, version.resource_name
    if champion and champion.is_same_resource(name) and champion.version in (None, name.version):
        reasons.append("it is the champion")
    for deployed in copy.deployed:
        found = _protection(deployed.endpoint, rules) + _others(deployed.endpoint, name)
        if deployed.endpoint.deployed_models:
            found += _use(deployed.traffic, rules)
        reasons += [f"its endpoint {deployed.endpoint.name}: {why}" for why in found]
    return reasons


def _copy_item(name: str, copies: Sequence[Copy], reasons: Sequence[str]) -> CleanupItem:
    whole = "@" not in name
    beyond = "not one of the newest" + (", nor is any other version of this model" if whole else "")
    return CleanupItem(
        COPY,
        name,
        KEEP if reasons else DELETE,
        "; ".join(reasons) or beyond,
        versions=tuple(str(copy.version.resource_name.version) for copy in copies),
        endpoints=tuple(deployed.endpoint.name for copy in copies for deployed in copy.deployed),
    )
