"""Programs that know nothing of the emulator, started in a shell that has evaluated ``env``."""

import ast
import base64
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import google_crc32c
import pytest

from tests.vertex_emulator.examples import TRAINING, VALIDATION, jsonl, preferences
from vertex_emulator.process import Emulator

ROOT = Path(__file__).resolve().parents[2]
GUIDE = ROOT.parent / "shared" / "seed" / "gemini-checkpoints-guide.txt"
"""Google's guide, where the project has it: it is not ours to copy."""
SAMPLES = "gs://cloud-samples-data/ai-platform/generative_ai/gemini/text"


@pytest.fixture(scope="module")
def fast():
    """So fast that a job is over when somebody first looks."""
    with Emulator(speed=1_000_000) as emulator:
        for bucket in ("gs://data", SAMPLES):
            emulator.put_object(f"{bucket}/sft_train_data.jsonl", jsonl(TRAINING))
            emulator.put_object(f"{bucket}/sft_validation_data.jsonl", jsonl(VALIDATION))
        emulator.put_object("gs://data/preferences.jsonl", preferences(TRAINING))
        yield emulator


@pytest.fixture
def run(fast, tmp_path):
    """Runs a program and returns what it printed.

    Samples and operators sleep for a minute between two looks, however fast the clock runs; Python loads
    sitecustomize before a program, and this one takes the minute out.
    """
    (tmp_path / "sitecustomize.py").write_text("import time\ntime.sleep = lambda seconds: None\n")
    home = {"HOME": str(tmp_path), "PYTHONPATH": str(tmp_path), "PATH": os.environ["PATH"], "PYTHONWARNINGS": "ignore"}

    def runner(program, **more):
        shell = (
            f'set -e; settings="$("{sys.executable}" -m vertex_emulator env --port {fast.port})"; eval "$settings"; '
        )
        done = subprocess.run(
            ["sh", "-c", shell + f'exec "{sys.executable}" -c "$PROGRAM"'],
            cwd=ROOT,
            env={**home, "PROGRAM": program, **more},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return runner


def test_the_lines(fast, tmp_path):
    command = [sys.executable, "-m", "vertex_emulator", "env", "--port", str(fast.port), "--location", "europe-west4"]
    key = tmp_path / "a key.json"
    done = subprocess.run([*command, "--key-out", str(key)], cwd=ROOT, capture_output=True, text=True, check=True)
    assert all(re.match(r"export [A-Z_]+=\S", line) for line in done.stdout.splitlines())
    assert "export GOOGLE_CLOUD_LOCATION=europe-west4\n" in done.stdout
    assert f"export GOOGLE_APPLICATION_CREDENTIALS='{key}'\n" in done.stdout
    assert json.loads(key.read_text()) == fast.key()
    assert key.stat().st_mode & 0o777 == 0o600


def test_without_a_server():
    command = [sys.executable, "-m", "vertex_emulator", "env", "--port", "1"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert "no emulator answers" in done.stderr


def test_google_genai(run):
    program = """
from google import genai
for client in (genai.Client(), genai.Client(vertexai=True)):
    job = client.tunings.tune(
        base_model="gemini-2.5-flash",
        training_dataset=genai.types.TuningDataset(gcs_uri="gs://data/sft_train_data.jsonl"),
    )
    print(client.tunings.get(name=job.name).state.name)
    print(bool(client.models.generate_content(model="gemini-2.5-flash", contents="Hello?").text))
    print(job.name in [item.name for item in client.tunings.list()])
"""
    assert run(program).split() == ["JOB_STATE_SUCCEEDED", "True", "True"] * 2


def test_tuning_by_preference(run):
    program = """
from google import genai
client = genai.Client()
job = client.tunings.tune(
    base_model="gemini-2.5-flash",
    training_dataset=genai.types.TuningDataset(gcs_uri="gs://data/preferences.jsonl"),
    config=genai.types.CreateTuningJobConfig(method="PREFERENCE_TUNING", epoch_count=2),
)
job = client.tunings.get(name=job.name)
print(job.state.name, len(job.tuned_model.checkpoints), bool(job.preference_optimization_spec))
"""
    assert run(program).split() == ["JOB_STATE_SUCCEEDED", "2", "True"]


def test_tuning_goes_on_from_a_checkpoint(run):
    program = """
from google import genai
from google.genai.types import CreateTuningJobConfig, HttpOptions, TuningDataset
client = genai.Client(http_options=HttpOptions(api_version="v1beta1"))
data = TuningDataset(gcs_uri="gs://data/sft_train_data.jsonl")
for base, config in (("gemini-2.5-flash", {}), ("tuned", {"pre_tuned_model_checkpoint_id": "1"})):
    job = client.tunings.tune(
        base_model=job.tuned_model.model if base == "tuned" else base,
        training_dataset=data,
        config=CreateTuningJobConfig(tuned_model_display_name="mine", epoch_count=2, **config),
    )
    job = client.tunings.get(name=job.name)
    print(job.state.name, job.tuned_model.model.partition("@")[2])
print(job.pre_tuned_model.checkpoint_id)
"""
    assert run(program).split() == ["JOB_STATE_SUCCEEDED", "1", "JOB_STATE_SUCCEEDED", "2", "1"]


def test_jobs_are_listed_and_cancelled(fast, run):
    fast.faults([{"outcome": "stalled", "job": {"display_name": "endless"}}])
    program = """
from google import genai
from google.genai.types import CreateTuningJobConfig, HttpOptions, TuningDataset
client = genai.Client(http_options=HttpOptions(api_version="v1"))
job = client.tunings.tune(
    base_model="gemini-2.5-flash",
    training_dataset=TuningDataset(gcs_uri="gs://data/sft_train_data.jsonl"),
    config=CreateTuningJobConfig(tuned_model_display_name="endless", labels={"run-id": "seven"}),
)
print(client.tunings.get(name=job.name).state.name)
client.tunings.cancel(name=job.name)
(found,) = client.tunings.list(config={"filter": 'labels.run-id="seven"'})
print(found.name == job.name, client.tunings.get(name=job.name).state.name)
"""
    printed = run(program).split()
    fast.clear_faults()
    assert printed == ["JOB_STATE_RUNNING", "True", "JOB_STATE_CANCELLED"]


def test_google_genai_async(run):
    program = """
import asyncio
from google import genai
async def main():
    async with genai.Client().aio as client:
        job = await client.tunings.tune(
            base_model="gemini-2.5-flash",
            training_dataset=genai.types.TuningDataset(gcs_uri="gs://data/sft_train_data.jsonl"),
        )
        job = await client.tunings.get(name=job.name)
        reply = await client.models.generate_content(model=job.tuned_model.endpoint, contents="Hello?")
        print(job.state.name, bool(reply.text))
asyncio.run(main())
"""
    assert run(program).split() == ["JOB_STATE_SUCCEEDED", "True"]


def test_google_cloud_storage(run):
    program = """
from google.cloud import storage
client = storage.Client()
bucket = client.bucket("data")
bucket.blob("hello.txt").upload_from_string("Hello!")
print(client.project, bucket.blob("hello.txt").download_as_text())
"""
    assert run(program).split() == ["demo-project", "Hello!"]


def test_gcsfs(run):
    program = """
import gcsfs
files = gcsfs.GCSFileSystem()
with files.open("data/there.txt", "w") as file:
    file.write("There!")
print(files.cat("data/there.txt").decode(), files.ls("data/there.txt"))
"""
    assert run(program).split() == ["There!", "['data/there.txt']"]


def test_the_providers_storage_hook(run, tmp_path):
    program = """
from airflow.providers.google.cloud.hooks.gcs import GCSHook
hook, where = GCSHook(), ("data", "hook/there.txt")
hook.upload(*where, data="There!")
print("FOUND", hook.exists(*where), hook.download(*where).decode(), hook.list("data", prefix="hook/"))
print("FOUND", hook.get_size(*where), hook.get_crc32c(*where))
hook.delete(*where)
print("FOUND", hook.exists(*where))
"""
    printed = run(program, AIRFLOW_HOME=str(tmp_path / "airflow")).splitlines()
    checksum = base64.b64encode(google_crc32c.Checksum(b"There!").digest()).decode()
    assert [line.removeprefix("FOUND ") for line in printed if line.startswith("FOUND")] == [
        "True There! ['hook/there.txt']",
        f"6 {checksum}",
        "False",
    ]


def test_airflows_object_storage_path(run, tmp_path):
    program = """
from airflow.sdk import ObjectStoragePath
path = ObjectStoragePath("gs://data/path/there.txt", conn_id="google_cloud_default")
path.write_text("There!")
print(path.read_text(), path.stat().st_size, [item.name for item in path.parent.iterdir()])
path.unlink()
print(path.exists())
"""
    printed = run(program, AIRFLOW_HOME=str(tmp_path / "airflow")).splitlines()[-2:]
    assert printed == ["There! 6 ['there.txt']", "False"]


def test_google_cloud_aiplatform(run):
    """Its address can't be set by the environment alone: a program has to hand over one."""
    program = """
import os
from google.cloud import aiplatform
aiplatform.init(api_endpoint=os.environ["VERTEX_EMULATOR_URL"], api_transport="rest")
print([model.display_name for model in aiplatform.Model.list(filter="display_name=nothing")])
from google.cloud.aiplatform_v1 import ModelServiceClient
options = {"api_endpoint": os.environ["VERTEX_EMULATOR_URL"]}
client = ModelServiceClient(transport="rest", client_options=options)
parent = f"projects/{os.environ['GOOGLE_CLOUD_PROJECT']}/locations/{os.environ['GOOGLE_CLOUD_LOCATION']}"
print(type(client.list_models(parent=parent)).__name__)
"""
    assert run(program).split() == ["[]", "ListModelsPager"]


def test_the_providers_operator(fast, run, tmp_path):
    program = """
from airflow.providers.google.cloud.operators.gen_ai import GenAISupervisedFineTuningTrainOperator
operator = GenAISupervisedFineTuningTrainOperator(
    task_id="tune",
    project_id="demo-project",
    location="us-central1",
    source_model="gemini-2.5-flash",
    training_dataset={"gcs_uri": "gs://data/sft_train_data.jsonl"},
    tuning_job_config={"tuned_model_display_name": "from-the-operator", "epoch_count": 3},
)
class TaskInstance:
    def xcom_push(self, key, value):
        pushed[key] = value
pushed = {}
job = operator.execute({"ti": TaskInstance()})
print(job["tuned_model_endpoint_name"])
"""
    printed = run(program, AIRFLOW_HOME=str(tmp_path / "airflow"))
    assert printed.splitlines()[-1] in [endpoint["name"] for endpoint in fast.state()["endpoints"]]


def snippets(text):
    """The Python in a page that was saved as text: after each "Google Gen AI SDK", the longest piece that parses."""
    for part in text.split("\nGoogle Gen AI SDK\n")[1:]:
        lines = part.splitlines()
        code = next((code for end in range(len(lines), 0, -1) if _parses(code := "\n".join(lines[:end]))), "")
        if "genai.Client" in code:
            yield code


def _parses(code):
    try:
        ast.parse(code)
    except SyntaxError:
        return False
    return True


if GUIDE.exists():
    SNIPPETS = list(snippets(GUIDE.read_text()))

    def test_all_of_the_guide_is_there():
        assert len(SNIPPETS) == GUIDE.read_text().count("client = genai.Client(")

    @pytest.mark.parametrize("code", SNIPPETS, ids=range(1, len(SNIPPETS) + 1))
    def test_the_guide(fast, run, code):
        """Its code as it stands, but for the values that it asks the reader to fill in."""
        fast.reset()
        for name, examples in (("train", TRAINING), ("validation", VALIDATION)):
            fast.put_object(f"{SAMPLES}/sft_{name}_data.jsonl", jsonl(examples))
        if "output_gcs_uri" in code:
            code = code.replace('# output_gcs_uri = "gs://your-bucket/your-prefix"', 'output_gcs_uri = "gs://data/out"')
        else:
            fast.request(
                "POST",
                "/v1/projects/demo-project/locations/us-central1/tuningJobs",
                json={
                    "baseModel": "gemini-2.5-flash",
                    "supervisedTuningSpec": {
                        "trainingDatasetUri": f"{SAMPLES}/sft_train_data.jsonl",
                        "hyperParameters": {"epochCount": 2},
                    },
                },
            ).raise_for_status()
            job = fast.state()["tuningJobs"][0]["name"]
            code = f'tuning_job_name = "{job}"\ncheckpoint_id = "1"\n{code}'
        printed = run(code)
        (job,) = fast.state()["tuningJobs"]
        assert job["state"] == "JOB_STATE_SUCCEEDED"
        assert printed
        if 'print(f"Checkpoint' in code:
            assert len(re.findall(r"^Checkpoint \d+:", printed, re.M)) == len(job["tunedModel"]["checkpoints"])
        if "UpdateModelConfig" in code:
            assert "Default checkpoint: 2" in printed
            assert "Default checkpoint: 1" in printed
