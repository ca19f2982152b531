"""The pipeline's steps as a plain script with Google's SDK, as one would write it for a single run.

Usage: ``plain_script.py PROJECT BUCKET SUITE``; credentials and addresses come from Google's own environment variables.
It does the same work on the service: reads the data, tunes, asks every checkpoint every prompt of the suite (8 at once,
all checkpoints side by side), sets the best as default, copies the model, compares the copy, writes a report. What it
leaves out is everything that needs no service: schedule, retries, exactly one job, cancelling, statistics, approval.
"""

import asyncio
import json
import os
import sys
import time

import yaml
from google import genai
from google.api_core.client_options import ClientOptions
from google.cloud.aiplatform_v1 import CopyModelRequest, ModelServiceClient
from google.cloud.storage import Blob, Client
from google.genai import types

LOCATION, COPY_LOCATION, AT_ONCE = "us-central1", "europe-west4", 8


def main(project: str, folder: str, suite_file: str) -> None:
    """Tune, test, promote, copy, report."""
    files = Client(project=project, client_options={"api_endpoint": os.environ["API_ENDPOINT_OVERRIDE"]})
    for name in ("train", "validation"):
        text = Blob.from_uri(f"{folder}/{name}.jsonl", client=files).download_as_text()
        assert all("contents" in json.loads(line) for line in text.splitlines())
    client = genai.Client(vertexai=True, project=project, location=LOCATION)
    job = client.tunings.tune(
        base_model="gemini-2.5-flash",
        training_dataset=types.TuningDataset(gcs_uri=f"{folder}/train.jsonl"),
        config=types.CreateTuningJobConfig(
            epoch_count=6,
            validation_dataset=types.TuningValidationDataset(gcs_uri=f"{folder}/validation.jsonl"),
        ),
    )
    while not job.has_ended:
        time.sleep(1)
        job = client.tunings.get(name=job.name)
    with open(suite_file, encoding="utf-8") as suite:  # noqa: PTH123
        cases = yaml.safe_load(suite)["cases"]
    scores = asyncio.run(ask_all(client, job.tuned_model.checkpoints, cases))
    best = max(scores, key=lambda checkpoint: scores[checkpoint])
    model = client.models.update(
        model=job.tuned_model.model, config=types.UpdateModelConfig(default_checkpoint_id=best)
    )
    assert client.models.get(model=job.tuned_model.model).default_checkpoint_id == best
    copy = copy_model(project, job.tuned_model.model)
    client_there = genai.Client(vertexai=True, project=project, location=COPY_LOCATION)
    there = client_there.models.get(model=copy)
    assert [c.checkpoint_id for c in there.checkpoints] == [c.checkpoint_id for c in model.checkpoints]
    report = json.dumps({"winner": best, "scores": scores, "copy": copy})
    Blob.from_uri(f"{folder}/report.json", client=files).upload_from_string(report)
    print(report)


async def ask_all(client: genai.Client, checkpoints: list[types.TunedModelCheckpoint], cases: list[dict]) -> dict:
    """Ask all checkpoints side by side; returns how many cases each has passed."""
    passed = await asyncio.gather(*(ask(client, checkpoint.endpoint, cases) for checkpoint in checkpoints))
    return {checkpoint.checkpoint_id: count for checkpoint, count in zip(checkpoints, passed, strict=True)}


async def ask(client: genai.Client, endpoint: str, cases: list[dict]) -> int:
    """Ask one checkpoint the suite; returns how many answers have all that their case asks for literally."""
    limit = asyncio.Semaphore(AT_ONCE)

    async def passes(case: dict) -> bool:
        async with limit:
            answer = await client.aio.models.generate_content(model=endpoint, contents=str(case["prompt"]))
        wanted = [check["value"] for check in case.get("assert", ()) if check["type"] == "contains"]
        return all(value in answer.text for value in wanted)

    return sum(await asyncio.gather(*(passes(case) for case in cases)))


def copy_model(project: str, model: str) -> str:
    """Copy the model; returns the copy's name."""
    options = ClientOptions(api_endpoint=os.environ["VERTEX_EMULATOR_URL"])
    with ModelServiceClient(transport="rest", client_options=options) as service:
        request = CopyModelRequest(parent=f"projects/{project}/locations/{COPY_LOCATION}", source_model=model)
        return service.copy_model(request).result(timeout=300).model


if __name__ == "__main__":
    main(*sys.argv[1:])
