"""Google's values into ours and back: the translating half of the hook, without any request.

Google's clients are imported inside functions, as in :mod:`gemini_tuning.hooks.gemini_tuning`.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from gemini_tuning.core.curves import Curve
from gemini_tuning.core.exceptions import InvalidInputError
from gemini_tuning.core.names import ResourceName, may_be_same_project, operation_location
from gemini_tuning.core.resources import (
    Checkpoint,
    EvaluationRun,
    JobError,
    ListedJob,
    Model,
    ModelResponse,
    ObjectVersion,
    Operation,
    TuningJob,
    checkpoint_id,
    share_done,
    short_state,
)
from gemini_tuning.core.text import redact, short_repr
from gemini_tuning.core.tuning_spec import ADAPTER_SIZES, TuningJobSpec
from gemini_tuning.hooks.errors import UnusableAnswerError, service_errors

if TYPE_CHECKING:
    from google.genai import types

MAX_WORD = 100  # characters of a state, a phase, a finish reason
MAX_TEXT = 1_000  # characters of a display name or the name of an experiment
MAX_COUNT = 2**63
MAX_DIGITS = 20  # of a 64-bit number with its sign
NO_NUMBERS = ("NaN", "Infinity", "-Infinity")  # as protocol buffers write them in JSON
# The model was stopped by a filter, not by its own end or a limit.
BLOCKING_FINISH_REASONS = frozenset(
    {"SAFETY", "RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "IMAGE_SAFETY", "IMAGE_PROHIBITED_CONTENT"}
)
MAX_METRICS = 100  # of an evaluation
# Where a job's own list keeps the score of each kind of metric, and what that kind is called; names it has none.
AGGREGATED: Mapping[str, str] = {
    "bleu_metric_value": "bleu",
    "custom_code_execution_result": "custom_code_execution",
    "exact_match_metric_value": "exact_match",
    "pointwise_metric_result": "pointwise_metric",
    "rouge_metric_value": "rouge",
}
EARLIEST_YEAR = 2000  # a zero time, 1970 or year 1, means that none was given


def create_config(spec: TuningJobSpec) -> types.CreateTuningJobConfig:
    """Build the typed config: with a dict, google-genai drops the checkpoint to go on from without a word."""
    from google.genai import types

    evaluation = None
    if spec.evaluation_metrics:
        evaluation = types.EvaluationConfig(
            metrics=[_metric(number, metric) for number, metric in enumerate(spec.evaluation_metrics)],
            output_config=types.OutputConfig(
                gcs_destination=types.GcsDestination(output_uri_prefix=spec.evaluation_output_uri)
            ),
        )
    # The config has no field for the service account; extra_body is the client's own way to add one.
    extra = types.HttpOptions(extra_body={"serviceAccount": spec.service_account}) if spec.service_account else None
    return types.CreateTuningJobConfig(
        validation_dataset=(
            types.TuningValidationDataset(gcs_uri=spec.validation_dataset_uri) if spec.validation_dataset_uri else None
        ),
        tuned_model_display_name=spec.tuned_model_display_name,
        description=spec.description,
        epoch_count=spec.epoch_count,
        learning_rate_multiplier=spec.learning_rate_multiplier,
        adapter_size=types.AdapterSize(ADAPTER_SIZES[spec.adapter_size]) if spec.adapter_size else None,
        export_last_checkpoint_only=spec.export_last_checkpoint_only or None,
        pre_tuned_model_checkpoint_id=spec.pre_tuned_model_checkpoint_id,
        evaluation_config=evaluation,
        labels=dict(spec.labels) or None,
        encryption_spec=types.EncryptionSpec(kms_key_name=spec.kms_key_name) if spec.kms_key_name else None,
        http_options=extra,
    )


def _metric(number: int, metric: Any) -> types.Metric:
    from google.genai import types
    from pydantic import ValidationError

    try:
        return types.Metric.model_validate(dict(metric))
    except ValidationError as error:
        faults = "; ".join(
            f"evaluation_metrics[{number}].{'.'.join(map(str, fault['loc']))}: {fault['msg']}"
            for fault in error.errors(include_url=False, include_context=False, include_input=False)
        )
        raise InvalidInputError(f"The tuning job was not created. {redact(faults)}.") from None


def _word(value: Any) -> str:
    """Return the wire's word of an enum, or the string itself, as far as it is one."""
    return redact(getattr(value, "value", value) or "", MAX_WORD)


