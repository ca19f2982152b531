"""The order in which version aliases are changed, and the scores of the asset event."""

from dataclasses import replace

import pytest

from gemini_tuning.core.names import ResourceNameError
from gemini_tuning.core.resources import Model
from gemini_tuning.core.xcom import DecisionXCom
from gemini_tuning.registry.assets import PROMOTED_MODELS, model_uri, promoted_model
from gemini_tuning.registry.version_aliases import holder, next_change, scores_of

PARENT = "projects/123/locations/us-central1/models/7"


def name(version):
    return f"{PARENT}@{version}"


def versions(**aliases):
    """Return versions by their ids, ``v1="champion previous"``."""
    return [Model(name(key[1:]), aliases=tuple(words.split())) for key, words in aliases.items()]


def obeyed(found, change, *, moves):
    """Return the versions as a service leaves them that does what it is asked.

    :param moves: whether it takes an alias away from the version that had it.
    """
    alias, taken = change.alias.removeprefix("-"), change.alias.startswith("-")

    def after(version):
        kept = tuple(other for other in version.aliases if other != alias)
        if version.name == change.name:
            return replace(version, aliases=kept if taken else (*kept, alias))
        return replace(version, aliases=kept) if moves and not taken else version

    return [after(version) for version in found]


def settle(found, champion, *, moves):
    """Do what is to be done; return the changes in words, and the versions."""
    done = []
    while (change := next_change(found, name(champion))) is not None:
        assert len(done) < 10, done
        found = obeyed(found, change, moves=moves)
        done.append(f"{change.alias} {change.name.rpartition('@')[2]}")
    return done, found


@pytest.mark.parametrize("moves", [True, False])
@pytest.mark.parametrize(
    ("before", "champion", "previous"),
    [
        ({"v1": "default"}, "1", None),
        ({"v1": "default", "v2": ""}, "2", None),
        ({"v1": "default champion", "v2": ""}, "2", "1"),
        ({"v1": "previous", "v2": "champion", "v3": ""}, "3", "2"),
        ({"v1": "previous", "v2": "champion"}, "1", "2"),  # rolled back
        ({"v1": "previous", "v2": "champion"}, "2", "1"),  # nothing to do
        ({"v1": "champion previous", "v2": ""}, "2", "1"),  # an earlier try has stopped half-way
        ({"v1": "champion previous", "v2": ""}, "1", None),
        ({"v1": "champion", "v2": "champion", "v3": "other"}, "3", "1"),
        ({"v1": "previous", "v2": "previous", "v3": "champion"}, "4", "3"),
    ],
)
def test_aliases_come_to_where_they_belong(before, champion, previous, moves):
    found = versions(**before, **({} if f"v{champion}" in before else {f"v{champion}": ""}))
    _, after = settle(found, champion, moves=moves)
    assert [v.resource_name.version for v in after if "champion" in v.aliases] == [champion]
    assert [v.resource_name.version for v in after if "previous" in v.aliases] == ([previous] if previous else [])
    assert holder(after, "champion") == champion
    others = {"default", "other"}
    assert [others & set(v.aliases) for v in after] == [others & set(v.aliases) for v in found]
    assert settle(after, champion, moves=moves) == ([], after)


@pytest.mark.parametrize("moves", [True, False])
def test_a_try_that_stops_anywhere_is_finished_by_the_next(moves):
    before = versions(v1="default previous", v2="champion", v3="")
    _, expected = settle(before, "3", moves=moves)
    found = before
    for _ in range(10):
        change = next_change(found, name("3"))
        if change is None:
            break
        done, again = settle(found, "3", moves=moves)  # as a new try would, from here
        assert again == expected, done
        found = obeyed(found, change, moves=moves)
    assert found == expected


def test_the_old_champion_is_marked_before_the_new_one_takes_its_place():
    done, _ = settle(versions(v1="previous", v2="champion", v3=""), "3", moves=True)
    assert done == ["previous 2", "champion 3"]


DECISION = {
    "checkpoints": [
        {"checkpoint_id": "1", "pass_rate": 0.5, "eval_loss": 0.7},
        {"checkpoint_id": "2", "pass_rate": 0.9, "score": 0.91, "eval_loss": None, "latency_p95_ms": float("nan")},
    ]
}


def test_the_scores_are_those_of_the_checkpoint_and_numbers():
    decision = DecisionXCom.from_xcom(DECISION)
    assert scores_of("2", decision) == {"pass_rate": 0.9, "score": 0.91}
    assert scores_of("1", decision) == {"pass_rate": 0.5, "eval_loss": 0.7}


@pytest.mark.parametrize("decision", [{}, {"checkpoints": None}, {"checkpoints": "x"}, {"checkpoints": [None, 7]}])
def test_scores_that_are_not_there(decision):
    assert scores_of("1", DecisionXCom.from_xcom(decision)) == {}


def test_an_asset_names_the_model_whatever_its_version():
    uri = "gcp://aiplatform.googleapis.com/projects/123/locations/us-central1/models/7"
    assert model_uri(name("1")) == model_uri(name("2")) == uri
    asset = promoted_model(PARENT)
    assert (asset.uri, asset.name) == (uri, uri)  # Airflow leaves it as it is
    assert PROMOTED_MODELS.name == "gemini_promoted_models"
    with pytest.raises(ResourceNameError) as error:
        promoted_model("7")
    assert error.value.code == "invalid_resource_name"
