"""``docker-compose.yaml`` and ``make env``, as far as they can be checked without Docker."""

import json
import re
import shutil
import stat
import subprocess
import sys
from base64 import urlsafe_b64decode
from pathlib import Path

import pytest
import yaml

from demo.__main__ import CONF, DATA
from demo.stack import BUCKET, Stack
from tests.cluster import compose

REPOSITORY = Path(__file__).resolve().parents[1]
TEXT = (REPOSITORY / "docker-compose.yaml").read_text(encoding="utf-8")
COMPOSE = yaml.safe_load(TEXT)
SERVICES = COMPOSE["services"]
AIRFLOW = {name: service for name, service in SERVICES.items() if name.startswith("airflow-")}
BUILDER = "airflow-init"
DOCKERFILE = SERVICES[BUILDER]["build"]["dockerfile_inline"]
SCRIPT = SERVICES["airflow-init"]["command"][-1].replace("$$", "$")
ONE_SHOT = {"airflow-init", "google-credentials"}
PROFILES = {"vertex-emulator": ["emulator"], "google-credentials": ["google"]}
REQUIRED = set(re.findall(r"(?<!\$)\$\{(\w+):\?", TEXT))
SECRETS = REQUIRED - {"COMPOSE_PROFILES"}
MAKE = shutil.which("make")


def airflow_version():
    return re.search(r"^apache-airflow==(\S+)$", (REPOSITORY / "constraints.txt").read_text(), re.MULTILINE)[1]


