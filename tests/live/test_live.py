"""The live test as it would run against a real project, in a real Airflow, against the local Vertex AI."""

import json

import pytest

from tests.live import findings
from tests.live.clouds import LocalVertex
from tests.live.evidence import Asked
from tests.live.questions import QUESTIONS
from tests.live.trial import Options, try_live

pytestmark = pytest.mark.airflow


def test_every_question_is_answered_every_promise_kept_and_nothing_left(tmp_path):
    said = []
    asked = Asked("demo-project", "live-bucket", "us-central1", "gemini-2.5-flash-lite", "live-ci")

    result = try_live(LocalVertex(), asked, tmp_path, Options(cancel=True, clean_up=True), said.append)

    assert result.broken == []
    assert result.left == []
    answers = {one["id"]: one for one in result.observations}
    assert [(one["id"], one["observed"]) for one in answers.values() if one["agrees"] is False] == []
    assert {name for name, one in answers.items() if one["agrees"] is None} == {"over_quota"}
    assert len(answers) == len(QUESTIONS)
    assert len(result.evidence.jobs) == 1
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["run"]["run_id"] == "live-ci"
    kept = json.loads((tmp_path / "evidence.json").read_text())
    assert kept["replies"]["job"]["body"]["state"] == "JOB_STATE_SUCCEEDED"
    assert "private_key" not in json.dumps(kept) and not any("private_key" in line for line in said)
    assert (
        findings.table(findings.document("2026-01-02", "us-central1", "m", result.observations, ())).count("yes") > 30
    )
