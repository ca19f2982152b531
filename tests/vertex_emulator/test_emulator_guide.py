"""The guide "Use checkpoints in supervised fine-tuning for Gemini models", call by call, with the real client."""

from google.genai.types import (
    CreateTuningJobConfig,
    EvaluationConfig,
    GcsDestination,
    JobState,
    Metric,
    OutputConfig,
    TuningDataset,
    TuningValidationDataset,
    UpdateModelConfig,
)

from tests.vertex_emulator.examples import TRAINING, VALIDATION

EVALUATION = EvaluationConfig(
    metrics=[Metric(name="FLUENCY", prompt_template="""Evaluate this {response}""")],
    output_config=OutputConfig(gcs_destination=GcsDestination(output_uri_prefix="gs://data/evaluation")),
)


def test_the_whole_guide(emulator, genai_client, genai_v1):
    tuning_job = genai_client.tunings.tune(
        base_model="gemini-2.5-flash",
        training_dataset=TuningDataset(gcs_uri="gs://data/train.jsonl"),
        config=CreateTuningJobConfig(
            tuned_model_display_name="Example tuning job",
            epoch_count=6,
            export_last_checkpoint_only=False,
            validation_dataset=TuningValidationDataset(gcs_uri="gs://data/valid.jsonl"),
            evaluation_config=EVALUATION,
        ),
    )
    seen = [tuning_job.state]
    while not tuning_job.has_ended:
        emulator.advance(1)
        tuning_job = genai_client.tunings.get(name=tuning_job.name)
        if tuning_job.state != seen[-1]:
            seen.append(tuning_job.state)
    assert seen == [
        JobState.JOB_STATE_PENDING,
        JobState.JOB_STATE_RUNNING,
        JobState.JOB_STATE_SUCCEEDED,
    ]

    tuning_job = genai_v1.tunings.get(name=tuning_job.name)
    checkpoints = tuning_job.tuned_model.checkpoints
    assert [(item.checkpoint_id, item.epoch, item.step) for item in checkpoints] == [
        (str(epoch), epoch, 9 * epoch) for epoch in range(1, 7)
    ]
    assert len({item.endpoint for item in checkpoints}) == 6
    assert tuning_job.tuned_model.endpoint == checkpoints[-1].endpoint
    assert tuning_job.experiment.startswith(tuning_job.name.partition("/tuningJobs/")[0])

    tuned_model = genai_v1.models.get(model=tuning_job.tuned_model.model)
    assert tuned_model.name == tuning_job.tuned_model.model
    assert tuned_model.default_checkpoint_id == "6"
    assert [(item.checkpoint_id, item.epoch, item.step) for item in tuned_model.checkpoints] == [
        (item.checkpoint_id, item.epoch, item.step) for item in checkpoints
    ]
    assert {item.name for item in tuned_model.endpoints} == {item.endpoint for item in checkpoints}

    def right(endpoint, examples):
        replies = [genai_v1.models.generate_content(model=endpoint, contents=prompt) for prompt, _ in examples]
        return sum(reply.text == answer for reply, (_, answer) in zip(replies, examples, strict=True))

    trained = [right(item.endpoint, TRAINING[:40]) for item in checkpoints]
    unseen = [right(item.endpoint, VALIDATION) for item in checkpoints]
    assert trained == sorted(trained), "what was trained on is known better and better"
    assert unseen.index(max(unseen)) in (2, 3), "140 examples overfit between epochs 3 and 4"
    assert unseen[0] < max(unseen) > unseen[-1]

    updated = genai_v1.models.update(model=tuned_model.name, config=UpdateModelConfig(default_checkpoint_id="4"))
    assert updated.default_checkpoint_id == "4"
    assert genai_v1.tunings.get(name=tuning_job.name).tuned_model.endpoint == checkpoints[3].endpoint