def strings(value):
    """All strings in a YAML value."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        return [text for item in value for text in strings(item)]
    return [value] if isinstance(value, str) else []


def test_the_file_keeps_to_the_compose_specification():
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    command.append(str(REPOSITORY / "docker-compose.yaml"))
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


# ------------------------------------------------------------------------------------------------ secrets


def test_every_secret_has_to_be_given():
    assert {
        "POSTGRES_PASSWORD",
        "REDIS_PASSWORD",
        "AIRFLOW_FERNET_KEY",
        "AIRFLOW_API_SECRET_KEY",
        "AIRFLOW_JWT_SECRET",
        "AIRFLOW_ADMIN_PASSWORD",
    } == SECRETS


def test_nothing_but_a_port_and_what_one_profile_needs_has_a_default():
    others = set(re.findall(r"(?<!\$)\$\{(\w+)(?!:\?)\b", TEXT)) - REQUIRED
    assert {name for name in others if not name.endswith("_PORT")} == {"GOOGLE_PROJECT", "GOOGLE_CREDENTIALS"}
    assert not re.search(r"(?<!\$)\$[A-Za-z_]", TEXT), "a variable without braces can't be required"


@pytest.mark.parametrize("name", sorted(REQUIRED))
def test_a_missing_secret_says_what_to_do(name):
    uses = re.findall(rf"\$\{{{name}([^}}]*)\}}", TEXT)
    assert set(uses) == {":?run make env first"}


def test_settings_that_hold_a_secret_take_it_from_the_environment():
    environments = [service.get("environment", {}) for service in SERVICES.values()]
    for name, value in [item for environment in environments for item in environment.items()]:
        if re.search(r"PASSWORD$|SECRET|_KEY$|SQL_ALCHEMY_CONN|BROKER_URL|AUTH$", name):
            assert ":?run make env first}" in value, name
    assert SERVICES["redis"]["command"][-2:] == ["--requirepass", "${REDIS_PASSWORD:?run make env first}"]
    assert json.loads(COMPOSE["configs"]["passwords"]["content"]) == {
        "admin": "${AIRFLOW_ADMIN_PASSWORD:?run make env first}"
    }


# ------------------------------------------------------------------------------------------------ images


def test_every_image_is_pinned_to_a_version():
    images = {service["image"] for service in SERVICES.values()} | set(re.findall(r"^FROM (\S+)", DOCKERFILE, re.M))
    assert len(images) == 4
    for image in images:
        assert re.search(r":\d+(\.\d+)*(-python3\.\d+|-bookworm)?$", image), image


def test_the_image_is_the_pinned_airflow():
    version = airflow_version()
    assert re.match(rf"FROM apache/airflow:{re.escape(version)}-python3\.12\n", DOCKERFILE)
    assert SERVICES[BUILDER]["image"].endswith(f":{version}")


def test_the_image_is_built_once_and_before_anyone_uses_it():
    assert [name for name, service in SERVICES.items() if "build" in service] == [BUILDER]
    assert "profiles" not in SERVICES[BUILDER]
    users = [service for name, service in SERVICES.items() if name not in ("postgres", "redis")]
    assert {service["image"] for service in users} == {SERVICES[BUILDER]["image"]}
    assert all(service["pull_policy"] == "never" for service in users)
    assert all("airflow-init" in service["depends_on"] for name, service in AIRFLOW.items() if name != "airflow-init")


def test_the_image_gets_the_pinned_packages_and_nothing_else_of_the_repository():
    copied = re.search(r"^COPY (.+) /tmp/$", DOCKERFILE, re.M)[1].split()
    lines = (REPOSITORY / ".dockerignore").read_text().splitlines()
    assert [line for line in lines if line and not line.startswith("#")] == ["*", *[f"!{name}" for name in copied]]
    assert "-r /tmp/needed.txt -c /tmp/constraints.txt" in DOCKERFILE
    assert all((REPOSITORY / name).is_file() for name in copied)


def test_the_image_gets_what_runs_in_it_and_no_tools_of_ours(tmp_path):
    # Not in place: in /tmp nobody may replace a file of root's, and COPY makes them root's.
    (command,) = re.findall(r"sed '.* > /tmp/needed.txt", DOCKERFILE)
    command = command.replace("/tmp/needed.txt", f"{tmp_path}/needed.txt")
    subprocess.run(["bash", "-euc", command.replace("/tmp/", f"{REPOSITORY}/", 1)], check=True)
    names = set(re.findall(r"^[a-z0-9-]+", (tmp_path / "needed.txt").read_text(), re.M))
    assert {"google-genai", "starlette", "apache-airflow-providers-celery", "celery", "psycopg2-binary"} <= names
    assert names.isdisjoint({"pytest", "playwright", "ruff", "psutil"})


# ------------------------------------------------------------------------------------------------ services


def test_the_parts_of_airflow():
    commands = {service["command"] for service in AIRFLOW.values() if isinstance(service["command"], str)}
    assert commands == {"api-server", "scheduler", "dag-processor", "triggerer", "celery worker"}


def test_there_is_a_second_triggerer_and_workers_can_be_added():
    assert SERVICES["airflow-triggerer"]["scale"] == 2
    for name in ("airflow-triggerer", "airflow-worker"):
        assert not {"ports", "container_name", "hostname"} & set(SERVICES[name]), name


def test_profiles_are_for_the_emulator_and_for_a_project():
    assert {name: service["profiles"] for name, service in SERVICES.items() if "profiles" in service} == PROFILES
    for service in SERVICES.values():
        for other, how in service.get("depends_on", {}).items():
            assert how.get("required", True) is (other not in PROFILES), other


def test_limits_are_set_and_fit_on_two_cores():
    for name in SERVICES.keys() - ONE_SHOT:
        service = SERVICES[name]
        assert 0 < service["cpus"] <= 2, f"{name}: Docker refuses more than the machine has"
        assert re.fullmatch(r"\d+[mg]", service["mem_limit"]), name


def test_ports_are_this_machine_s_only():
    ports = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert ports == {
        "airflow-apiserver": ["127.0.0.1:${AIRFLOW_PORT:-8080}:8080"],
        "vertex-emulator": ["127.0.0.1:${VERTEX_EMULATOR_PORT:-8099}:8099"],
    }
    assert {service.get("network_mode", "none") for service in SERVICES.values()} == {"none"}
    assert not any(service.get("privileged") for service in SERVICES.values())


def test_all_that_stays_up_is_watched_and_comes_back():
    for name, service in SERVICES.items():
        if name in ONE_SHOT:
            assert service["restart"] == "no"
            continue
        assert service["restart"] == "unless-stopped", name
        check = service["healthcheck"]
        expected = ("60s", "180s") if name in AIRFLOW else ("30s", "60s")
        assert (check["timeout"], check["start_period"]) == expected, name
        if "jobs check" in str(check["test"]):
            assert (check["interval"], check["start_interval"]) == ("5m", "15s"), f"{name}: seconds of CPU time each"


def test_dependencies_exist_and_wait_for_what_the_service_can_tell():
    for name, service in SERVICES.items():
        for other, how in service.get("depends_on", {}).items():
            one_shot = SERVICES[other]["restart"] == "no"
            expected = "service_completed_successfully" if one_shot else "service_healthy"
            assert how["condition"] == expected, f"{name} on {other}"


def test_mounts_of_the_repository_exist_and_are_read_only():
    mounts = {mount for service in SERVICES.values() for mount in service.get("volumes", []) if mount.startswith("./")}
    assert {mount.split(":")[0] for mount in mounts} == {"./dags", "./plugins", "./vertex_emulator", "./demo/data"}
    for mount in mounts:
        source, target, mode = mount.split(":")
        assert (REPOSITORY / source).is_dir(), source
        assert target == f"/opt/airflow/{source.removeprefix('./')}"
        assert mode == "ro"


def test_volumes_are_declared():
    mounts = {mount for service in SERVICES.values() for mount in service.get("volumes", [])}
    assert {mount.split(":")[0] for mount in mounts if mount[0] not in ".$"} == set(COMPOSE["volumes"])


def test_every_part_of_airflow_has_the_same_keys_database_and_code():
    shared = SERVICES["airflow-scheduler"]["environment"]
    for name, service in AIRFLOW.items():
        assert shared.items() <= service["environment"].items(), name
        if name != "airflow-init":
            assert service["volumes"] == SERVICES["airflow-scheduler"]["volumes"], name


# ------------------------------------------------------------------------------------------------ the demo's twin


def test_airflow_runs_as_in_the_demo(tmp_path, monkeypatch):
    monkeypatch.setattr(Stack, "emulator", lambda *_: {})
    demo = Stack(tmp_path)._airflow_environment()
    ours = SERVICES["airflow-apiserver"]["environment"]
    for name in (
        "AIRFLOW__CORE__LOAD_EXAMPLES",
        "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS",
        "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL",
    ):
        assert ours[name] == demo[name]
    assert ours["AIRFLOW__CORE__EXECUTION_API_SERVER_URL"] == "http://airflow-apiserver:8080/execution/"


def test_the_demo_s_data_goes_where_its_run_looks_for_it():
    assert f"--bucket={BUCKET}" in SERVICES["vertex-emulator"]["command"]
    assert f'client.bucket("{BUCKET}").blob(f"ferry_support/{{path.name}}")' in SCRIPT
    uris = [CONF["training_dataset_uri"], CONF["validation_dataset_uri"]]
    assert {f"gs://{BUCKET}/ferry_support/{path.name}" for path in DATA.glob("*.jsonl")} == set(uris)


def test_the_scripts_inside_are_valid():
    subprocess.run(["bash", "-n"], input=SCRIPT, text=True, check=True)
    python = re.search(r"<<'PYTHON'\n(.*)^PYTHON$", SCRIPT, re.DOTALL | re.MULTILINE)[1]
    compile(python, "airflow-init", "exec")


# ------------------------------------------------------------------------------------------------ one connection


def init(tmp_path, profiles, project=""):
    """Run the script of airflow-init; ``airflow`` and ``python`` are stand-ins that write down how they were called."""
    for name in ("airflow", "python"):
        stand_in = tmp_path / name
        stand_in.write_text(f'#!/bin/sh\necho "{name} $*" >> {tmp_path}/calls\necho \'{{"of": "the emulator"}}\'\n')
        stand_in.chmod(0o755)
    script = SCRIPT.replace("/opt/airflow", str(tmp_path))
    env = {"PATH": f"{tmp_path}:/usr/bin:/bin", "COMPOSE_PROFILES": profiles, "GOOGLE_PROJECT": project}
    return subprocess.run(["bash", "-euc", script], env=env, capture_output=True, text=True, check=False)


def connection(tmp_path):
    return json.loads((tmp_path / "connections.json").read_text())["google_cloud_default"]


def test_the_emulator_profile_connects_to_the_emulator(tmp_path):
    assert init(tmp_path, "emulator").returncode == 0
    assert connection(tmp_path) == {"of": "the emulator"}
    assert f"airflow connections import --overwrite {tmp_path}/connections.json" in (tmp_path / "calls").read_text()


def test_the_google_profile_connects_to_the_project_and_uploads_nothing(tmp_path):
    assert init(tmp_path, "google", "my-project").returncode == 0
    assert connection(tmp_path) == {"conn_type": "google_cloud_platform", "extra": {"project": "my-project"}}
    assert "python" not in (tmp_path / "calls").read_text()


@pytest.mark.parametrize(
    ("profiles", "project", "said"),
    [
        ("google", "", "GOOGLE_PROJECT: put it into .env"),
        ("emulator,google", "p", "emulator or google"),
        ("", "", "emulator or"),
    ],
)
def test_without_one_clear_profile_nothing_is_connected(tmp_path, profiles, project, said):
    done = init(tmp_path, profiles, project)
    assert done.returncode != 0
    assert said in done.stderr
    assert not (tmp_path / "calls").exists()


# ------------------------------------------------------------------------------------------------ make env


def make_env(folder):
    assert MAKE, "make is needed"
    folder.mkdir(exist_ok=True)
    shutil.copy(REPOSITORY / "Makefile", folder)
    return subprocess.run([MAKE, "env"], cwd=folder, capture_output=True, text=True, check=False)


def values(folder):
    return dict(line.split("=", 1) for line in (folder / ".env").read_text().splitlines())


def test_make_env_gives_all_that_the_file_requires(tmp_path):
    done = make_env(tmp_path)
    assert done.returncode == 0, done.stderr
    written = values(tmp_path)
    assert set(written) == REQUIRED
    assert written["COMPOSE_PROFILES"] == "emulator"
    assert stat.S_IMODE((tmp_path / ".env").stat().st_mode) == 0o600
    assert sorted(path.name for path in tmp_path.iterdir()) == [".env", "Makefile"]
    assert all(written[name] not in done.stdout for name in SECRETS)


def test_secrets_are_long_enough_and_need_no_quoting(tmp_path):
    make_env(tmp_path)
    written = values(tmp_path)
    assert len(written["AIRFLOW_JWT_SECRET"]) >= 64
    assert len(urlsafe_b64decode(written["AIRFLOW_FERNET_KEY"])) == 32
    assert all(len(written[name]) >= 16 for name in SECRETS)
    assert all(re.fullmatch(r"[A-Za-z0-9_=-]+", value) for value in written.values()), "goes into a URL and into JSON"


def test_each_env_is_different(tmp_path):
    make_env(tmp_path / "a")
    make_env(tmp_path / "b")
    a, b = values(tmp_path / "a"), values(tmp_path / "b")
    assert all(a[name] != b[name] for name in SECRETS)


def test_make_env_leaves_an_existing_file_alone(tmp_path):
    (tmp_path / ".env").write_text("POSTGRES_PASSWORD=mine\n")
    done = make_env(tmp_path)
    assert done.returncode != 0
    assert "make: .env is there already" in done.stderr
    assert "Traceback" not in done.stderr
    assert (tmp_path / ".env").read_text() == "POSTGRES_PASSWORD=mine\n"


# ------------------------------------------------------------------------------------------------ make test-cluster


FILLED = {name: f"a-{name}" for name in REQUIRED} | {"COMPOSE_PROFILES": "emulator"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$${HOSTNAME} costs $$5", "${HOSTNAME} costs $5"),
        ("http://localhost:${PORT:-8080}", "http://localhost:8080"),
        ("${EMPTY:-8080}|${EMPTY}|${EMPTY:+/path}", "8080||"),
        ("${SET:-8080}|${SET}|${SET:+/path}|${SET:?say it}", "1|1|/path|1"),
    ],
)
def test_variables_are_filled_in_as_docker_compose_does(text, expected):
    assert compose.interpolate({"a": [text, 3]}, {"SET": "1", "EMPTY": ""}) == {"a": [expected, 3]}


@pytest.mark.parametrize("name", sorted(SECRETS))
def test_a_missing_secret_is_refused(name):
    with pytest.raises(ValueError, match=f"{name}: run make env first"):
        compose.read({**FILLED, name: ""})


def test_services_of_another_profile_are_left_out_and_the_others_start_after_what_they_need():
    for profile, absent in (("emulator", "google-credentials"), ("google", "vertex-emulator")):
        services = compose.read({**FILLED, "COMPOSE_PROFILES": profile})["services"]
        assert set(SERVICES) - set(services) == {absent}
        order = [name for name, _ in compose.in_order(services)]
        assert order.index("postgres") < order.index("airflow-init") < order.index("airflow-worker")


def test_commands_are_what_the_images_would_run():
    services = compose.read(FILLED)["services"]
    assert compose.command(services["airflow-worker"]) == ["airflow", "celery", "worker"]
    assert compose.command(services["airflow-init"])[:2] == ["bash", "-euc"]
    assert compose.command(services["vertex-emulator"])[:3] == ["python", "-m", "vertex_emulator"]
    assert compose.command(services["redis"])[0] == "redis-server"
    assert compose.command(services["redis"])[-1] == "a-REDIS_PASSWORD"
