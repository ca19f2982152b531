"""A session that uses all of the emulator with Google's clients, as they are."""

from typing import Any

from tests.vertex_emulator.clients import SCOPES, make_genai_client
from tests.vertex_emulator.examples import TRAINING
from vertex_emulator.process import Emulator

PARENT = "projects/demo-project/locations/us-central1"
PROMPT = TRAINING[0][0]


async def broad_session(emulator: Emulator) -> None:
    """Call everything that is served at least once."""
    from google.oauth2 import service_account

    credentials = service_account.Credentials.from_service_account_info(emulator.key(), scopes=SCOPES)
    with make_genai_client(emulator, credentials, "v1beta1") as client:
        job = _tune(emulator, client)
        _use_models(client, job)
    with make_genai_client(emulator, credentials, "v1") as client:
        _tune(emulator, client)
        _use_models(client, job)
    async with make_genai_client(emulator, credentials, "v1beta1").aio as client:
        await _asynchronously(emulator, client)
    _tune_with_the_generated_client(emulator, credentials)
    _use_registry(emulator, credentials, job.tuned_model.model)
    _use_endpoints(emulator, credentials, job.tuned_model.model)
    _use_metrics(emulator, credentials, job)
    _send_plain_requests(emulator, job)
    _cleanup(emulator, credentials, job)


def _config(**more: Any) -> Any:
    from google.genai import types

    evaluation = types.EvaluationConfig(
        metrics=[types.Metric(name="FLUENCY", prompt_template="Evaluate this {response}")],
        output_config=types.OutputConfig(
            gcs_destination=types.GcsDestination(output_uri_prefix="gs://data/evaluation")
        ),
    )
    return types.CreateTuningJobConfig(
        tuned_model_display_name="session",
        epoch_count=2,
        learning_rate_multiplier=0.5,
        adapter_size=types.AdapterSize.ADAPTER_SIZE_FOUR,
        validation_dataset=types.TuningValidationDataset(gcs_uri="gs://data/valid.jsonl"),
        labels={"team": "a"},
        description="All that can be set",
        export_last_checkpoint_only=False,
        evaluation_config=evaluation,
        **more,
    )


def _tune(emulator: Emulator, client: Any) -> Any:
    """One job from its start to its end, one that is cancelled, one that goes on from the first."""
    from google.genai.types import CreateTuningJobConfig, TuningDataset

    training = TuningDataset(gcs_uri="gs://data/train.jsonl")
    job = client.tunings.tune(base_model="gemini-2.5-flash", training_dataset=training, config=_config())
    while not job.has_ended:
        emulator.advance(0.5)
        job = client.tunings.get(name=job.name)
    again = client.tunings.tune(
        base_model=job.tuned_model.model,
        training_dataset=training,
        config=CreateTuningJobConfig(epoch_count=1, pre_tuned_model_checkpoint_id="1"),
    )
    preference = CreateTuningJobConfig(method="PREFERENCE_TUNING", epoch_count=1, beta=0.5)
    liked = TuningDataset(gcs_uri="gs://data/preference.jsonl")
    liked_job = client.tunings.tune(base_model="gemini-2.5-flash", training_dataset=liked, config=preference)
    client.tunings.cancel(name=again.name)
    emulator.advance(60)
    assert client.tunings.get(name=liked_job.name).state == "JOB_STATE_SUCCEEDED"
    assert len(list(client.tunings.list(config={"page_size": 1, "filter": 'labels.team="a"'}))) > 0
    return job


def _use_models(client: Any, job: Any) -> None:
    from google.genai.errors import ClientError
    from google.genai.types import GenerateContentConfig, UpdateModelConfig

    client.models.get(model=job.tuned_model.model)
    client.models.update(model=job.tuned_model.model, config=UpdateModelConfig(default_checkpoint_id="1"))
    list(client.models.list(config={"query_base": False, "page_size": 1, "filter": 'display_name="session"'}))
    config = GenerateContentConfig(
        system_instruction="Be brief.", temperature=0.5, max_output_tokens=50, labels={"a": "b"}
    )
    for model in (job.tuned_model.endpoint, "gemini-2.5-flash"):
        client.models.generate_content(model=model, contents=PROMPT, config=config)
        list(client.models.generate_content_stream(model=model, contents=PROMPT))
        client.models.count_tokens(model=model, contents=PROMPT)
    for call in (client.models.generate_content, client.models.count_tokens):
        try:
            call(model=job.tuned_model.model, contents=PROMPT)
        except ClientError as error:
            assert error.code == 400
    try:
        list(client.models.generate_content_stream(model=job.tuned_model.model, contents=PROMPT))
    except ClientError as error:
        assert error.code == 400


