import pytest

from gemini_tuning.core.names import ContextName, ResourceName, ResourceNameError, split_gcs_uri

JOB = "projects/123/locations/us-central1/tuningJobs/456"


def test_a_full_name_is_taken_apart():
    name = ResourceName.parse("projects/p-1/locations/eu/models/77@3", "models")
    assert (name.project, name.location, name.id, name.version) == ("p-1", "eu", "77", "3")
    assert str(name) == "projects/p-1/locations/eu/models/77@3"
    assert name.unversioned == "projects/p-1/locations/eu/models/77"
    assert name.parent == "projects/p-1/locations/eu"


@pytest.mark.parametrize(
    ("name", "collection"),
    [
        ("456", "tuningJobs"),
        ("tuningJobs/456", "tuningJobs"),
        (JOB, "models"),
        (JOB + "/", "tuningJobs"),
        (JOB + "@1", "tuningJobs"),
        ("projects/../locations/us-central1/tuningJobs/456/../9", "tuningJobs"),
        (None, "tuningJobs"),
        ({"name": JOB}, "tuningJobs"),
        ("", "models"),
    ],
)
def test_anything_but_a_full_name_is_refused_and_named(name, collection):
    with pytest.raises(ResourceNameError) as caught:
        ResourceName.parse(name, collection)
    assert repr(name) in str(caught.value)
    assert caught.value.code == "invalid_resource_name"


def test_the_name_of_an_experiment_is_taken_apart():
    text = "projects/1/locations/us-central1/metadataStores/default/contexts/tuning-experiment-2"
    name = ContextName.parse(text)
    assert (name.store, name.location, name.id) == (
        text.partition("/contexts/")[0],
        "us-central1",
        "tuning-experiment-2",
    )
    assert str(name) == text


@pytest.mark.parametrize(
    "name", ["", JOB, None, 7, "projects/1/locations/l/metadataStores/d/contexts/x\n", "x" * 5_000]
)
def test_anything_but_the_name_of_an_experiment_is_refused(name):
    with pytest.raises(ResourceNameError):
        ContextName.parse(name)


def test_resource_name_error_message(snapshot):
    for parse in (lambda: ResourceName.parse("models/7", "models"), lambda: ContextName.parse("x")):
        with pytest.raises(ResourceNameError) as caught:
            parse()
        assert str(caught.value) == snapshot


@pytest.mark.parametrize(
    ("one", "other", "same_resource", "same_version"),
    [
        ("projects/p/locations/eu/models/7@1", "projects/12/locations/eu/models/7@1", True, True),
        ("projects/p/locations/eu/models/7@1", "projects/p/locations/eu/models/7", True, True),
        ("projects/p/locations/eu/models/7@1", "projects/p/locations/eu/models/7@2", True, False),
        ("projects/p/locations/eu/models/7@1", "projects/q/locations/eu/models/7@1", False, False),
        ("projects/p/locations/eu/models/7@1", "projects/p/locations/us/models/7@1", False, False),
    ],
)
def test_names_of_the_same_resource(one, other, same_resource, same_version):
    first, second = ResourceName.parse(one, "models"), ResourceName.parse(other, "models")
    assert (first.is_same_resource(second), first.is_same_version(second)) == (same_resource, same_version)


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("gs://bucket/a/b.jsonl", ("bucket", "a/b.jsonl")),
        ("gs://bucket/", ("bucket", "")),
        ("gs://bucket", None),
        ("gs:///a", None),
        ("s3://bucket/a", None),
        (None, None),
    ],
)
def test_split_gcs_uri(uri, expected):
    assert split_gcs_uri(uri) == expected
