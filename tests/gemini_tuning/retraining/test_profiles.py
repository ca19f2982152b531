"""Profiles: what is accepted, and the location and code of each mistake."""

from pathlib import Path

import pytest

from gemini_tuning.core.yaml_file import YamlError
from gemini_tuning.pipelines.params import dag_params
from gemini_tuning.pipelines.retraining_schedules import check_params, schedule_of
from gemini_tuning.retraining.profiles import ContinueFrom, Schedule, load_profile, load_profiles

REPOSITORY = Path(__file__).parents[3]
SUITES = REPOSITORY / "dags" / "config" / "smoke"
CHAMPION = "projects/p/locations/us-central1/models/1@2"
PARAMS = "params:\n  training_dataset_uri: gs://bucket/train.jsonl\n"


def written(folder, text, name="weekly"):
    path = folder / f"{name}.yaml"
    path.write_text(text)
    return path


def check(profile):
    check_params(profile, dag_params("gemini_checkpoint_tuning", SUITES))
    schedule_of(profile)


def test_a_profile_with_everything(tmp_path):
    profile = load_profile(
        written(
            tmp_path,
            "description: Weekly\n"
            "schedule: {cron: '0 3 * * 1', timezone: Europe/Berlin}\n"
            "watch: [gs://bucket/train.jsonl, gs://bucket/more/]\n"
            "continue_from: champion\n"
            f"params:\n  training_dataset_uri: gs://bucket/train.jsonl\n  champion: {CHAMPION}\n",
        )
    )
    assert profile.name == "weekly"
    assert profile.schedule == Schedule(cron="0 3 * * 1", timezone="Europe/Berlin")
    assert profile.watch == ["gs://bucket/train.jsonl", "gs://bucket/more/"]
    assert profile.continue_from is ContinueFrom.CHAMPION
    assert profile.params == {"training_dataset_uri": "gs://bucket/train.jsonl", "champion": CHAMPION}
    check(profile)


def test_the_profile_that_comes_along_is_acceptable():
    profiles, errors = load_profiles(REPOSITORY / "dags" / "config" / "retraining", check)
    assert errors == []
    assert [profile.name for profile in profiles] == ["ferry_support"]


@pytest.mark.parametrize(
    ("schedule", "kind"),
    [
        ("schedule: '@weekly'", "CronTriggerTimetable"),
        ("schedule: '0 3 * * 1'\nwatch: gs://bucket/folder/", "AssetOrTimeSchedule"),
        ("watch: gs://bucket/train.jsonl", "AssetAny"),
        ("schedule: {asset: customers}", "AssetAny"),
        ("schedule: {asset: 's3://bucket/customers'}\nwatch: gs://bucket/train.jsonl", "AssetAny"),
        (
            "schedule: {timetable: airflow.sdk.MultipleCronTriggerTimetable, arguments: {timezone: UTC}}",
            "invalid",
        ),
        (
            "schedule: {timetable: airflow.sdk.CronTriggerTimetable, arguments: {expression: '@daily', timezone: UTC}}",
            "CronTriggerTimetable",
        ),
    ],
)
def test_what_starts_a_run(tmp_path, schedule, kind):
    profile = load_profile(written(tmp_path, f"{schedule}\n{PARAMS}"))
    if kind == "invalid":  # Airflow's timetable rejects the arguments
        with pytest.raises(YamlError) as caught:
            schedule_of(profile)
        assert (caught.value.field, caught.value.line, caught.value.code) == ("schedule", 1, "invalid_schedule")
        return
    assert type(schedule_of(profile)).__name__ == kind


