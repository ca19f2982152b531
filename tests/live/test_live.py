"""The live test as it runs against a real project, in a real Airflow, with a connection to the local Vertex AI."""

import json
import time

import pytest

from tests.live import findings
from tests.live.clouds import CONNECTION, RealProject
from tests.live.evidence import Asked
from tests.live.questions import QUESTIONS
from tests.live.trial import Options, try_live
from vertex_emulator.process import Emulator

pytestmark = pytest.mark.airflow

ASKED = Asked("demo-project", "live-bucket", "us-central1", "gemini-2.5-flash-lite", "live-ci")


class AnotherConnection(RealProject):
    """The real project's way, with the service's clock in our hand."""

    interval = 1.0
    poll_interval = 1

    def __init__(self, vertex):
        super().__init__(ASKED.project, {CONNECTION: json.dumps(vertex.connection())})
        self._vertex = vertex

    def pause(self, stack, seconds):
        self._vertex.advance(seconds)
        time.sleep(0.2)  # leaves the processor to Airflow; nothing depends on it


@pytest.fixture
def vertex():
    with Emulator(speed=0) as vertex:
        vertex.make_bucket(ASKED.bucket)
        yield vertex


def test_every_question_is_answered_every_promise_kept_and_nothing_left(vertex, tmp_path):
    said = []

    result = try_live(AnotherConnection(vertex), ASKED, tmp_path, Options(cancel=True, cleanup=True), said.append)

    assert result.broken == []
    answers = {one["id"]: one for one in result.observations}
    assert [(one["id"], one["observed"]) for one in answers.values() if one["agrees"] is False] == []
    assert {name for name, one in answers.items() if one["agrees"] is None} == {"over_quota"}
    assert len(answers) == len(QUESTIONS)

    assert result.left == []
    state = vertex.state()
    assert (state["models"], state["endpoints"]) == ([], [])
    assert {job["state"] for job in state["tuningJobs"]} == {"JOB_STATE_SUCCEEDED", "JOB_STATE_CANCELLED"}
    listed = vertex.request("GET", f"/storage/v1/b/{ASKED.bucket}/o").json()
    assert listed.get("items", []) == []

    report = json.loads((tmp_path / "report.json").read_text())
    assert report["run"]["run_id"] == ASKED.run
    kept = (tmp_path / "evidence.json").read_text()
    assert json.loads(kept)["replies"]["job"]["body"]["state"] == "JOB_STATE_SUCCEEDED"
    assert "private_key" not in kept + "".join(said)
    table = findings.table(findings.document("2026-01-02", ASKED.location, "m", result.observations, ()))
    assert sum(line.endswith("| yes |") for line in table.splitlines()) == len(QUESTIONS) - 1
