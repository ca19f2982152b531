"""A short version of ``make chaos``, with a seed of its own."""

import pytest
from rich.console import Console

from tests.chaos.__main__ import Campaign

pytestmark = pytest.mark.airflow
SEED = 1130  # a create whose answer is lost, a run that is marked failed, both triggerers killed while a copy is made
ROUNDS = 1


def test_nothing_dies_twice_and_nothing_runs_on_unwatched(tmp_path):
    with (tmp_path / "said").open("w+") as said:
        tally = Campaign(tmp_path / "chaos", Console(file=said, soft_wrap=True)).run(ROUNDS, SEED)
        said.seek(0)
        assert tally.failed_seeds == [], said.read()
    assert tally.rounds == ROUNDS
    assert tally.done.total() >= 3 * ROUNDS
