"""Proto JSON, names, filters, pages, the clock."""

from dataclasses import dataclass

import pytest

from vertex_emulator.clock import Clock, timestamp
from vertex_emulator.errors import GoogleError
from vertex_emulator.filters import parse_filter
from vertex_emulator.names import Parent, Projects, derived_id, experiment, is_model_id, model_location
from vertex_emulator.paging import page
from vertex_emulator.protojson import (
    ADAPTER_SIZES,
    Repeated,
    camel,
    check_labels,
    read_message,
    snake,
    write_enums_as_numbers,
)

MESSAGE = {
    "text": "string",
    "count": "int",
    "share": "double",
    "flag": "bool",
    "size": ADAPTER_SIZES,
    "labels": "labels",
    "free": "any",
    "innerMessage": {"deepField": "int"},
    "manyTexts": Repeated("string"),
}


class TestProtoJson:
    @pytest.mark.parametrize(
        ("value", "expected"),
        [
            ({"inner_message": {"deep_field": "5"}}, {"innerMessage": {"deepField": 5}}),
            ({"innerMessage": {"deepField": 5.0}}, {"innerMessage": {"deepField": 5}}),
            ({"count": str(2**63 - 1)}, {"count": 2**63 - 1}),
            ({"size": 2}, {"size": "ADAPTER_SIZE_FOUR"}),
            ({"size": "ADAPTER_SIZE_TWO"}, {"size": "ADAPTER_SIZE_TWO"}),
            ({"share": "1.5", "flag": True}, {"share": 1.5, "flag": True}),
            ({"text": None, "many_texts": ["a"]}, {"manyTexts": ["a"]}),
            ({"labels": {"snake_case": "v"}}, {"labels": {"snake_case": "v"}}),
            ({"free": [{"snake_case": {"a_b": 1}}]}, {"free": [{"snakeCase": {"aB": 1}}]}),
        ],
    )
    def test_reads(self, value, expected):
        assert read_message(value, MESSAGE) == expected

    @pytest.mark.parametrize(
        ("value", "message"),
        [
            ({"other": 1}, 'Unknown name "other": Cannot find field.'),
            ({"inner_message": {"other": 1}}, "Unknown name \"other\" at 'inner_message': Cannot find field."),
            ({"count": 1.5}, "Invalid value at 'count' (TYPE_INT64), 1.5"),
            ({"count": True}, "'count'"),
            ({"count": str(2**63)}, "'count'"),
            ({"size": "HUGE"}, "Invalid value at 'size', \"HUGE\""),
            ({"size": 99}, "'size'"),
            ({"text": 1}, "'text' (TYPE_STRING)"),
            ({"flag": "yes"}, "'flag' (TYPE_BOOL)"),
            ({"share": "x"}, "'share' (TYPE_DOUBLE)"),
            ({"labels": {"a": 1}}, "'labels[a]'"),
            ({"labels": []}, "'labels'"),
            ({"inner_message": []}, "'inner_message'"),
            ({"many_texts": "a"}, "'many_texts'"),
            ({"many_texts": [1]}, "'many_texts[0]'"),
            ("x", "Root element must be a message."),
        ],
    )
    def test_refuses(self, value, message):
        with pytest.raises(GoogleError) as refused:
            read_message(value, MESSAGE)
        assert (refused.value.code, refused.value.status) == (400, "INVALID_ARGUMENT")
        assert message in refused.value.message

    def test_names(self):
        assert camel("training_dataset_uri") == camel("trainingDatasetUri") == "trainingDatasetUri"
        assert snake("trainingDatasetUri") == "training_dataset_uri"

    def test_enums_as_numbers(self):
        value = {"a": [{"state": "JOB_STATE_SUCCEEDED", "labels": {"x": "y"}}], "state": "unknown to us"}
        assert write_enums_as_numbers(value) == {"a": [{"state": 4, "labels": {"x": "y"}}], "state": "unknown to us"}

    @pytest.mark.parametrize("labels", [{}, {"a-b_1": ""}, {"k": "ünïcode-日本"}, {"k" * 64: "v" * 64}])
    def test_labels_that_are_fine(self, labels):
        check_labels(labels)

    @pytest.mark.parametrize("labels", [{"": "v"}, {"K": "v"}, {"k": "V"}, {"k": "a.b"}, {"k" * 65: ""}, {"k": "a b"}])
    def test_labels_that_are_not(self, labels):
        with pytest.raises(GoogleError):
            check_labels(labels)