def _time(value: datetime | None) -> str | None:
    if value is None or value.year < EARLIEST_YEAR:
        return None
    return (value if value.tzinfo else value.replace(tzinfo=UTC)).isoformat()


def _count(value: int | None, what: str) -> int | None:
    if value is not None and not 0 <= value < MAX_COUNT:
        raise UnusableAnswerError(f"the answer gives {short_repr(value)} as {what}")
    return value


def _name(value: Any, collection: str, what: str) -> ResourceName:
    try:
        return ResourceName.parse(value, collection)
    except ValueError as error:
        raise UnusableAnswerError(f"the answer names {what} wrongly: {error}") from None


def _optional_name(value: Any, collection: str, what: str) -> str | None:
    return str(_name(value, collection, what)) if value else None


def _identity(came: ResourceName, asked: str | None) -> None:
    """Refuse the answer to another question."""
    if asked is None:
        return
    wanted = ResourceName.parse(asked, came.collection)
    same = (came.location, came.id) == (wanted.location, wanted.id)
    if wanted.version and came.version and wanted.version.isdigit():  # else it is an alias
        same = same and came.version == wanted.version
    if not same or not may_be_same_project(came.project, wanted.project):
        raise UnusableAnswerError(f"the answer is about {came}")


def _checkpoints(values: Sequence[Any] | None) -> tuple[Checkpoint, ...]:
    found: dict[str, Checkpoint] = {}
    for value in values or ():
        try:
            identifier = checkpoint_id(value.checkpoint_id, "a checkpoint of the answer")
        except ValueError as error:
            raise UnusableAnswerError(str(error)) from None
        if identifier in found:
            raise UnusableAnswerError(f"the answer has checkpoint {identifier} twice")
        found[identifier] = Checkpoint(
            identifier,
            _count(value.epoch, f"epoch of checkpoint {identifier}"),
            _count(value.step, f"step of checkpoint {identifier}"),
            _optional_name(getattr(value, "endpoint", None), "endpoints", f"the endpoint of checkpoint {identifier}"),
        )
    return tuple(found.values())


def tuning_job(job: types.TuningJob, *, asked: str | None = None, project: str | None = None) -> TuningJob:
    """Return a tuning job of google-genai as our plain value.

    :param asked: full name of the job that was asked for.
    :param project: project that a new job was to be made in.
    :raises UnusableAnswerError: when it is another one, or a name in it is no full name of the right kind.
    """
    name = _name(job.name, "tuningJobs", "the tuning job")
    _identity(name, asked)
    if project and not may_be_same_project(name.project, project):
        raise UnusableAnswerError(f"the answer is about {name}")
    tuned, done, spec = job.tuned_model, job.tuning_job_metadata, job.supervised_tuning_spec
    parameters = spec.hyper_parameters if spec else None
    return TuningJob(
        name=str(name),
        state=short_state(_word(job.state)),
        display_name=redact(job.tuned_model_display_name or "", MAX_TEXT),
        base_model=redact(job.base_model or "", MAX_TEXT),
        labels=job.labels or {},
        error=JobError(job.error.code or 0, redact(job.error.message or "")) if job.error else None,
        phase=_word(job.tuning_job_state).removeprefix("TUNING_JOB_STATE_") or None,
        completed_epochs=_count(done.completed_epoch_count, "epochs done") if done else None,
        completed_steps=_count(done.completed_step_count, "steps done") if done else None,
        epoch_count=_count(parameters.epoch_count, "epochs to do") if parameters else None,
        model=_optional_name(tuned.model, "models", "the tuned model") if tuned else None,
        endpoint=_optional_name(tuned.endpoint, "endpoints", "the endpoint") if tuned else None,
        checkpoints=_checkpoints(tuned.checkpoints if tuned else None),
        training_dataset_uri=_dataset(job, "training_dataset_uri"),
        validation_dataset_uri=_dataset(job, "validation_dataset_uri"),
        experiment=redact(job.experiment, MAX_TEXT) if job.experiment else None,
        evaluations=tuple(_evaluation(run) for run in job.evaluate_dataset_runs or ()),
        **_training_tokens(job),
        create_time=_time(job.create_time),
        start_time=_time(job.start_time),
        end_time=_time(job.end_time),
    )


