import pytest

from gemini_tuning.core.copy_spec import ModelCopySpec

KEY = "projects/p/locations/europe-west4/keyRings/r/cryptoKeys/k"
PARENT = "projects/1/locations/europe-west4/models/2"


@pytest.mark.parametrize(
    "spec",
    [
        ModelCopySpec(),
        ModelCopySpec("europe-west4"),
        ModelCopySpec("europe-west4", "other-project", model_id="mine", kms_key_name=KEY),
        ModelCopySpec("europe-west4", parent_model=PARENT),
    ],
)
def test_acceptable_copies(spec):
    assert spec.problems() == []


@pytest.mark.parametrize(
    ("spec", "fields"),
    [
        (ModelCopySpec(None, "p", "m"), ["project_id", "model_id"]),
        (ModelCopySpec("europe-west4", model_id="m", parent_model=PARENT), ["model_id"]),
        (ModelCopySpec("europe-west4", model_id="Mine"), ["model_id"]),
        (ModelCopySpec("europe-west4", model_id="m" * 64), ["model_id"]),
        (ModelCopySpec("europe-west4", parent_model="models/2"), ["parent_model"]),
        (ModelCopySpec("us-central1", parent_model=PARENT), ["parent_model"]),
    ],
)
def test_what_the_service_would_refuse_or_ignore_is_named(spec, fields):
    assert [problem.split(":")[0].removeprefix("copy ") for problem in spec.problems()] == fields