class TestNames:
    def test_project_numbers(self):
        projects = Projects({"mine": "42"})
        assert projects.number("mine") == "42"
        assert projects.number("123") == "123"
        assert projects.number("demo") == Projects().number("demo") != projects.number("other")
        assert len(projects.number("demo")) == 12

    def test_parse(self):
        name = Projects().parse("projects/12/locations/us/models/7@default")
        assert (name.parent, name.collection, name.id, name.version) == (Parent("12", "us"), "models", "7", "default")
        assert name.unversioned == "projects/12/locations/us/models/7"
        assert Projects().parse("projects/12/locations/us/models") is None

    def test_ids_have_19_digits(self):
        assert len(derived_id("a")) == 19
        assert derived_id("a", "b") == derived_id("a", "b") != derived_id("ab")

    def test_experiment(self):
        name = experiment(Parent("1", "us"), 1735689600.25)
        assert name == "projects/1/locations/us/metadataStores/default/contexts/tuning-experiment-20250101000000250000"

    @pytest.mark.parametrize(
        ("model_id", "fine"), [("a", True), ("_a-1", True), ("1a", False), ("-a", False), ("", False)]
    )
    def test_model_ids(self, model_id, fine):
        assert is_model_id(model_id) is fine

    def test_locations_of_models(self):
        assert model_location("gemini-2.5-flash", "us-central1") == "us-central1"
        assert model_location("gemini-3.5-flash", "us-central1") == "us"
        assert model_location("gemini-3.1-flash-lite", "europe-west4") == "eu"
        assert model_location("gemini-3.5-flash", "asia-east1") == "asia-east1"


RESOURCE = {
    "state": "JOB_STATE_RUNNING",
    "labels": {"team": "a", "tune-type": "sft", "empty": ""},
    "baseModel": "gemini-2.5-flash",
    "versionAliases": ["default", "best"],
    "count": 5,
}


@pytest.mark.parametrize(
    ("expression", "matches"),
    [
        ("", True),
        ('labels.team="a"', True),
        ("labels.team=a", True),
        ("labels.team='b'", False),
        ("labels.tune-type:*", True),
        ("labels.nope:*", False),
        ("labels:team", True),
        ('base_model="gemini-2.5-flash" AND state="JOB_STATE_RUNNING"', True),
        ('baseModel="gemini-2.5-flash" state="JOB_STATE_FAILED"', False),
        ('state!="JOB_STATE_FAILED"', True),
        ('NOT state="JOB_STATE_FAILED" AND -labels.team="b"', True),
        ("base_model:flash", True),
        ("version_aliases:best", True),
        ("version_aliases=best", False),
        ('nothing="x"', False),
        ("count=5", True),
        (r'labels.team="a\"b"', False),
    ],
)
def test_filters(expression, matches):
    assert parse_filter(expression)(RESOURCE) is matches


@pytest.mark.parametrize("expression", ["=", "state", 'state="x" AND', "state~x", 'state="x" OR state="y"', '"x"'])
def test_filters_that_are_not_understood(expression):
    with pytest.raises(GoogleError):
        parse_filter(expression)


@dataclass
class Item:
    seq: int


def every(_item):
    return True


class TestPages:
    def pages(self, items, size, wanted=every):
        token = None
        while True:
            found, token = page(items, wanted, str(size), token)
            yield [item.seq for item in found]
            if token is None:
                return

    def test_all_pages(self):
        items = [Item(seq) for seq in (9, 7, 5, 3, 1)]
        assert list(self.pages(items, 2)) == [[9, 7], [5, 3], [1]]
        assert list(self.pages(items, 5)) == [[9, 7, 5, 3, 1]]
        assert list(self.pages(items, 1, lambda item: item.seq in (5, 1))) == [[5], [1]]
        assert list(self.pages([], 2)) == [[]]

    def test_new_items_do_not_move_the_next_page(self):
        items = [Item(3), Item(2), Item(1)]
        _, token = page(items, every, "2", None)
        found, _ = page([Item(4), *items], every, "2", token)
        assert [item.seq for item in found] == [1]

    @pytest.mark.parametrize(("size", "token"), [("x", None), ("-1", None), ("1", "rubbish"), ("1", "YTox")])
    def test_bad_parameters(self, size, token):
        with pytest.raises(GoogleError):
            page([], every, size, token)


def test_clock():
    real = [100.0]
    clock = Clock(10, lambda: real[0])
    start = clock.now()
    real[0] += 2
    assert clock.now() == start, "time stands still until it is read"
    assert clock.tick() == clock.now() == pytest.approx(start + 20)
    clock.advance(5)
    assert clock.now() == clock.tick() == pytest.approx(start + 25)
    with pytest.raises(ValueError, match="forward"):
        clock.advance(-1)
    assert timestamp(1735689600.000123) == "2025-01-01T00:00:00.000123Z"