def listed_jobs(answer: Any) -> tuple[list[ListedJob], str | None]:
    """Return the tuning jobs of one page of a list, and the token of the next page.

    Jobs without a usable name are left out: nobody can wait for them.
    """
    found, token = page(answer, "tuningJobs")
    return [_listed_job(raw) for raw in found if isinstance(raw.get("name"), str)], token


def _listed_job(raw: Mapping[str, Any]) -> ListedJob:
    done, checkpoints = _inside(raw, "tuningJobMetadata"), _inside(raw, "tunedModel").get("checkpoints")
    parameters = _inside(_inside(raw, "supervisedTuningSpec"), "hyperParameters")
    saved = [c for c in checkpoints if isinstance(c, Mapping)] if isinstance(checkpoints, list) else []
    epochs = _whole(done.get("completedEpochCount"))
    ends = ((_whole(c.get("epoch")), _whole(c.get("step"))) for c in saved)
    return ListedJob(
        id=raw["name"].rpartition("/")[2],
        facts=(str(raw.get("state")), str(raw.get("tuningJobState")), len(saved)),
        share=share_done(
            _whole(parameters.get("epochCount")),
            epochs,
            _whole(done.get("completedStepCount")),
            next(((epoch, step) for epoch, step in ends if epoch and step), None),
        ),
        start_time=_moment(raw.get("startTime")),
        read=functools.partial(_read_listed, raw),
    )


def _inside(raw: Mapping[str, Any], field: str) -> Mapping[str, Any]:
    value = raw.get(field)
    return value if isinstance(value, Mapping) else {}


def _moment(value: Any) -> str | None:
    try:
        return _time(datetime.fromisoformat(value)) if isinstance(value, str) else None
    except ValueError:
        return None


def _whole(value: Any) -> int | None:
    """Return one of the numbers that come as text, as far as it is one; the whole job is checked when it is read."""
    text = str(value) if isinstance(value, int | str) else ""
    return int(text) if text.isdecimal() and len(text) < MAX_DIGITS else None


def _read_listed(raw: Mapping[str, Any], asked: str) -> TuningJob:
    from google.genai import types

    with service_errors("read", asked):
        return tuning_job(types.TuningJob.model_validate(raw), asked=asked)


def _dataset(job: types.TuningJob, field: str) -> str | None:
    uri = getattr(job.supervised_tuning_spec or job.preference_optimization_spec, field, None)
    return redact(uri, MAX_TEXT) if uri else None


def _training_tokens(job: types.TuningJob) -> dict[str, int | None]:
    """Return what the service counted in the training file; odd figures are left out, they are no reason to fail."""
    stats = job.tuning_data_stats.supervised_tuning_data_stats if job.tuning_data_stats else None
    if stats is None:
        return {}
    parts = [stats.user_input_token_distribution, stats.user_output_token_distribution]
    sums = [_possible(part.billable_sum if part.billable_sum is not None else part.sum) for part in parts if part]
    counted = [number for number in sums if number is not None]
    return {
        "billable_tokens": _possible(stats.total_billable_token_count),
        "dataset_tokens": sum(counted) if len(counted) == len(parts) else None,
    }


def _possible(value: int | None) -> int | None:
    return value if value is not None and 0 < value < MAX_COUNT else None


def _evaluation(run: types.EvaluateDatasetRun) -> EvaluationRun:
    """Return one of a job's own list; what is odd there is left out, for the evaluation is no reason to fail a wait."""
    output = run.evaluate_dataset_response.aggregation_output if run.evaluate_dataset_response else None
    try:
        name = str(ResourceName.parse(run.evaluation_run, "evaluationRuns"))
    except ValueError:
        name = None
    return EvaluationRun(
        name=name,
        checkpoint_id=redact(run.checkpoint_id, MAX_WORD) if run.checkpoint_id else None,
        metrics=_aggregated(output.aggregation_results or () if output else ()),
        error=JobError(run.error.code or 0, redact(run.error.message or "")) if run.error else None,
    )