@pytest.mark.parametrize(
    ("text", "line", "field", "code"),
    [
        ("", None, "", "mapping_expected"),
        ("[]", 1, "", "mapping_expected"),
        (f"schedule: '@weekly'\nname: x\n{PARAMS}", 2, "name", "unknown_key"),
        (PARAMS, 1, "", "missing_schedule"),
        (f"schedule: ''\n{PARAMS}", 1, "schedule", "string_too_short"),
        (f"schedule: 7\n{PARAMS}", 1, "schedule", "mapping_expected"),
        (f"schedule: {{}}\n{PARAMS}", 1, "schedule", "ambiguous_schedule"),
        (f"schedule: {{cron: '@daily', asset: x}}\n{PARAMS}", 1, "schedule", "ambiguous_schedule"),
        (f"schedule: {{asset: x, timezone: UTC}}\n{PARAMS}", 1, "schedule", "ambiguous_schedule"),
        (f"schedule: {{cron: '@daily', zone: x}}\n{PARAMS}", 1, "schedule.zone", "unknown_key"),
        (f"schedule: {{cron: '@daily', timezone: Mars}}\n{PARAMS}", 1, "schedule.timezone", "unknown_timezone"),
        (f"schedule: {{timetable: 'os;system'}}\n{PARAMS}", 1, "schedule.timetable", "invalid_class"),
        (f"schedule: {{timetable: a.B, arguments: [1]}}\n{PARAMS}", 1, "schedule.arguments", "dict_type"),
        (f"schedule: {{timetable: no.Such}}\n{PARAMS}", 1, "schedule", "invalid_schedule"),
        (f"schedule: {{timetable: os.path.join}}\n{PARAMS}", 1, "schedule", "invalid_schedule"),
        (f"schedule: {{timetable: builtins.dict}}\n{PARAMS}", 1, "schedule", "invalid_schedule"),
        (f"schedule: '0 3 * * 9'\n{PARAMS}", 1, "schedule", "invalid_schedule"),
        (f"watch: bucket/train.jsonl\n{PARAMS}", 1, "watch", "invalid_gcs_uri"),
        (f"watch:\n- gs://b1/x\n- 7\n{PARAMS}", 3, "watch.1", "invalid_gcs_uri"),
        (f"watch: {['gs://b1/' + str(n) for n in range(21)]}\n{PARAMS}", 1, "watch", "too_long"),
        ("schedule: '@weekly'", 1, "params", "missing"),
        ("schedule: '@weekly'\nparams: 7", 2, "params", "dict_type"),
        ("schedule: '@weekly'\nparams: {1: 2}", 2, "params.1", "string_type"),
        ("schedule: '@weekly'\nparams: {epoch_count: 3}", 2, "params.training_dataset_uri", "missing_param"),
        (f"schedule: '@weekly'\n{PARAMS}  pre_tuned_model: x", 4, "params.pre_tuned_model", "excluded_param"),
        (f"schedule: '@weekly'\n{PARAMS}  epochs: 3", 4, "params.epochs", "unknown_param"),
        (f"schedule: '@weekly'\n{PARAMS}  epoch_count: six", 4, "params.epoch_count", "invalid_param"),
        (f"schedule: '@weekly'\n{PARAMS}  suite: other", 4, "params.suite", "invalid_param"),
        (f"schedule: '@weekly'\ncontinue_from: last\n{PARAMS}", 2, "continue_from", "enum"),
        (f"schedule: '@weekly'\ncontinue_from: champion\n{PARAMS}", 2, "continue_from", "invalid_champion"),
        (f"schedule: '@weekly'\ndescription: [x]\n{PARAMS}", 2, "description", "string_type"),
        ("schedule: [", 1, "", "invalid_yaml"),
        (f"schedule: '@weekly'\nschedule: '@daily'\n{PARAMS}", 2, "", "duplicate_key"),
    ],
)
def test_load_profiles_mistake_is_located(tmp_path, text, line, field, code, snapshot):
    path = written(tmp_path, text)
    profiles, errors = load_profiles(tmp_path, check)
    assert profiles == []
    (error,) = errors
    assert (error.line, error.field, error.code, error.resource) == (line, field, code, str(path))
    if code not in ("invalid_schedule", "invalid_param", "unknown_param"):  # with messages of Airflow, or all Params
        assert str(error).removeprefix(str(path)) == snapshot


def test_load_profile_name_that_cannot_be_a_dag_id_raises(tmp_path):
    with pytest.raises(YamlError) as caught:
        load_profile(written(tmp_path, "", "a b"))
    assert caught.value.code == "invalid_name"


def test_a_broken_profile_does_not_take_the_others_down(tmp_path):
    written(tmp_path, "schedule: 7", "broken")
    written(tmp_path, f"schedule: '@weekly'\n{PARAMS}", "good")
    profiles, errors = load_profiles(tmp_path, check)
    assert [profile.name for profile in profiles] == ["good"]
    assert len(errors) == 1


def test_a_value_that_is_rendered_later_is_checked_later(tmp_path):
    path = written(tmp_path, "schedule: '@daily'\nparams:\n  training_dataset_uri: gs://bucket/{{ ds }}/train.jsonl\n")
    check(load_profile(path))


def test_an_object_is_watched_over_one_connection(tmp_path):
    for name, connection in (("a", "google_cloud_default"), ("b", "google_cloud_default"), ("c", "other")):
        written(tmp_path, f"watch: gs://bucket/train.jsonl\n{PARAMS}  gcp_conn_id: {connection}\n", name)
    profiles, errors = load_profiles(tmp_path, check)
    assert [profile.name for profile in profiles] == ["a", "b"]
    assert (errors[0].resource, errors[0].field) == (str(tmp_path / "c.yaml"), "watch")
    assert errors[0].code == "connection_conflict"
