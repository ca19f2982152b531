"""The step that tells others of a promoted model: an asset event, and version aliases where wanted."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import AssetAlias

from gemini_tuning.core.exceptions import CheckpointError, PermanentServiceError, VerificationError
from gemini_tuning.core.names import ResourceName
from gemini_tuning.core.resources import Model
from gemini_tuning.core.text import short_repr
from gemini_tuning.core.xcom import AssessmentXCom, DecisionXCom
from gemini_tuning.links import gemini_tuning as links
from gemini_tuning.operators.base import GCP_FIELDS, GeminiBaseOperator, flag, optional_text
from gemini_tuning.operators.default_checkpoint import READ_BACK_INTERVAL, approved_checkpoint
from gemini_tuning.registry.assets import PROMOTED_MODELS, promoted_model
from gemini_tuning.registry.version_aliases import (
    CHAMPION,
    PREVIOUS,
    AliasChange,
    holder,
    known_scores,
    next_change,
    scores_of,
)

if TYPE_CHECKING:
    from airflow.sdk import Context

IN_USE = (400, 409)  # what a service may answer that does not take an alias away from another version by itself


class GeminiPublishModelOperator(GeminiBaseOperator):
    """Read a promoted model back, set its version aliases where wanted, and emit an asset event for it.

    The event goes out when the task succeeds, through the alias :data:`gemini_tuning.registry.assets.PROMOTED_MODELS`
    to the
    asset :func:`gemini_tuning.registry.assets.promoted_model`. Its extra: ``{"model", "version", "checkpoint_id",
    "endpoint",
    "scores", "tuning_job", "dag_id", "run_id"}``; ``model`` is a full name without a version, ``endpoint`` serves the
    checkpoint (``None`` while it is not deployed), ``scores`` are those that are known of :data:`promotion.SCORES`.
    Airflow remembers no event: a task that is cleared emits it again.

    With ``version_aliases`` the version gets the alias ``champion``, and the one that had it ``previous``. A version
    that is the champion already changes nothing, so a retry can't make the new version its own predecessor.

    XCom: ``{"model", "version", "checkpoint_id", "aliases": {"champion", "previous"}, "asset"}``; ``aliases`` are
    version ids as they were read back, empty when none were wanted; ``asset`` is the asset's URI.

    :param model: full name of the model with its version. (templated)
    :param checkpoint_id: the checkpoint that was promoted, as the rules chose it. (templated)
    :param require_approval: whether a person has the last word. (templated)
    :param approval: what :class:`~gemini_tuning.operators.GeminiApproveCheckpointOperator` pushed. (templated)
    :param decision: what the choice pushed: the scores are in it; ``None`` when there was none. (templated)
    :param scores: instead of those in ``decision``. (templated)
    :param tuning_job: full name of the job that made the model, for the event. (templated)
    :param version_aliases: whether aliases are set. (templated)
    :param read_back_timeout: seconds until an alias has to show.
    :param asset_alias: name of another asset alias to emit through.
    :raises VerificationError: when the checkpoint is not the model's default, or an alias does not show. No event.
    :raises InvalidInputError: when an approval is required and there is none.
    """

    template_fields: Sequence[str] = (
        *GCP_FIELDS,
        "model",
        "checkpoint_id",
        "require_approval",
        "approval",
        "decision",
        "scores",
        "tuning_job",
        "version_aliases",
    )
    operator_extra_links = (links.TUNED_MODEL, links.RUN_PAGE)

    def __init__(
        self,
        *,
        model: str,
        checkpoint_id: str,
        require_approval: bool | str = False,
        approval: Mapping[str, Any] | None = None,
        decision: Mapping[str, Any] | None = None,
        scores: Mapping[str, Any] | None = None,
        tuning_job: str | None = None,
        version_aliases: bool | str = False,
        read_back_timeout: float = 120,
        asset_alias: str = PROMOTED_MODELS.name,
        **kwargs: Any,
    ) -> None:
        alias = AssetAlias(asset_alias)
        kwargs["outlets"] = [*(kwargs.get("outlets") or ()), alias]
        super().__init__(**kwargs)
        self.asset_alias = alias
        self.model = model
        self.checkpoint_id = checkpoint_id
        self.require_approval = require_approval
        self.approval = approval
        self.decision = decision
        self.scores = scores
        self.tuning_job = tuning_job
        self.version_aliases = version_aliases
        self.read_back_timeout = read_back_timeout

    def execute(self, context: Context) -> dict[str, Any]:
        """Read, set aliases, announce, push."""
        wanted, tuning_job = flag(self.version_aliases, "version_aliases"), optional_text(self.tuning_job)
        decision, scores = (
            DecisionXCom.from_input(self.decision, "decision"),
            AssessmentXCom.from_input(self.scores, "scores"),
        )
        if tuning_job:
            ResourceName.parse(tuning_job, "tuningJobs")
        checkpoint_id = approved_checkpoint(self.checkpoint_id, self.require_approval, self.approval)
        model = self._promoted(checkpoint_id)
        name, asset = ResourceName.parse(model.name, "models"), promoted_model(model.name)
        aliases = self._set_aliases(name) if wanted else {}
        context["outlet_events"][self.asset_alias].add(
            asset,
            extra={
                "model": name.unversioned,
                "version": name.version,
                "checkpoint_id": checkpoint_id,
                "endpoint": model.require_checkpoint(checkpoint_id).endpoint,
                "scores": {**(known_scores(scores) or scores_of(checkpoint_id, decision))},
                "tuning_job": tuning_job,
                "dag_id": context["ti"].dag_id,
                "run_id": context["ti"].run_id,
            },
        )
        self.log.info("Event for %s: version %s, checkpoint %s", asset.uri, name.version, checkpoint_id)
        return {
            "model": name.unversioned,
            "version": name.version,
            "checkpoint_id": checkpoint_id,
            "aliases": aliases,
            "asset": asset.uri,
        }

    def _promoted(self, checkpoint_id: str) -> Model:
        """Read the model; somebody else may have set another default meanwhile."""
        model = self.hook.get_model(self.model)
        if model.default_checkpoint_id != checkpoint_id:
            raise VerificationError(
                f"checkpoint_id: {short_repr(checkpoint_id)} was promoted, but the default of {model.name} is "
                f"{short_repr(model.default_checkpoint_id)}: somebody else has set it. "
                "No event was emitted and no alias set. Look at the model."
            )
        try:
            model.require_checkpoint(checkpoint_id)
        except CheckpointError as error:
            raise VerificationError(f"{error} No event was emitted. Look at the model.") from error
        return model

    def _set_aliases(self, model: ResourceName) -> dict[str, str | None]:
        """Change one alias after the other, each read back, until all are where they belong."""
        end, asked = time.monotonic() + self.read_back_timeout, None
        while True:
            versions = self.hook.list_model_versions(str(model))
            own = next((each.name for each in versions if each.resource_name.version == model.version), None)
            change = next_change(versions, own) if own else None
            if own and change is None:
                return {alias: holder(versions, alias) for alias in (CHAMPION, PREVIOUS)}
            if time.monotonic() >= end:
                missing = change.description if change else f"find version {model.version} among its versions"
                raise VerificationError(
                    f"The aliases of {model} are not as they should be after {self.read_back_timeout:g} s; still "
                    f"to do: {missing}. No event was emitted. Look at the model's versions, then clear this task."
                )
            if change is None or change == asked:  # what was asked for does not show yet
                time.sleep(READ_BACK_INTERVAL)
                continue
            self._change(change, versions)
            asked = change

    def _change(self, change: AliasChange, versions: Sequence[Model]) -> None:
        self.log.info("Version aliases: %s", change.description)
        try:
            self.hook.merge_version_aliases(change.name, [change.alias])
        except PermanentServiceError as error:
            other = next((version.name for version in versions if change.alias in version.aliases), None)
            if error.code not in IN_USE or other is None:
                raise
            self.log.warning("%s Another version has it: it is taken away there first", error)
            self.hook.merge_version_aliases(other, [f"-{change.alias}"])
            self.hook.merge_version_aliases(change.name, [change.alias])