def _aggregated(results: Iterable[types.AggregationResult]) -> dict[str, float]:
    """Return the scores of a job's own list; two metrics of a kind are numbered."""
    found: dict[str, float] = {}
    for result in results:
        scores = {kind: getattr(getattr(result, field, None), "score", None) for field, kind in AGGREGATED.items()}
        kind, score = next(((kind, score) for kind, score in scores.items() if score is not None), ("", None))
        number = _finite(score)
        if number is None or len(found) == MAX_METRICS:
            continue
        word = _word(result.aggregation_metric)
        same = sum(1 for name in found if name.startswith(kind) and name.endswith(f"/{word}"))
        found[f"{kind}_{same + 1}/{word}" if same else f"{kind}/{word}"] = number
    return found


def evaluation_run(raw: Any, *, asked: str) -> EvaluationRun:
    """Return the JSON of an ``EvaluationRun`` as our plain value.

    :param asked: full name of the run that was asked for.
    :raises UnusableAnswerError: when it is another one.
    """
    raw = _mapping(raw, "the evaluation run")
    name = _name(raw.get("name"), "evaluationRuns", "the evaluation run")
    _identity(name, asked)
    error = _mapping(raw.get("error"), "error")
    summary = _mapping(_mapping(raw.get("evaluationResults"), "results").get("summaryMetrics"), "summary")
    metrics = _mapping(summary.get("metrics"), "metrics")
    return EvaluationRun(
        name=str(name),
        state=_word(raw.get("state")),
        metrics=_short_names({key: number for key, value in metrics.items() if (number := _finite(value)) is not None}),
        error=JobError(_code(error.get("code")), redact(error.get("message") or "")) if error else None,
    )


def _short_names(metrics: Mapping[str, float]) -> dict[str, float]:
    """Leave out the candidate, of which there is one: ``CANDIDATE/METRIC/AGGREGATION`` as Google's client splits it."""
    some = dict(list(metrics.items())[:MAX_METRICS])
    short = {"/".join(name.split("/")[-2:]): value for name, value in some.items()}
    return {redact(name, MAX_WORD): value for name, value in (short if len(short) == len(some) else some).items()}


