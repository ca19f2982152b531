"""The demo's data and suite tell the checkpoints apart, and do so the same way every time."""

import pytest
from support import SPEC, context, fill, finished_job, use_connection

from gemini_tuning.operators.smoke_test_checkpoint import GeminiSmokeTestCheckpointOperator
from vertex_emulator.process import Emulator


@pytest.fixture(scope="module")
def scores(tmp_path_factory):
    """Scores of the six checkpoints, each twice from a service of its own."""

    found, folder = [], tmp_path_factory.mktemp("results")
    with pytest.MonkeyPatch.context() as monkeypatch:
        for number in range(2):
            with Emulator(speed=0) as emulator:
                fill(emulator)
                use_connection(monkeypatch, emulator.connection())
                job = finished_job(emulator, SPEC.model_copy(update={"epoch_count": 6}))
                found.append([_score(checkpoint.as_dict(), folder / str(number)) for checkpoint in job.checkpoints])
    return found


def _score(checkpoint, folder):
    operator = GeminiSmokeTestCheckpointOperator(
        task_id="smoke",
        checkpoint=checkpoint,
        suite="ferry_support",
        suite_folder="dags/config/smoke",
        results_uri=str(folder),
    )
    return operator.execute(context())["score"]


def test_the_same_data_gives_the_same_scores(scores):
    assert scores[0] == scores[1]


def test_the_model_learns_and_then_overfits(scores):
    first = scores[0]
    best = first.index(max(first))
    assert 0 < best < len(first) - 1
    assert first[: best + 1] == sorted(first[: best + 1])
    assert first[best:] == sorted(first[best:], reverse=True)
    assert first[best] >= 0.8 > first[0]


def test_there_is_one_best_checkpoint(scores):
    assert scores[0].count(max(scores[0])) == 1
