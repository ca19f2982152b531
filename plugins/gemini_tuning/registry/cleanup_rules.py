"""Which endpoints and copies of a tuned model go, which stay, and why. Pure: no Airflow, no Google client, no I/O.

Deleting cannot be undone, so everything stays that is not known to be useless: there is a reason for each thing that
stays, and it goes only when none is left.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from gemini_tuning.core.markdown import linked, plain, table
from gemini_tuning.core.names import ResourceName
from gemini_tuning.core.resources import Endpoint, Model, Traffic

ENDPOINT, COPY = "endpoint", "copy"
DELETE, KEEP = "delete", "keep"
DEFAULT_ALIAS = "default"
DAY = 24 * 3600.0  # seconds


@dataclass(frozen=True)
class Deployed:
    """An endpoint with what is known of its prompts.

    :param traffic: ``None`` when nobody looked, because it is to be ignored.
    """

    endpoint: Endpoint
    traffic: Traffic | None = None


@dataclass(frozen=True)
class Copy:
    """A model version that is a copy, with the endpoints where it is deployed."""

    version: Model
    deployed: tuple[Deployed, ...] = ()


@dataclass(frozen=True)
class Rules:
    """What is protected.

    :param model: the tuned model with its version.
    :param default_checkpoint_id: as read just now.
    :param keep_checkpoints: ids that stay besides.
    :param protected: endpoints that stay: full name, and why.
    :param champion: model in production, with its version; ``None`` when none was named.
    :param idle_days: an endpoint that was asked within so many days stays.
    :param counted: whether Cloud Monitoring has shown prompts to any of the endpoints, so that it is known to count.
    :param now: seconds since 1970 (UTC).
    """

    model: ResourceName
    default_checkpoint_id: str | None
    keep_checkpoints: frozenset[str] = frozenset()
    protected: Mapping[str, str] = field(default_factory=dict)
    champion: ResourceName | None = None
    idle_days: float = 7.0
    counted: bool = False
    now: float = 0.0


@dataclass(frozen=True)
class Item:
    """A line of the plan.

    :param kind: ``endpoint`` or ``copy``.
    :param name: full name of the endpoint; of a copy: with its version, or without when the whole model goes.
    :param action: ``delete`` or ``keep``.
    :param reason: for people.
    :param checkpoint_ids: that the endpoint serves.
    :param versions: of the copy.
    :param endpoints: where the copy is deployed.
    """

    kind: str
    name: str
    action: str
    reason: str
    display_name: str = ""
    checkpoint_ids: tuple[str, ...] = ()
    versions: tuple[str, ...] = ()
    endpoints: tuple[str, ...] = ()

    @classmethod
    def from_mapping(cls, data: Mapping[str, Any]) -> Item:
        """Read what :meth:`as_dict` wrote.

        :raises ValueError: when it is anything else.
        """
        try:
            item = cls(**{**data, **{name: tuple(data[name]) for name in ("checkpoint_ids", "versions", "endpoints")}})
            ResourceName.parse(item.name, "endpoints" if item.kind == ENDPOINT else "models")
        except (TypeError, KeyError, ValueError) as error:
            raise ValueError(f"plan: an item is not as the plan has it: {error}") from None
        return item

    def as_dict(self) -> dict[str, Any]:
        """Return the form that goes to XCom."""
        lists = {name: list(getattr(self, name)) for name in ("checkpoint_ids", "versions", "endpoints")}
        texts = ("kind", "name", "action", "reason", "display_name")
        return {**{name: getattr(self, name) for name in texts}, **lists}


# ------------------------------------------------------------------------------------------------ endpoints


def endpoint_item(found: Deployed, rules: Rules) -> Item:
    """Decide about an endpoint where a checkpoint of the model is deployed."""
    reasons = endpoint_reasons(found, rules)
    return Item(
        ENDPOINT,
        found.endpoint.name,
        KEEP if reasons else DELETE,
        "; ".join(reasons) or f"not the default; {_asked(found.traffic)}",
        found.endpoint.display_name,
        tuple(str(each.checkpoint_id) for each in found.endpoint.deployed_models),
    )


def endpoint_reasons(found: Deployed, rules: Rules) -> list[str]:
    """Return why an endpoint of the model stays; nothing when it goes."""
    if not found.endpoint.deployed_models:
        return ["the model is not deployed there any more", *_protection(found.endpoint, rules)]
    reasons = _protection(found.endpoint, rules) + _others(found.endpoint, rules.model)
    if rules.default_checkpoint_id is None:
        reasons.append("the model does not tell its default checkpoint")
    for checkpoint in dict.fromkeys(each.checkpoint_id for each in found.endpoint.deployed_models):
        if checkpoint is None:
            reasons.append("the service does not tell the checkpoint")
        elif checkpoint == rules.default_checkpoint_id:
            reasons.append(f"checkpoint {checkpoint} is the default")
        elif checkpoint in rules.keep_checkpoints:
            reasons.append(f"checkpoint {checkpoint} is to be kept")
    return reasons + _use(found.traffic, rules)


def emptied_reasons(endpoint: Endpoint, rules: Rules) -> list[str]:
    """Return why an endpoint stays that an earlier try was about to delete; nothing when it is empty and goes."""
    deployed = ["something else is deployed there by now"] if endpoint.deployed_models else []
    return deployed + _protection(endpoint, rules)


def _protection(endpoint: Endpoint, rules: Rules) -> list[str]:
    name = ResourceName.parse(endpoint.name, "endpoints")
    return [
        why for other, why in rules.protected.items() if name.is_same_resource(ResourceName.parse(other, "endpoints"))
    ]


def _others(endpoint: Endpoint, own: ResourceName) -> list[str]:
    """Say that something else than a version of a model is deployed on an endpoint, or may be."""
    for deployed in endpoint.deployed_models:
        model = deployed.model
        if model is None or not model.is_same_resource(own) or model.version != own.version:
            return [f"{model or 'another model'} is deployed there"]
    return []


def _use(traffic: Traffic | None, rules: Rules) -> list[str]:
    """Say that an endpoint is used, or may be."""
    if traffic is None:
        return []
    if traffic.problem:
        return [f"its traffic cannot be read: {traffic.problem}"]
    if traffic.last_prompt is not None and rules.now - traffic.last_prompt <= rules.idle_days * DAY:
        return [f"last asked {_time(traffic.last_prompt)}, within {rules.idle_days:g} days"]
    if not rules.counted:
        return ["Cloud Monitoring shows no prompt to any of these endpoints, so it may not count them"]
    return []


def _asked(traffic: Traffic | None) -> str:
    if traffic is None:
        return "its traffic is to be ignored"
    return f"last asked {_time(traffic.last_prompt)}" if traffic.last_prompt is not None else "not asked for six weeks"


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")


# --------------------------------------------------------------------------------------------------- copies


def copy_items(copies: Sequence[Copy], versions: Mapping[str, Sequence[str]], keep: int, rules: Rules) -> list[Item]:
    """Decide about the copies of a model in a location.

    :param copies: each known to be a copy of the model.
    :param versions: ids of all versions, copies or not, of each model that has copies, by its full name.
    :param keep: so many of the newest stay.
    """
    newest = _newest(copies, keep)
    reasons = {copy.version.name: _copy_reasons(copy, newest, keep, rules) for copy in copies}
    items: list[Item] = []
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
        reasons.append("the service does not tell when it was made")
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


def _copy_item(name: str, copies: Sequence[Copy], reasons: Sequence[str]) -> Item:
    whole = "@" not in name
    beyond = "beyond the number to be kept" + (", and so are all versions of this model" if whole else "")
    return Item(
        COPY,
        name,
        KEEP if reasons else DELETE,
        "; ".join(reasons) or beyond,
        versions=tuple(str(copy.version.resource_name.version) for copy in copies),
        endpoints=tuple(deployed.endpoint.name for copy in copies for deployed in copy.deployed),
    )


# ----------------------------------------------------------------------------------------------------- plan


def to_delete(plan: Mapping[str, Any]) -> list[Item]:
    """Return what a plan deletes, endpoints first.

    :raises ValueError: when it is no plan.
    """
    items = plan.get("items")
    if not isinstance(items, list | tuple):
        raise ValueError("plan: expected what the step plan pushed")
    found = [Item.from_mapping(item) for item in items]
    return [item for item in found if item.action == DELETE]


def fingerprint(plan: Mapping[str, Any]) -> str:
    """Return a hash of a plan: an approval counts for the plan that was shown."""
    return hashlib.sha256(json.dumps(plan, sort_keys=True, default=list).encode()).hexdigest()


def as_text(plan: Mapping[str, Any]) -> list[str]:
    """Return the lines of a plan as a table in Markdown that can also be read in a log."""
    items = [Item.from_mapping(item) for item in plan["items"]]
    going = sum(item.action == DELETE for item in items)
    rows = [["what", "name", "checkpoint or version", "action", "why"]]
    for item in items:
        parts = ", ".join(item.checkpoint_ids or item.versions)
        action = f"**{item.action}**" if item.action == DELETE else item.action
        rows.append([item.kind, linked(item.name, item.name), plain(parts), action, plain(item.reason)])
    head = f"{linked(plan['model'], plan['model'])}, default checkpoint {plain(plan['default_checkpoint_id'])}"
    return [f"{going} of {len(items)} would be deleted. Model: {head}", "", *(table(rows) if items else [])]