def _finite(value: Any) -> float | None:
    """Return a number of the answer, unless it is none or too big for one."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def model(raw: Any, *, asked: str | None = None) -> Model:
    """Return the JSON of a ``Model`` as a plain value, its name with its version.

    :param asked: full name of the requested model.
    :raises UnusableAnswerError: when it is another one, or has no full name or version.
    """
    raw = _mapping(raw, "the model")
    name = _name(raw.get("name"), "models", "the model")
    version = name.version or raw.get("versionId")
    if not isinstance(version, str):
        raise UnusableAnswerError(f"the answer does not tell the version of {name}")
    name = _name(f"{name.unversioned}@{version}", "models", "the model")
    _identity(name, asked)
    etag, deployed = raw.get("etag"), _mappings(raw.get("deployedModels"), "deployedModels")
    endpoints = [str(_name(entry.get("endpoint"), "endpoints", "an endpoint")) for entry in deployed]
    original = _mapping(raw.get("originalModelInfo"), "originalModelInfo").get("model")
    return Model(
        name=str(name),
        display_name=redact(raw.get("displayName") or "", MAX_TEXT),
        default_checkpoint_id=_default(raw.get("defaultCheckpointId")),
        checkpoints=_registered_checkpoints(raw),
        labels=labels(raw.get("labels")),
        etag=etag if isinstance(etag, str) and 0 < len(etag) <= MAX_TEXT else None,
        aliases=_aliases(raw.get("versionAliases")),
        original_model=_optional_name(original, "models", "the original"),
        is_copy=_mapping(raw.get("modelSourceInfo"), "modelSourceInfo").get("copy") is True,
        endpoints=tuple(dict.fromkeys(endpoints)),
        default_endpoint=next(
            (
                endpoint
                for entry, endpoint in zip(deployed, endpoints, strict=True)
                if entry.get("checkpointId") == raw.get("defaultCheckpointId")
            ),
            None,
        ),
        create_time=_seconds(raw.get("versionCreateTime")),
    )


def _aliases(value: Any) -> tuple[str, ...]:
    if not isinstance(value or [], list) or not all(isinstance(alias, str) for alias in value or []):
        raise UnusableAnswerError(f"the answer gives {short_repr(value)} as version aliases")
    return tuple(redact(alias, MAX_WORD) for alias in value or [])


def _seconds(value: Any) -> float | None:
    try:
        moment = datetime.fromisoformat(value)
        return moment.timestamp() if moment.tzinfo else None
    except (TypeError, ValueError, OverflowError):
        return None


def models(answer: Any) -> tuple[list[Model], str | None]:
    """Return the models of one page of a list, and the token of the next page."""
    found, token = page(answer, "models")
    return [model(raw) for raw in found], token


def _registered_checkpoints(raw: Mapping[str, Any]) -> tuple[Checkpoint, ...]:
    """Return the checkpoints of a model; of one that is deployed more than once, with the endpoint named first."""
    endpoints: dict[str, Any] = {}
    for deployed in _mappings(raw.get("deployedModels"), "deployedModels"):
        endpoints.setdefault(str(deployed.get("checkpointId")), deployed.get("endpoint"))
    return _checkpoints(
        [
            SimpleNamespace(
                checkpoint_id=found.get("checkpointId"),
                epoch=_number_of(found.get("epoch"), "an epoch"),
                step=_number_of(found.get("step"), "a step"),
                endpoint=endpoints.get(str(found.get("checkpointId"))),
            )
            for found in _mappings(raw.get("checkpoints"), "checkpoints")
        ]
    )


def labels(value: Any) -> dict[str, str]:
    """Return labels; they are written back whole, so what is none of them must not get lost unseen."""
    found = _mapping(value, "labels")
    if odd := [key for key, text in found.items() if not isinstance(text, str)]:
        raise UnusableAnswerError(f"the answer gives {short_repr(found[odd[0]])} as the label {short_repr(odd[0])}")
    return dict(found)


def _default(value: Any) -> str | None:
    try:
        return checkpoint_id(value, "the default of the answer") if value else None
    except ValueError as error:
        raise UnusableAnswerError(str(error)) from None


def operation_name(value: Any) -> str:
    """Return the full name of a long-running operation, as the service gave it.

    :raises UnusableAnswerError: when it is none.
    """
    try:
        operation_location(value)
    except ValueError as error:
        raise UnusableAnswerError(f"the answer names the operation wrongly: {error}") from None
    return str(value)


def started_operation(raw: Any) -> str:
    """Return the name of an operation that was just started, from its JSON.

    :raises UnusableAnswerError: when it is none.
    """
    return operation_name(_mapping(raw, "the operation").get("name"))


def operation(raw: Any, *, asked: str | None = None) -> Operation:
    """Return the JSON of a copy's ``google.longrunning.Operation`` as our plain value, the model with its version.

    :param asked: full name of the operation that was asked for.
    :raises UnusableAnswerError: when it is another one, or is done without an error and names no model.
    """
    raw = _mapping(raw, "the operation")
    name = operation_name(raw.get("name"))
    if asked and name.rpartition("/")[2] != asked.rpartition("/")[2]:
        raise UnusableAnswerError(f"the answer is about {name}")
    generic = _mapping(_mapping(raw.get("metadata"), "metadata").get("genericMetadata"), "metadata")
    created = generic.get("createTime")
    create_time = created if isinstance(created, str) else None
    if raw.get("done") is not True:
        return Operation(name, create_time=create_time)
    if error := _mapping(raw.get("error"), "error"):
        failure = JobError(_code(error.get("code")), redact(error.get("message") or ""))
        return Operation(name, done=True, error=failure, create_time=create_time)
    response = _mapping(raw.get("response"), "response")
    model, version = response.get("model"), response.get("modelVersionId")
    if isinstance(model, str) and version and "@" not in model:
        model = f"{model}@{version}"
    return Operation(name, done=True, model=str(_name(model, "models", "the copy")), create_time=create_time)


def operations(answer: Any) -> tuple[list[Operation], str | None]:
    """Return the operations of one page of a list, and the token of the next page.

    Operations that made something else than a model are left out.
    """
    found, token = page(answer, "operations")
    return [operation(raw) for raw in found if _is_of_a_copy(raw)], token


def _is_of_a_copy(raw: Any) -> bool:
    metadata = raw.get("metadata") if isinstance(raw, Mapping) else None
    kind = metadata.get("@type") if isinstance(metadata, Mapping) else None
    return kind is None or "CopyModel" in str(kind)


def _mapping(value: Any, what: str) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise UnusableAnswerError(f"the answer gives {short_repr(value)} as {what}")
    return value


def _code(value: Any) -> int:
    return value if isinstance(value, int) else 0


def answer(raw: Any, latency: float) -> ModelResponse:
    """Return the JSON of a ``GenerateContentResponse`` as our plain value.

    :param latency: seconds the whole answer took.
    """
    raw = _mapping(raw, "the answer")
    candidate = next(iter(_mappings(raw.get("candidates"), "candidates")), {})
    usage = _mapping(raw.get("usageMetadata"), "usageMetadata")
    finish_reason = _word(candidate.get("finishReason")) or None
    blocked = _word(_mapping(raw.get("promptFeedback"), "promptFeedback").get("blockReason")) or None
    return ModelResponse(
        text=_text(_mapping(candidate.get("content"), "content")),
        latency=latency,
        finish_reason=finish_reason,
        prompt_tokens=_number_of(usage.get("promptTokenCount"), "tokens of the prompt"),
        output_tokens=_number_of(usage.get("candidatesTokenCount"), "tokens of the answer"),
        blocked=blocked or (finish_reason if finish_reason in BLOCKING_FINISH_REASONS else None),
    )


def to_be_continued(raw: Any) -> bool:
    """Return whether the JSON of a ``GenerateContentResponse`` is one piece of a long answer."""
    candidates = raw.get("candidates") if isinstance(raw, Mapping) else None
    first = candidates[0] if isinstance(candidates, list) and candidates else None
    return isinstance(first, Mapping) and bool(first.get("continuationToken"))


def _text(content: Mapping[str, Any]) -> str:
    """Return what was said, without what the model thought before."""
    parts = _mappings(content.get("parts"), "parts")
    texts = [part["text"] for part in parts if part.get("text") is not None and part.get("thought") is not True]
    if odd := [text for text in texts if not isinstance(text, str)]:
        raise UnusableAnswerError(f"the answer gives {short_repr(odd[0])} as a text")
    return "".join(texts)


def _number_of(value: Any, what: str) -> int | None:
    if value is None:
        return None
    number = _whole(value)
    if number is None or isinstance(value, bool):
        raise UnusableAnswerError(f"the answer gives {short_repr(value)} as {what}")
    return _count(number, what)


def contents(turns: str | Sequence[Mapping[str, Any]]) -> types.Content | list[types.Content]:
    """Return a prompt as google-genai wants it; a list of one takes it thirty times as long to look at.

    :param turns: one text, or ``{"role", "parts": [{"text"} or {"file_uri", "mime_type"}]}``.
    """
    from google.genai import types

    if isinstance(turns, str):
        turns = [{"role": "user", "parts": [{"text": turns}]}]
    made = [types.Content(role=turn["role"], parts=[_part(part) for part in turn["parts"]]) for turn in turns]
    return made[0] if len(made) == 1 else made


def _part(part: Mapping[str, Any]) -> types.Part:
    from google.genai import types

    if "file_uri" in part:
        return types.Part.from_uri(file_uri=part["file_uri"], mime_type=part["mime_type"])
    return types.Part(text=part["text"])


def content(turn: Mapping[str, Any]) -> types.Content:
    """Return one turn, in the API's JSON, as google-genai wants it.

    :raises InvalidInputError: when it has a field that there is not.
    """
    from google.genai import types
    from pydantic import ValidationError

    try:
        return types.Content.model_validate(turn)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        raise InvalidInputError(redact(f"{'.'.join(map(str, first['loc']))}: {first['msg']}")) from None


def token_count(answer: types.CountTokensResponse) -> int:
    """Return how many tokens were counted.

    :raises UnusableAnswerError: when the answer does not say.
    """
    if answer.total_tokens is None:
        raise UnusableAnswerError("the answer has no totalTokens")
    return _count(answer.total_tokens, "tokens") or 0


def object_version(blob: Any) -> ObjectVersion:
    """Read what Cloud Storage's client has read of an object; what it hands on is the service's, of any type."""
    generation, size, checksum = blob.generation, blob.size, blob.crc32c
    if not isinstance(generation, int) or not isinstance(size, int) or not isinstance(checksum, str):
        raise UnusableAnswerError(
            f"an object with the generation {short_repr(generation)} and the CRC32C {short_repr(checksum)}"
        )
    return ObjectVersion(generation, size, checksum[:MAX_WORD])


def page(answer: Any, field: str) -> tuple[list[Mapping[str, Any]], str | None]:
    """Return what one page of a list has, and the token of the next page."""
    if not isinstance(answer, Mapping):
        raise UnusableAnswerError(f"the answer gives {short_repr(answer)} as a list")
    token = answer.get("nextPageToken") or None
    if not isinstance(token, str | None):
        raise UnusableAnswerError(f"the answer gives {short_repr(token)} as nextPageToken")
    return _mappings(answer.get(field), field), token


def _mappings(value: Any, what: str) -> list[Mapping[str, Any]]:
    if not isinstance(value or [], list):
        raise UnusableAnswerError(f"the answer gives {short_repr(value)} as {what}")
    return [_mapping(item, f"one of {what}") for item in value or []]


def tensorboard_of(context: Any) -> str | None:
    """Return the TensorBoard that an experiment, in the API's JSON, names."""
    metadata = _mapping(_mapping(context, "the experiment").get("metadata"), "metadata")
    board = metadata.get("backing_tensorboard_resource")
    if not board:
        return None
    return str(_name(board, "tensorboards", "the TensorBoard"))


