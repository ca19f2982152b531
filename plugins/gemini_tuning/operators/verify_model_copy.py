"""Verify a model copy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from airflow.sdk import Context

from gemini_tuning.core.exceptions import VerificationError
from gemini_tuning.core.resources import compare_checkpoints
from gemini_tuning.links import gemini_tuning as links
from gemini_tuning.operators.cloud_base import GCP_FIELDS, optional_text
from gemini_tuning.operators.default_checkpoint import DefaultCheckpointBase


class GeminiVerifyModelCopyOperator(DefaultCheckpointBase):
    """Check that a copy has the checkpoints and the default checkpoint of its source; optionally set another default.

    XCom: ``{"source_model", "model", "checkpoints", "default_checkpoint_id", "default_of_source"}``; ``checkpoints``
    is their number.

    :param source_model: full name of the model that was copied, with its version. (templated)
    :param model: full name of the copy with its version. (templated)
    :param default_checkpoint_id: set this default on the copy after the check; ``None`` keeps it. (templated)
    :param read_back_timeout: seconds until the service has to return a changed default.
    :raises VerificationError: with the differences.
    :raises CheckpointError: when the copy has no checkpoint ``default_checkpoint_id``.
    """

    template_fields: Sequence[str] = (*GCP_FIELDS, "source_model", "model", "default_checkpoint_id")
    operator_extra_links = (links.SOURCE_MODEL, links.CHECKED_COPY, links.RUN_PAGE)

    def __init__(
        self,
        *,
        source_model: str,
        model: str,
        default_checkpoint_id: str | None = None,
        read_back_timeout: float = 120,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.source_model = source_model
        self.model = model
        self.default_checkpoint_id = default_checkpoint_id
        self.read_back_timeout = read_back_timeout

    def execute(self, context: Context) -> dict[str, Any]:
        """Compare both models, set the other default if given, and push the result."""
        source, copy = self.hook.get_model(self.source_model), self.hook.get_model(self.model)
        other = optional_text(self.default_checkpoint_id)
        differences = compare_checkpoints(source.checkpoints, copy.checkpoints)
        default, expected = copy.default_checkpoint_id, source.default_checkpoint_id
        if default not in (expected, other):  # other: set by an earlier try
            differences.append(f"the default is checkpoint {default} in the copy, {expected} in the source")
        if differences:
            problem = f"{copy.name} differs from {source.name}: {'; '.join(differences)}."
            raise VerificationError(problem, resource=copy.name, code="copy_differs")
        self.log.info("%s has the same %d checkpoints and default", copy.name, len(copy.checkpoints))
        if other:
            self.set_default(self.hook.get_model(copy.name), other)
            self.read_back(copy.name, other, None, self.read_back_timeout)
        return {
            "source_model": source.name,
            "model": copy.name,
            "checkpoints": len(copy.checkpoints),
            "default_checkpoint_id": other or default,
            "default_of_source": expected,
        }
