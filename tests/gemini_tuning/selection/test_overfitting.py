import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemini_tuning.core.xcom import MetricsXCom
from gemini_tuning.selection.overfitting import find_turning_point
from tests.gemini_tuning.selection.policy_examples import checkpoint
from tests.gemini_tuning.strategies import json_values, spoiled

GOOD = {"train_loss": [[10, 0.5], [20, 0.25]], "eval_loss": [[10, 0.75]], "missing": ["no accuracy"]}


def checkpoints(*pairs):
    """Checkpoints 1, 2 … at steps 10, 20 … with (train loss, eval loss)."""
    return [checkpoint(str(n), "1", train_loss=t, eval_loss=e) for n, (t, e) in enumerate(pairs, 1)]


def turn(*pairs, curves=None) -> int | None:
    found = find_turning_point(checkpoints(*pairs), curves)
    return found and found.step


def test_where_eval_loss_turned_up_while_train_loss_fell():
    assert turn((0.9, 0.8), (0.6, 0.5), (0.4, 0.6), (0.2, 0.7)) == 20


@pytest.mark.parametrize(
    "losses",
    [
        [],
        [(0.5, 0.5)],
        [(0.9, 0.8), (0.6, 0.5), (0.2, 0.4)],  # it still falls
        [(0.9, 0.8), (0.6, 0.5), (0.6, 0.7)],  # train loss does not fall
        [(0.9, 0.8), (0.6, 0.5), (0.7, 0.7)],  # both rise: something else is wrong
        [(0.9, 0.8), (0.6, 0.5), (0.5, 0.9), (0.2, 0.4)],  # it came down again
        [(0.9, 0.8), (0.6, 0.5), (0.2, 0.504)],  # by less than 1 %: noise
        [(0.9, None), (0.6, None), (0.2, None)],
        [(None, 0.4), (None, 0.5), (None, 0.6)],
        [(0.9, 0.4), (None, 0.5), (0.2, None)],
    ],
)
def test_what_is_no_overfitting(losses):
    assert turn(*losses) is None


def test_of_equal_lows_the_first():
    assert turn((0.9, 0.5), (0.6, 0.5), (0.2, 0.6)) == 10


def test_steps_not_the_list_say_what_comes_after():
    found = checkpoints((0.9, 0.8), (0.6, 0.5), (0.2, 0.7))
    assert find_turning_point(found[::-1]) == find_turning_point(found) is not None


def test_checkpoints_go_before_curves():
    curves = MetricsXCom(train_loss=((1, 0.9), (99, 0.1)), eval_loss=((1, 0.1), (99, 0.9)))
    assert turn((0.9, 0.8), (0.6, 0.5), curves=curves) is None
    assert turn((0.9, None), (0.6, None), curves=curves) == 1


@pytest.mark.parametrize("low", [20, 25, 5], ids=["at a checkpoint", "after a checkpoint", "before the first"])
def test_the_place_is_named_by_the_checkpoints(low, snapshot):
    curves = MetricsXCom(train_loss=((1, 0.9), (50, 0.1)), eval_loss=((low, 0.1), (60, 0.9)))
    found = find_turning_point(checkpoints((None, None), (None, None)), curves)
    assert found.explanation == snapshot


def test_an_evaluation_before_the_first_train_loss_says_nothing():
    curves = MetricsXCom(train_loss=((10, 0.9), (30, 0.1)), eval_loss=((5, 0.01), (10, 0.2), (30, 0.9)))
    assert find_turning_point([], curves).step == 10


@given(spoiled(GOOD) | json_values)
def test_any_metrics(value):
    find_turning_point(checkpoints((None, None)), MetricsXCom.from_xcom(value))


losses = st.floats(-1e300, 1e300) | st.sampled_from([0.0, -0.0, 1e-300, 1e308])


@given(st.lists(st.tuples(st.none() | losses, st.none() | losses), max_size=6))
def test_any_losses(pairs):
    found = find_turning_point(checkpoints(*pairs))
    assert found is None or (found.step < 10 * len(pairs) and len(found.explanation) < 400)