def series_data(answer: Any) -> dict[str, Curve]:
    """Return the curves of a batch read by the ids of their time series."""
    found = _mappings(_mapping(answer, "the metrics").get("timeSeriesData"), "timeSeriesData")
    return {str(data.get("tensorboardTimeSeriesId")): _curve(data) for data in found}


def one_series(answer: Any) -> Curve:
    """Return the curve of a read of one time series."""
    return _curve(_mapping(_mapping(answer, "the metric").get("timeSeriesData"), "timeSeriesData"))


def _curve(data: Mapping[str, Any]) -> Curve:
    """Return the scalars of a time series, in the order in which they were written."""
    points = _mappings(data.get("values"), "values")
    if any(point.get("scalar") is None for point in points):
        raise UnusableAnswerError(f"the answer gives {short_repr(data.get('valueType'))} as a metric, not numbers")
    written = sorted(points, key=lambda point: written_at(point.get("wallTime")))
    scalars = ((point.get("step"), _mapping(point["scalar"], "a scalar").get("value")) for point in written)
    return Curve.of((_step(step), _number(value)) for step, value in scalars)


def written_at(value: Any) -> str:
    """Return a time of the API so that times sort; their fractions of a second differ in length."""
    return str(value or "").rstrip("Z")


def _step(value: Any) -> int:
    """Return a 64-bit number, which JSON has as a text; nothing stands for zero."""
    text = str(0 if value is None else value)
    if len(text) > MAX_DIGITS or not text.removeprefix("-").isascii() or not text.removeprefix("-").isdigit():
        raise UnusableAnswerError(f"the answer gives {short_repr(value)} as a step")
    return int(text)


def _number(value: Any) -> float:
    """Return a float, which JSON has as a text where it is none: NaN, Infinity; nothing stands for zero."""
    if value in NO_NUMBERS:
        return float(value)
    if not isinstance(value, int | float | None) or isinstance(value, bool):
        raise UnusableAnswerError(f"the answer gives {short_repr(value)} as a metric, not a number")
    try:
        return float(value or 0)
    except OverflowError:
        raise UnusableAnswerError(f"the answer gives {short_repr(value)} as a metric") from None