async def _asynchronously(emulator: Emulator, client: Any) -> None:
    from google.genai.types import TuningDataset

    training = TuningDataset(gcs_uri="gs://data/train.jsonl")
    job = await client.tunings.tune(base_model="gemini-2.5-flash", training_dataset=training, config=_config())
    emulator.advance(60)
    job = await client.tunings.get(name=job.name)
    await client.models.generate_content(model=job.tuned_model.endpoint, contents=PROMPT)
    async for _ in await client.models.generate_content_stream(model=job.tuned_model.endpoint, contents=PROMPT):
        pass


def _use_registry(emulator: Emulator, credentials: Any, model: str) -> None:
    from google.cloud import aiplatform_v1, aiplatform_v1beta1

    bare = model.partition("@")[0]
    for api in (aiplatform_v1, aiplatform_v1beta1):
        options = {"api_endpoint": emulator.url}
        with api.ModelServiceClient(transport="rest", credentials=credentials, client_options=options) as client:
            client.get_model(name=model)
            change = api.Model(name=model, description="new")
            client.update_model(model=change, update_mask={"paths": ["description"]})
            list(client.list_models(parent=PARENT))
            list(client.list_models({"parent": PARENT, "read_mask": {"paths": ["name", "labels"]}}))
            list(client.list_model_versions({"name": bare, "order_by": "create_time desc"}))
            client.merge_version_aliases(name=model, version_aliases=["champion"])
            request = {"parent": PARENT, "source_model": model}
            operation = client.copy_model(request)
            assert not client.transport.operations_client.get_operation(operation.operation.name).done
            emulator.advance(10)
            copied = operation.result(timeout=10).model
            second = client.copy_model({**request, "parent_model": copied})
            emulator.advance(10)
            client.delete_model_version(name=f"{copied}@{second.result(timeout=10).model_version_id}")
            client.get_operation({"name": operation.operation.name})
            list(client.transport.operations_client.list_operations(name=copied, filter_="done=true"))
            client.list_operations({"name": copied})
            version = api.__name__.rpartition("_")[2]
            emulator.request("GET", f"/{version}/{operation.operation.name}").raise_for_status()
            client.delete_model(name=copied)


def _send_plain_requests(emulator: Emulator, job: Any) -> None:
    """What none of the clients above sends."""
    model, endpoint = job.tuned_model.model, job.tuned_model.endpoint
    for version in ("v1", "v1beta1"):
        for path in (
            f"{model}:listCheckpoints",
            f"{model}/operations?pageSize=1",
            endpoint,
            f"{endpoint}/operations",
            f"{PARENT}/endpoints?pageSize=1",
            f"{PARENT}/evaluationRuns?orderBy=create_time&pageSize=1",
            job.evaluate_dataset_runs[0].evaluation_run,
        ):
            emulator.request("GET", f"/{version}/{path}").raise_for_status()


def _tune_with_the_generated_client(emulator: Emulator, credentials: Any) -> None:
    from google.cloud import aiplatform_v1, aiplatform_v1beta1

    for api in (aiplatform_v1, aiplatform_v1beta1):
        spec = {
            "training_dataset_uri": "gs://data/train.jsonl",
            "hyper_parameters": {"epoch_count": 2, "adapter_size": "ADAPTER_SIZE_ONE"},
        }
        options = {"api_endpoint": emulator.url}
        with api.GenAiTuningServiceClient(transport="rest", credentials=credentials, client_options=options) as client:
            wanted = {"base_model": "gemini-2.5-flash", "supervised_tuning_spec": spec}
            job = client.create_tuning_job(parent=PARENT, tuning_job=wanted)
            client.cancel_tuning_job(name=job.name)
            emulator.advance(60)
            assert client.get_tuning_job(name=job.name).state.name == "JOB_STATE_CANCELLED"
            assert job.name in [item.name for item in client.list_tuning_jobs(parent=PARENT)]


