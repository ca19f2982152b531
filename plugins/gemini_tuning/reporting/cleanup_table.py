"""A cleanup plan as Markdown."""

from __future__ import annotations

from gemini_tuning.core.markdown import linked, or_dash, plain, table
from gemini_tuning.registry.cleanup_plan import CleanupPlan
from gemini_tuning.registry.cleanup_rules import DELETE


def plan_lines(plan: CleanupPlan) -> list[str]:
    """Return the lines of a plan: a table that is also readable in a log."""
    rows = [["kind", "name", "checkpoint or version", "action", "reason"]]
    for item in plan.items:
        parts = ", ".join(item.checkpoint_ids or item.versions)
        action = f"**{item.action}**" if item.action == DELETE else item.action
        rows.append([item.kind, linked(item.name, item.name), plain(parts), action, plain(item.reason)])
    model = f"{linked(plan.model, plan.model)}, default checkpoint {or_dash(plan.default_checkpoint_id)}"
    total = f"{len(plan.to_delete)} of {len(plan.items)} would be deleted. Model: {model}"
    return [total, "", *(table(rows) if plan.items else [])]
