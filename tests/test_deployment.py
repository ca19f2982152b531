"""docs/deployment.md, as far as it can be checked without Docker, Kubernetes and Google."""

import json
import re
import subprocess
from pathlib import Path

import pytest
import yaml

REPOSITORY = Path(__file__).resolve().parents[1]
TEXT = (REPOSITORY / "docs" / "deployment.md").read_text(encoding="utf-8")
COMPOSE = yaml.safe_load((REPOSITORY / "docker-compose.yaml").read_text(encoding="utf-8"))
SERVICES = COMPOSE["services"]
SHARED = SERVICES["airflow-scheduler"]["environment"]


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)


VALUES = yaml.safe_load(blocks("yaml")[0])
ENV = {item["name"]: item["value"] for item in VALUES["env"]}


def test_the_chart_gets_the_settings_of_the_compose_file():
    own = {"AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT", "AIRFLOW__CELERY__EXTRA_CELERY_CONFIG"}
    assert {name: value for name, value in ENV.items() if name not in own} == {
        # The rest is the chart's own matter: addresses and secrets, how changed DAGs arrive, health checks.
        name: value
        for name, value in SHARED.items()
        if name.startswith("AIRFLOW__")
        and not re.search(r"URL|KEY|SECRET|CONN|__EXECUTOR|REFRESH_INTERVAL|ENABLE_HEALTH_CHECK", name)
    }
    worker = SERVICES["airflow-worker"]["environment"]
    assert json.loads(ENV["AIRFLOW__CELERY__EXTRA_CELERY_CONFIG"]) == json.loads(
        worker["AIRFLOW__CELERY__EXTRA_CELERY_CONFIG"]
    )
    assert VALUES["executor"] == SHARED["AIRFLOW__CORE__EXECUTOR"]
    assert VALUES["triggerer"]["replicas"] == SERVICES["airflow-triggerer"]["scale"]


def test_the_connection_is_that_of_the_google_profile():
    script = SERVICES["airflow-init"]["command"][-1]
    written = re.search(r"connection='(\{.*\}\})'", script)[1].replace("'$$GOOGLE_PROJECT'", "PROJECT")
    assert json.loads(ENV["AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT"]) == json.loads(written)


def test_the_chart_s_image_is_that_of_the_compose_file_with_the_code():
    (dockerfile,) = blocks("dockerfile")
    ours = SERVICES["airflow-init"]["build"]["dockerfile_inline"]
    steps = [line.strip() for line in ours.splitlines() if line and not line.startswith("#")][:4]
    assert [line.strip() for line in dockerfile.splitlines()] == [
        *steps,
        "COPY dags /opt/airflow/dags",
        "COPY plugins /opt/airflow/plugins",
    ]
    assert VALUES["images"]["airflow"]["tag"] == VALUES["airflowVersion"]
    assert SERVICES["airflow-init"]["image"].endswith(f":{VALUES['airflowVersion']}")


def test_the_secrets_that_the_chart_is_told_of_are_made():
    told = {VALUES[name] for name in ("fernetKeySecretName", "jwtSecretName", "apiSecretKeySecretName")}
    told |= set(VALUES["data"].values())
    assert set(re.findall(r"^secret (\S+) ", "\n".join(blocks("bash")), re.MULTILINE)) == told


@pytest.mark.parametrize("block", blocks("bash"))
def test_commands_are_valid_shell(block):
    subprocess.run(["bash", "-n"], input=block, text=True, check=True)


def test_all_settings_of_the_env_file_are_explained():
    used = set(re.findall(r"(?<!\$)\$\{(\w+):?[?+-]", (REPOSITORY / "docker-compose.yaml").read_text()))
    assert {name for name in used if not name.endswith("_PORT") and name not in TEXT} == set()


def test_each_service_s_limit_is_in_the_table():
    lasting = {name: service["mem_limit"] for name, service in SERVICES.items() if service["restart"] != "no"}
    assert dict(re.findall(r"^\| `([a-z-]+)` \| (\d+[mg]) \|", TEXT, re.MULTILINE)) == lasting