def _use_endpoints(emulator: Emulator, credentials: Any, model: str) -> None:
    from google.cloud import aiplatform_v1, aiplatform_v1beta1

    for api in (aiplatform_v1, aiplatform_v1beta1):
        options = {"api_endpoint": emulator.url}
        with api.EndpointServiceClient(transport="rest", credentials=credentials, client_options=options) as client:
            made = client.create_endpoint(
                parent=PARENT, endpoint=api.Endpoint(display_name="by hand", description="d", labels={"a": "b"})
            )
            emulator.advance(10)
            endpoint = made.result(timeout=10).name
            for checkpoint, split in (("1", {"0": 100}), ("2", {})):
                deployed_model = api.DeployedModel(model=model, checkpoint_id=checkpoint, display_name="d")
                deployed = client.deploy_model(endpoint=endpoint, deployed_model=deployed_model, traffic_split=split)
                emulator.advance(10)
                deployed_id = deployed.result(timeout=10).deployed_model.id
            assert len(list(client.transport.operations_client.list_operations(name=endpoint, filter_=""))) == 3
            change = api.Endpoint(name=endpoint, traffic_split={deployed_id: 100})
            client.update_endpoint(endpoint=change, update_mask={"paths": ["traffic_split"]})
            for item in client.get_endpoint(name=endpoint).deployed_models:
                client.undeploy_model(endpoint=endpoint, deployed_model_id=item.id).result(timeout=10)
            client.delete_endpoint(name=endpoint).result(timeout=10)


def _use_metrics(emulator: Emulator, credentials: Any, job: Any) -> None:
    """From the job's experiment to its curves."""
    from google.cloud import aiplatform_v1, aiplatform_v1beta1

    for api in (aiplatform_v1, aiplatform_v1beta1):
        settings = {
            "transport": "rest",
            "credentials": credentials,
            "client_options": {"api_endpoint": emulator.url},
        }
        with api.MetadataServiceClient(**settings) as metadata, api.TensorboardServiceClient(**settings) as boards:
            board = metadata.get_context(name=job.experiment).metadata["backing_tensorboard_resource"]
            wanted = f'schema_title="system.ExperimentRun" AND parent_contexts:"{job.experiment}"'
            store = job.experiment.partition("/contexts/")[0]
            list(metadata.list_contexts({"parent": store, "filter": wanted, "page_size": 5}))
            boards.get_tensorboard(name=board)
            experiment = f"{board}/experiments/{job.experiment.rpartition('/')[2]}"
            boards.get_tensorboard_experiment(name=experiment)
            (run,) = boards.list_tensorboard_runs(parent=experiment)
            boards.get_tensorboard_run(name=run.name)
            series = [item.name for item in boards.list_tensorboard_time_series(parent=run.name)]
            boards.get_tensorboard_time_series(name=series[0])
            boards.read_tensorboard_time_series_data(tensorboard_time_series=series[0])
            boards.batch_read_tensorboard_time_series_data({"tensorboard": board, "time_series": series})


def _cleanup(emulator: Emulator, credentials: Any, job: Any) -> None:
    from google.cloud import aiplatform_v1

    options = {"api_endpoint": emulator.url}
    with aiplatform_v1.EndpointServiceClient(
        transport="rest", credentials=credentials, client_options=options
    ) as client:
        for checkpoint in job.tuned_model.checkpoints:
            for deployed in client.get_endpoint(name=checkpoint.endpoint).deployed_models:
                client.undeploy_model(endpoint=checkpoint.endpoint, deployed_model_id=deployed.id).result(timeout=10)
            client.delete_endpoint(name=checkpoint.endpoint).result(timeout=10)
    assert emulator.request("DELETE", f"/v1/{model_of(job)}").json()["done"]


def model_of(job: Any) -> str:
    """Name of a job's model without version."""
    return str(job.tuned_model.model).partition("@")[0]
