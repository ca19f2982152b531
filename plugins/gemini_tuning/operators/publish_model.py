"""Emit an asset event for a promoted model, and set its version aliases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import AssetAlias, Context

from gemini_tuning.core.exceptions import PermanentServiceError, VerificationError
from gemini_tuning.core.names import ResourceName
from gemini_tuning.core.text import short_repr
from gemini_tuning.operators.cloud_base import flag, optional_text, wait_until_visible
from gemini_tuning.operators.default_checkpoint import PromotionBase
from gemini_tuning.registry.assets import PROMOTED_MODELS, promoted_model

if TYPE_CHECKING:
    from gemini_tuning.core.resources import Model
    from gemini_tuning.registry.version_aliases import AliasChange

IN_USE = (400, 409)  # possible responses to setting an alias that another version has


class GeminiPublishModelOperator(PromotionBase):
    """Read a promoted model back, set its version aliases if required, and emit an asset event.

    The event is emitted when the task succeeds, through the alias :data:`gemini_tuning.registry.assets.PROMOTED_MODELS`
    for the asset :func:`gemini_tuning.registry.assets.promoted_model`. Its extra: ``{"model", "version",
    "checkpoint_id", "endpoint", "scores", "tuning_job", "dag_id", "run_id"}``; ``model`` is a full name without a
    version, ``endpoint`` serves the checkpoint (``None`` when it is not deployed), ``scores`` has the known ones of
    :data:`gemini_tuning.registry.version_aliases.SCORES`. A cleared task emits the event again.

    With ``version_aliases`` the version gets the alias ``champion``, and the version that had it ``previous``
    (https://cloud.google.com/vertex-ai/docs/reference/rest/v1/projects.locations.models/mergeVersionAliases). A version
    that is already the champion changes nothing, so a retry cannot make the new version its own predecessor.

    XCom ``return_value``, and one XCom per key: ``{"model", "version", "checkpoint_id", "endpoint", "aliases":
    {"champion", "previous"}, "asset"}``; ``aliases`` are version ids as read back, empty without ``version_aliases``;
    ``asset`` is the asset's URI.

    Further parameters: :class:`~gemini_tuning.operators.default_checkpoint.PromotionBase`.

    :param decision: XCom ``decision`` of the choice, with the scores; ``None`` without one. (templated)
    :param scores: instead of those in ``decision``. (templated)
    :param version_aliases: whether aliases are set. (templated)
    :param asset_alias: name of another asset alias to emit through.
    :raises VerificationError: when the checkpoint is not the model's default, or an alias is not visible; no event.
    :raises InvalidInputError: when a required approval is missing.
    """

    template_fields: Sequence[str] = (*PromotionBase.template_fields, "decision", "scores", "version_aliases")

    def __init__(
        self,
        *,
        decision: Mapping[str, Any] | None = None,
        scores: Mapping[str, Any] | None = None,
        version_aliases: bool | str = False,
        asset_alias: str = PROMOTED_MODELS.name,
        **kwargs: Any,
    ) -> None:
        alias = AssetAlias(asset_alias)
        kwargs.setdefault("multiple_outputs", True)
        kwargs["outlets"] = [*(kwargs.get("outlets") or ()), alias]
        super().__init__(**kwargs)
        self.asset_alias = alias
        self.decision = decision
        self.scores = scores
        self.version_aliases = version_aliases

    def execute(self, context: Context) -> dict[str, Any]:
        """Read the model back, set the aliases, emit the event."""
        from gemini_tuning.core.xcom import AssessmentXCom, DecisionXCom
        from gemini_tuning.registry.version_aliases import known_scores, scores_of

        set_aliases, tuning_job = flag(self.version_aliases, "version_aliases"), optional_text(self.tuning_job)
        decision = DecisionXCom.from_input(self.decision, "decision")
        scores = AssessmentXCom.from_input(self.scores, "scores")
        if tuning_job:
            ResourceName.parse(tuning_job, "tuningJobs")
        checkpoint_id = self.approved_checkpoint()
        model = self.hook.get_model(self.model)
        if model.default_checkpoint_id != checkpoint_id:  # it may have changed since the promotion
            now = f"the default of {model.name} is now {short_repr(model.default_checkpoint_id)}"
            problem = f"checkpoint_id: {short_repr(checkpoint_id)} was promoted, but {now}."
            problem = f"{problem} No event was emitted and no alias set."
            field, code, hint = "checkpoint_id", "default_changed", "Check the model."
            raise VerificationError(problem, field=field, resource=model.name, code=code, hint=hint)
        endpoint = model.require_checkpoint(checkpoint_id).endpoint
        name, asset = ResourceName.parse(model.name, "models"), promoted_model(model.name)
        aliases = self._set_aliases(name) if set_aliases else {}
        promoted = {"model": name.unversioned, "version": name.version, "checkpoint_id": checkpoint_id}
        extra: dict[str, Any] = {
            **promoted,
            "endpoint": endpoint,
            "scores": {**(known_scores(scores) or scores_of(checkpoint_id, decision))},
            "tuning_job": tuning_job,
            "dag_id": context["ti"].dag_id,
            "run_id": context["ti"].run_id,
        }
        context["outlet_events"][self.asset_alias].add(asset, extra=extra)
        self.log.info("Event for %s: version %s, checkpoint %s", asset.uri, name.version, checkpoint_id)
        return {**promoted, "endpoint": extra["endpoint"], "aliases": aliases, "asset": asset.uri}

    def _set_aliases(self, model: ResourceName) -> dict[str, str | None]:
        """Change one alias after the other, each read back, until all are set."""
        from gemini_tuning.registry.version_aliases import CHAMPION, PREVIOUS, holder, next_change

        versions: Sequence[Model] = ()
        requested: AliasChange | None = None

        def missing() -> str | None:
            nonlocal versions, requested
            while True:
                versions = self.hook.list_model_versions(str(model))
                own = next((each.name for each in versions if each.resource_name.version == model.version), None)
                if own is None:
                    return f"version {model.version} is not listed"
                change = next_change(versions, own)
                if change is None or change == requested:
                    return change and f"this is not visible: {change.description}"
                self._change(change, versions)
                requested = change

        change = f"The aliases of {model} were requested and no event was emitted"
        hint = "Check the versions of the model, then clear this task."
        wait_until_visible(missing, self.read_back_timeout, change, resource=str(model), hint=hint)
        return {alias: holder(versions, alias) for alias in (CHAMPION, PREVIOUS)}

    def _change(self, change: AliasChange, versions: Sequence[Model]) -> None:
        self.log.info("Version aliases: %s", change.description)
        try:
            self.hook.merge_version_aliases(change.name, [change.alias])
        except PermanentServiceError as error:
            other = next((version.name for version in versions if change.alias in version.aliases), None)
            if error.code not in IN_USE or other is None:
                raise
            self.log.warning("%s Another version has the alias: it is removed there first", error)
            self.hook.merge_version_aliases(other, [f"-{change.alias}"])
            self.hook.merge_version_aliases(change.name, [change.alias])
