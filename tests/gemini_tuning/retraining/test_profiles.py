"""Profiles: what may stand in one, and what a mistake is answered with."""

from pathlib import Path

import pytest

from gemini_tuning.pipelines.params import tuning_params
from gemini_tuning.pipelines.retraining_schedules import check_params, schedule_of
from gemini_tuning.retraining.profiles import GoOnFrom, ProfileError, Schedule, load_profile, load_profiles

REPOSITORY = Path(__file__).parents[3]
SUITES = REPOSITORY / "dags" / "config" / "smoke"
CHAMPION = "projects/p/locations/us-central1/models/1@2"
PARAMS = "params:\n  training_dataset_uri: gs://bucket/train.jsonl\n"


def written(folder, text, name="weekly"):
    path = folder / f"{name}.yaml"
    path.write_text(text)
    return path


def check(profile):
    check_params(profile, tuning_params(SUITES))
    schedule_of(profile)


def test_a_profile_with_everything(tmp_path):
    profile = load_profile(
        written(
            tmp_path,
            "description: Weekly\n"
            "schedule: {cron: '0 3 * * 1', timezone: Europe/Berlin}\n"
            "watch: [gs://bucket/train.jsonl, gs://bucket/more/]\n"
            "go_on_from: champion\n"
            f"params:\n  training_dataset_uri: gs://bucket/train.jsonl\n  champion: {CHAMPION}\n",
        )
    )
    assert profile.name == "weekly"
    assert profile.schedule == Schedule(cron="0 3 * * 1", timezone="Europe/Berlin")
    assert profile.watch == ("gs://bucket/train.jsonl", "gs://bucket/more/")
    assert profile.go_on_from is GoOnFrom.CHAMPION
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
            "no such",
        ),
        (
            "schedule: {timetable: airflow.sdk.CronTriggerTimetable, arguments: {expression: '@daily', timezone: UTC}}",
            "CronTriggerTimetable",
        ),
    ],
)
def test_what_starts_a_run(tmp_path, schedule, kind):
    profile = load_profile(written(tmp_path, f"{schedule}\n{PARAMS}"))
    if kind == "no such":  # Airflow's own words about its own timetable
        with pytest.raises(ProfileError, match=r"weekly\.yaml: schedule: "):
            schedule_of(profile)
        return
    assert type(schedule_of(profile)).__name__ == kind


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "expected a mapping with the keys description, go_on_from, params, schedule, watch"),
        ("[]", "expected a mapping"),
        (f"schedule: '@weekly'\nname: x\n{PARAMS}", "line 2: unknown key name; expected one of description"),
        (PARAMS, "schedule: there is neither schedule nor watch, so it would never run"),
        (f"schedule: ''\n{PARAMS}", "line 1: schedule: expected a text, not ''"),
        (f"schedule: 7\n{PARAMS}", "line 1: schedule: expected a cron expression"),
        (f"schedule: {{cron: '@daily', asset: x}}\n{PARAMS}", "line 1: schedule: expected a cron expression"),
        (f"schedule: {{cron: '@daily', zone: x}}\n{PARAMS}", "line 1: schedule: unknown key zone"),
        (f"schedule: {{cron: '@daily', timezone: Mars}}\n{PARAMS}", "schedule.timezone: there is no 'Mars'"),
        (f"schedule: {{timetable: 'os;system'}}\n{PARAMS}", "schedule.timetable: 'os;system' is not package.Class"),
        (f"schedule: {{timetable: a.B, arguments: [1]}}\n{PARAMS}", "schedule.arguments: expected a mapping"),
        (f"schedule: {{timetable: no.Such}}\n{PARAMS}", "schedule: No module named 'no'"),
        (f"schedule: {{timetable: os.path.join}}\n{PARAMS}", "schedule: "),
        (f"schedule: '0 3 * * 9'\n{PARAMS}", "schedule: "),
        (f"watch: bucket/train.jsonl\n{PARAMS}", "line 1: watch: 'bucket/train.jsonl' is not gs://bucket/object"),
        (f"watch: {['gs://b1/' + str(n) for n in range(21)]}\n{PARAMS}", "watch: 21 addresses; at most 20"),
        ("schedule: '@weekly'\nparams: 7", "line 2: params: expected a mapping"),
        ("schedule: '@weekly'\nparams: {epoch_count: 3}", "params.training_dataset_uri: is required"),
        (f"schedule: '@weekly'\n{PARAMS}  pre_tuned_model: x", "line 4: params.pre_tuned_model: not in a profile"),
        (f"schedule: '@weekly'\n{PARAMS}  epochs: 3", "params.epochs: the tuning DAG has no such Param; it has: "),
        (f"schedule: '@weekly'\n{PARAMS}  epoch_count: six", "params.epoch_count: 'six' is not "),
        (f"schedule: '@weekly'\n{PARAMS}  suite: other", "params.suite: 'other' is not one of "),
        (f"schedule: '@weekly'\ngo_on_from: last\n{PARAMS}", "line 2: go_on_from: expected base, promoted, champion"),
        (f"schedule: '@weekly'\ngo_on_from: champion\n{PARAMS}", "go_on_from: champion needs params.champion"),
        (f"schedule: '@weekly'\ndescription: [x]\n{PARAMS}", "line 2: description: expected a text"),
        ("schedule: [", "cannot be read: line 1: invalid YAML"),
    ],
)
def test_a_mistake_names_file_and_field(tmp_path, text, said):
    path = written(tmp_path, text)
    profiles, errors = load_profiles(tmp_path, check)
    assert profiles == []
    assert len(errors) == 1
    assert str(errors[0]).startswith(f"{path}: ")
    assert said in str(errors[0])


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
    assert "c.yaml: watch: gs://bucket/train.jsonl is watched by a.yaml over another connection" in str(errors[0])
