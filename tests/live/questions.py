"""What the real service might do otherwise than the local Vertex AI, one question each, answered from the evidence.

Where Google's documentation says nothing, or only other people's reports do, the local Vertex AI had to choose: each
choice stands here as what is expected. Pure functions. An answer that does not agree is a finding, and no failure.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from tests.live.evidence import CANCEL_LABEL, RUN_LABEL, Evidence, Json, Look
from tests.live.sample import THINGS
from tests.live.wire import Reply, dig

SPEC = "supervisedTuningSpec"
STATS = ("tuningDataStats", "supervisedTuningDataStats")
METRICS = ("total_loss", "fraction_of_correct_next_step_preds", "num_predictions")
SERVICE_LABELS = ("google-vertex-llm-tuning-base-model-id", "google-vertex-llm-tuning-job-id", "tune-type")
STATES = ("QUEUED", "PENDING", "RUNNING", "SUCCEEDED")
PHASES = ("WAITING_FOR_QUOTA", "WAITING_FOR_CAPACITY", "PROCESSING_DATASET", "TUNING", "POST_PROCESSING")


SAYS_NOTHING = frozenset((0, 401, 403, 429))  # of an answer: nobody asked, we may not, not now


NO_QUOTA = "No quota for another tuning job"  # what the DAG's task logs after a 429


class Answer(NamedTuple):
    """What was observed, and whether it is what the local Vertex AI does; ``None``: it could not be seen."""

    observed: Any
    agrees: bool | None


NOT_SEEN = Answer(None, None)


class UnansweredError(Exception):
    """The service was not asked, or did not answer for a reason that says nothing about the question."""


@dataclass(frozen=True)
class Question:
    """A question.

    :param expected: what the local Vertex AI does.
    :param provoked: whether each run can answer it; else it is answered only when it happens, or when asked for.
    """

    id: str
    text: str
    expected: str
    answer: Callable[[Evidence], Answer]
    provoked: bool = True


QUESTIONS: list[Question] = []


def question(
    text: str, expected: str, *, provoked: bool = True
) -> Callable[[Callable[[Evidence], Answer]], Callable[[Evidence], Answer]]:
    """Put a function on the list of questions, under its name."""

    def add(answer: Callable[[Evidence], Answer]) -> Callable[[Evidence], Answer]:
        QUESTIONS.append(Question(answer.__name__, text, expected, answer, provoked))
        return answer

    return add


def observations(evidence: Evidence) -> list[Json]:
    """Answer all questions.

    :return: ``[{"id", "question", "expected", "observed", "agrees"}]``.
    """
    return [
        {"id": one.id, "question": one.text, "expected": one.expected, "observed": seen.observed, "agrees": seen.agrees}
        for one in QUESTIONS
        for seen in [_answered(one, evidence)]
    ]


def _answered(one: Question, evidence: Evidence) -> Answer:
    try:
        return one.answer(evidence)
    except UnansweredError as error:
        return Answer(str(error), None)
    except (TypeError, ValueError, KeyError, AttributeError, IndexError) as error:
        return Answer(f"not as expected at all: {type(error).__name__}: {error}"[:300], False)


# ------------------------------------------------------------------------------------------------------ the list


@question('Does the filter labels.KEY="VALUE" of tuningJobs.list find the job?', "200 and the job")
def filter_finds(evidence: Evidence) -> Answer:
    reply = _reply(evidence, "list_by_label")
    jobs = reply.items("tuningJobs")
    labelled = [job for job in jobs if dig(job, "labels", RUN_LABEL) == evidence.asked.run]
    found = _job(evidence).get("name") in [dig(job, "name") for job in labelled]
    observed = f"{reply.status}, {len(jobs)} jobs, {len(labelled)} with the label" + _said(reply)
    return Answer(observed, reply.ok and found and len(jobs) == len(labelled))


@question("Does that filter leave out jobs without the label?", "200 and no job")
def filter_leaves_out(evidence: Evidence) -> Answer:
    reply = _reply(evidence, "list_by_absent_label")
    jobs = reply.items("tuningJobs")
    return Answer(f"{reply.status}, {len(jobs)} jobs" + _said(reply), reply.ok and not jobs)


# ---------------------------------------------------------------------------------------------- the job under way


@question("Which state has a new job?", "PENDING")
def first_state(evidence: Evidence) -> Answer:
    made = [str(looks[0].job.get("state")) for looks in (evidence.cancelled, evidence.looks) if looks]
    states = [state.removeprefix("JOB_STATE_") for state in made]
    if not set(states) & {"QUEUED", "PENDING"}:
        return Answer(f"the first look saw {', '.join(states) or 'nothing'}", None)
    return Answer(", ".join(dict.fromkeys(states)), set(states) == {"PENDING"})


@question("Through which states does a job go that succeeds?", "PENDING, RUNNING, SUCCEEDED")
def states(evidence: Evidence) -> Answer:
    seen = [str(look.job.get("state")).removeprefix("JOB_STATE_") for look in _looks(evidence)]
    return _in_order(seen, STATES[1:])


@question("Which tuningJobState does v1beta1 show meanwhile?", "some of " + ", ".join(PHASES) + ", in this order")
def tuning_states(evidence: Evidence) -> Answer:
    shown = [str(look.job["tuningJobState"]) for look in _looks(evidence) if "tuningJobState" in look.job]
    return _in_order([phase.removeprefix("TUNING_JOB_STATE_") for phase in shown], PHASES)


@question("Does tuningJobMetadata of v1beta1 tell epochs and steps while the job runs?", "yes, and all at the end")
def progress(evidence: Evidence) -> Answer:
    told = [look for look in _looks(evidence) if "tuningJobMetadata" in look.job]
    pairs = [(_number(look.job, "completedEpochCount"), _number(look.job, "completedStepCount")) for look in told]
    running = [look for look in told if look.job.get("state") == "JOB_STATE_RUNNING"]
    observed = f"{len(running)} times while RUNNING: " + ", ".join(f"{epoch}/{step}" for epoch, step in pairs[-8:])
    return Answer(observed, bool(running) and pairs == sorted(pairs) and pairs[-1][0] == evidence.asked.epochs)


@question("Does v1 tell that too?", "no")
def progress_in_v1(evidence: Evidence) -> Answer:
    reply = _reply(evidence, "job_v1")
    told = [name for name in ("tuningJobMetadata", "tuningJobState") if name in (reply.body or {})]
    return Answer(f"{reply.status}, {', '.join(told) or 'neither field'}", reply.ok and not told)


@question("What happens to a job over the quota of concurrent jobs?", "it waits in PENDING", provoked=False)
def over_quota(evidence: Evidence) -> Answer:
    create = evidence.reply("cancelled_create")
    if create.status == 429:
        return Answer("the create is refused with 429" + _said(create), False)
    if refused := [line for line in evidence.create_log.splitlines() if NO_QUOTA in line]:
        return Answer(f"the create is refused with 429, {refused[0]}"[:300], False)
    waiting = [look for look in _looks(evidence) if str(look.job.get("tuningJobState")).endswith("WAITING_FOR_QUOTA")]
    if not waiting:
        return NOT_SEEN
    state = str(waiting[0].job.get("state")).removeprefix("JOB_STATE_")
    return Answer(f"it waits in {state}", state == "PENDING")


# ----------------------------------------------------------------------------------------- the job when it is over


@question("Do names come back with the project's number, whatever was sent?", "yes")
def project_number(evidence: Evidence) -> Answer:
    tuned = dig(_job(evidence), "tunedModel")
    names = [_job(evidence).get("name"), dig(tuned, "model"), dig(tuned, "endpoint"), _job(evidence).get("experiment")]
    numbers = [bool(re.match(r"projects/\d+/", str(name))) for name in names]
    return Answer(f"{sum(numbers)} of {len(names)} names", all(numbers))


@question("How long is a job's id?", "19 digits")
def job_id(evidence: Evidence) -> Answer:
    found = str(_job(evidence).get("name")).rpartition("/")[2]
    kind = "digits" if found.isdigit() else "characters"
    return Answer(f"{len(found)} {kind}", kind == "digits" and len(found) == 19)


@question("In which form are times?", "UTC with microseconds and Z")
def times(evidence: Evidence) -> Answer:
    shapes = {
        name: re.sub(r"\d", "9", str(_job(evidence).get(name))) for name in ("createTime", "startTime", "endTime")
    }
    return Answer(shapes, set(shapes.values()) == {"9999-99-99T99:99:99.999999Z"})


@question("Does the service fill in hyperparameters that were not given?", "multiplier and adapter size")
def filled_in(evidence: Evidence) -> Answer:
    found = dig(_job(evidence), SPEC, "hyperParameters") or {}
    return Answer(found, {"learningRateMultiplier", "adapterSize"} <= set(found))


@question("How is the experiment called?", "tuning-experiment- and twenty digits")
def experiment_name(evidence: Evidence) -> Answer:
    name = str(_job(evidence).get("experiment")).rpartition("/")[2]
    return Answer(re.sub(r"\d", "9", name), bool(re.fullmatch(r"tuning-experiment-\d{20}", name)))


@question("What is gcsMetricsUri?", "absent")
def metrics_uri(evidence: Evidence) -> Answer:
    uri = _job(evidence).get("gcsMetricsUri")
    return Answer("absent" if uri is None else re.sub(r"\d", "9", str(uri)), uri is None)


@question("Which tokens are billed?", "those of input and output, times the epochs")
def billable_tokens(evidence: Evidence) -> Answer:
    stats = dig(_job(evidence), *STATS)
    total = int(stats["totalBillableTokenCount"])
    parts = [int(float(stats[f"user{part}TokenDistribution"]["sum"])) for part in ("Input", "Output")]
    observed = f"{total} in all; {parts[0]} in, {parts[1]} out, {evidence.asked.epochs} epochs"
    return Answer(observed, total == sum(parts) * evidence.asked.epochs)


@question("Are the examples of the training file counted?", f"{len(THINGS)}, and the steps")
def example_count(evidence: Evidence) -> Answer:
    stats = dig(_job(evidence), *STATS)
    examples, steps = stats["tuningDatasetExampleCount"], stats["tuningStepCount"]
    last = _checkpoints(evidence)[-1]["step"]
    return Answer(f"{examples} examples, {steps} steps", int(examples) == len(THINGS) and int(steps) == int(last))


@question("What does cancelling a job say that is over?", "400 FAILED_PRECONDITION")
def cancel_when_over(evidence: Evidence) -> Answer:
    reply = _reply(evidence, "cancel_ended")
    return Answer(f"{reply.status}" + _said(reply), (reply.status, _code(reply)) == (400, "FAILED_PRECONDITION"))


@question("What does a job that does not exist say?", "404 NOT_FOUND")
def absent_job(evidence: Evidence) -> Answer:
    reply = _reply(evidence, "absent_job")
    return Answer(f"{reply.status}" + _said(reply), (reply.status, _code(reply)) == (404, "NOT_FOUND"))


# -------------------------------------------------------------------------------------------------- checkpoints


@question("Which checkpoints does a job of fewer than ten epochs save?", "one after each epoch, at rising steps")
def checkpoints(evidence: Evidence) -> Answer:
    found = [(int(one["epoch"]), int(one["step"])) for one in _checkpoints(evidence)]
    steps = [step for _, step in found]
    right = [epoch for epoch, _ in found] == list(range(1, evidence.asked.epochs + 1))
    return Answer([f"epoch {e}, step {s}" for e, s in found], right and steps == sorted(set(steps)))


@question("Does the model list the same checkpoints, and without endpoints?", "yes, get and listCheckpoints alike")
def checkpoints_of_model(evidence: Evidence) -> Answer:
    model, listed = _reply(evidence, "model"), _reply(evidence, "list_checkpoints")
    fields = ("checkpointId", "epoch", "step")
    expected = [{name: one.get(name) for name in fields} for one in _checkpoints(evidence)]
    alike = [reply.items("checkpoints") == expected for reply in (model, listed)]
    return Answer(f"get {_yes(alike[0])}, listCheckpoints {_yes(alike[1])} ({listed.status})", all(alike))


@question("Which checkpoint is the default at first?", "the last")
def first_default(evidence: Evidence) -> Answer:
    last = _checkpoints(evidence)[-1]["checkpointId"]
    if evidence.default_before is None:
        return NOT_SEEN
    return Answer(f"{evidence.default_before} of {len(_checkpoints(evidence))}", evidence.default_before == last)


@question("Has each checkpoint an endpoint of its own?", "yes, which says the checkpoint's id")
def endpoint_each(evidence: Evidence) -> Answer:
    ids = [one["checkpointId"] for one in _checkpoints(evidence)]
    deployed = [reply.at("deployedModels", 0, "checkpointId") for reply in _endpoints(evidence)]
    names = {one.get("endpoint") for one in _checkpoints(evidence)} - {None}
    observed = f"{len(names)} endpoints for {len(ids)} checkpoints, deployed: {deployed}"
    return Answer(observed, len(names) == len(ids) and deployed == ids)


@question("Are the endpoints there before the job is over, and how long does it take?", "before; seconds only")
def endpoint_time(evidence: Evidence) -> Answer:
    began, ended = _time(_job(evidence), "createTime"), _time(_job(evidence), "endTime")
    made = [_time(reply.body, "createTime") for reply in _endpoints(evidence)]
    observed = f"endpoints after {[round(t - began) for t in made]} s, job over after {ended - began:.0f} s"
    return Answer(observed, bool(made) and max(made) <= ended)


@question("Does each endpoint answer as soon as the job is over?", "200")
def endpoint_answers(evidence: Evidence) -> Answer:
    asked = _endpoints(evidence, "prompt")
    return Answer(str([reply.status for reply in asked]), bool(asked) and all(reply.ok for reply in asked))


@question("Does a model answer prompts?", "400 INVALID_ARGUMENT: only its endpoints do")
def model_prompted(evidence: Evidence) -> Answer:
    reply = _reply(evidence, "prompt_model")
    return Answer(f"{reply.status}" + _said(reply), (reply.status, _code(reply)) == (400, "INVALID_ARGUMENT"))


# ------------------------------------------------------------------------------------------------- the default


@question("Is tunedModel.endpoint that of the default checkpoint?", "yes")
def endpoint_of_default(evidence: Evidence) -> Answer:
    default = _reply(evidence, "model").at("defaultCheckpointId")
    of_default = [one.get("endpoint") for one in _checkpoints(evidence) if one.get("checkpointId") == default]
    agrees = [dig(_job(evidence), "tunedModel", "endpoint")] == of_default
    return Answer(_yes(agrees), agrees)


@question("Is a PATCH of defaultCheckpointId without updateMask accepted, and does it take effect?", "200 and yes")
def patch_without_mask(evidence: Evidence) -> Answer:
    patch = _reply(evidence, "patch")
    default = _reply(evidence, "model").at("defaultCheckpointId")
    taken = _reply(evidence, "model_patched").at("defaultCheckpointId") != default
    return Answer(f"{patch.status}, {_yes(taken)}" + _said(patch), patch.ok and taken)


@question("Does the job show another default's endpoint at the next get?", "yes")
def default_follows(evidence: Evidence) -> Answer:
    looks = evidence.default_shown_after
    if not _reply(evidence, "patch").ok:
        return NOT_SEEN
    return Answer("not at all" if looks is None else f"at get {looks} after it", looks == 1)


# -------------------------------------------------------------------------------------------------- the model


@question("Where is the tuned model?", "in the job's location")
def model_location(evidence: Evidence) -> Answer:
    location = str(dig(_job(evidence), "tunedModel", "model")).split("/")[3]
    return Answer(location, location == evidence.asked.location)


@question("Does a model's name say its version?", "where it was asked for with one; not where without")
def model_name(evidence: Evidence) -> Answer:
    names = [str(_reply(evidence, name).at("name")) for name in ("model", "model_without_version")]
    versioned = ["@" in name for name in names]
    return Answer(f"with: {_yes(versioned[0])}, without: {_yes(versioned[1])}", versioned == [True, False])


@question("Are the job's labels on the model?", "yes, all")
def labels_on_model(evidence: Evidence) -> Answer:
    return _labels(evidence, [_reply(evidence, "model").at("labels")])


@question("Are the job's labels on the endpoints?", "yes, all")
def labels_on_endpoints(evidence: Evidence) -> Answer:
    return _labels(evidence, [reply.at("labels") for reply in _endpoints(evidence)])


@question("Which labels of its own does the service put on a model?", ", ".join(SERVICE_LABELS))
def service_labels(evidence: Evidence) -> Answer:
    labels = _reply(evidence, "model").at("labels") or {}
    own = sorted(set(labels) - set(_job(evidence).get("labels") or {}))
    return Answer({name: labels[name] for name in own}, own == sorted(SERVICE_LABELS))


# -------------------------------------------------------------------------------------------------- metrics


@question("Which metrics does the experiment's TensorBoard have?", "three of /train_ and three of /eval_")
def metrics(evidence: Evidence) -> Answer:
    _reply(evidence, "experiment")
    series = evidence.reply("time_series").items("tensorboardTimeSeries")
    found = sorted(str(dig(one, "displayName")) for one in series)
    expected = sorted(f"/{part}_{metric}" for part in ("train", "eval") for metric in METRICS)
    return Answer(found or _way_to_metrics(evidence), found == expected)


@question("Are there losses at each checkpoint's step?", "yes, of training and of validation")
def metrics_at_checkpoints(evidence: Evidence) -> Answer:
    steps = {int(one["step"]) for one in _checkpoints(evidence)}
    found = {name: _steps(evidence, f"/{name}_total_loss") for name in ("train", "eval")}
    observed = ", ".join(f"{name} at {len(at & steps)} of {len(steps)}" for name, at in found.items())
    return Answer(observed, bool(steps) and all(steps <= at for at in found.values()))


# -------------------------------------------------------------------------------------------------- the copy


@question("What does the operation of a copy say when it is done?", "response with model, without version, and its id")
def copy_operation(evidence: Evidence) -> Answer:
    reply = _reply(evidence, "copy_operation")
    response = reply.at("response") or {}
    form = r"projects/\d+/locations/[a-z0-9-]+/models/[^/@]+"
    named = bool(re.fullmatch(form + r"/operations/[^/]+", str(reply.at("name"))))
    made = bool(re.fullmatch(form, str(response.get("model")))) and bool(response.get("modelVersionId"))
    observed = f"{reply.status}, done {reply.at('done')}, {sorted(set(response) - {'@type'})}" + _said(reply)
    return Answer(observed, reply.ok and named and made and reply.at("done") is True)


@question("Can it be read below /ui/, as google-cloud-aiplatform does?", "200")
def copy_operation_below_ui(evidence: Evidence) -> Answer:
    reply = _reply(evidence, "copy_operation_ui")
    return Answer(f"{reply.status}" + _said(reply), reply.ok)


@question("Is it in the list of the copy's operations?", "yes")
def copy_operations(evidence: Evidence) -> Answer:
    reply = _reply(evidence, "copy_operations")
    names = [dig(one, "name") for one in reply.items("operations")]
    there = _reply(evidence, "copy_operation").at("name") in names
    return Answer(f"{reply.status}, {_yes(there)}" + _said(reply), there)


@question("Does a copy keep checkpoints and default?", "both")
def copy_keeps(evidence: Evidence) -> Answer:
    model, copy = _reply(evidence, "model"), _reply(evidence, "copy")
    kept = {name: copy.at(name) == model.at(name) for name in ("checkpoints", "defaultCheckpointId")}
    return Answer(", ".join(f"{name}: {_yes(same)}" for name, same in kept.items()), copy.ok and all(kept.values()))


@question("Does a copy keep labels, and is it deployed?", "labels yes, deployed no")
def copy_drops(evidence: Evidence) -> Answer:
    model, copy = _reply(evidence, "model"), _reply(evidence, "copy")
    labels, deployed = copy.at("labels") == model.at("labels"), bool(copy.at("deployedModels"))
    return Answer(f"labels {_yes(labels)}, deployed {_yes(deployed)}", copy.ok and labels and not deployed)


# -------------------------------------------------------------------------------------------------- cancelling


@question("Through which states does a job go that is cancelled?", "PENDING, CANCELLING, CANCELLED", provoked=False)
def cancelled_states(evidence: Evidence) -> Answer:
    if not evidence.cancelled:
        return NOT_SEEN
    seen = [str(look.job.get("state")).removeprefix("JOB_STATE_") for look in evidence.cancelled]
    order = ("PENDING", "CANCELLING", "CANCELLED")
    found = _in_order(seen, order)
    seconds = evidence.cancelled[-1].seconds
    return Answer(f"{found.observed}, {seconds:.0f} s", bool(found.agrees) and seen[-1] == "CANCELLED")


@question("What does a cancelled job say, and has it a model?", "error code 1, no model", provoked=False)
def cancelled_job(evidence: Evidence) -> Answer:
    if not evidence.cancelled:
        return NOT_SEEN
    job = evidence.cancelled[-1].job
    code, model = dig(job, "error", "code"), dig(job, "tunedModel", "model")
    labelled = dig(job, "labels", CANCEL_LABEL) == evidence.asked.run
    return Answer(f"error code {code}, model {_yes(bool(model))}", code == 1 and not model and labelled)


# -------------------------------------------------------------------------------------------------- helpers


def _in_order(seen: Sequence[str], order: Sequence[str]) -> Answer:
    """Return what was seen, and whether it came in this order, each at most once."""
    found = [one for before, one in zip([None, *seen], seen, strict=False) if one != before]
    agrees = bool(found) and found == [one for one in order if one in found]
    return Answer(", ".join(found) or "nothing", agrees)


def _labels(evidence: Evidence, holders: Sequence[Any]) -> Answer:
    wanted = dict(_job(evidence).get("labels") or {})
    kept = [name for name in wanted if holders and all(dig(labels, name) == wanted[name] for labels in holders)]
    return Answer(f"{len(kept)} of {len(wanted)}", bool(wanted) and len(kept) == len(wanted))


def _steps(evidence: Evidence, metric: str) -> set[int]:
    """Return the steps at which a metric has a finite value."""
    series = _reply(evidence, "time_series").items("tensorboardTimeSeries")
    ids = [str(dig(one, "name")).rpartition("/")[2] for one in series if dig(one, "displayName") == metric]
    data = _reply(evidence, "batch_read").items("timeSeriesData")
    points = [dig(one, "values") or [] for one in data if dig(one, "tensorboardTimeSeriesId") in ids]
    valued = [point for values in points for point in values if dig(point, "scalar", "value") is not None]
    return {int(point.get("step", 0)) for point in valued}


def _way_to_metrics(evidence: Evidence) -> str:
    """Say how far the way to the metrics led."""
    asked = {name: evidence.reply(name) for name in ("experiment", "experiment_runs", "time_series", "batch_read")}
    return "; ".join(f"{name} {reply.status}" + _said(reply) for name, reply in asked.items())


def _reply(evidence: Evidence, name: str) -> Reply:
    """Return an answer that says something.

    :raises UnansweredError: when there is none.
    """
    reply = evidence.reply(name)
    if reply.status in SAYS_NOTHING or reply.status >= 500:
        raise UnansweredError(f"{name}: {reply.status or 'not asked'}" + (_said(reply) if reply.body else ""))
    return reply


def _job(evidence: Evidence) -> Json:
    _reply(evidence, "job")
    return evidence.job


def _checkpoints(evidence: Evidence) -> list[Json]:
    _reply(evidence, "job")
    return evidence.checkpoints


def _endpoints(evidence: Evidence, kind: str = "endpoint") -> list[Reply]:
    """Return an answer for each checkpoint; an empty one for a checkpoint without endpoint."""
    checkpoints = enumerate(_checkpoints(evidence), 1)
    return [
        _reply(evidence, f"{kind}_{number}") if one.get("endpoint") else Reply("no endpoint", 0, None)
        for number, one in checkpoints
    ]


def _looks(evidence: Evidence) -> list[Look]:
    if not evidence.looks:
        raise UnansweredError("no job was seen")
    return evidence.looks


def _number(job: Json, name: str) -> int:
    return int(dig(job, "tuningJobMetadata", name) or 0)


def _time(resource: Any, name: str) -> float:
    return datetime.fromisoformat(str(dig(resource, name))).timestamp()


def _code(reply: Reply) -> Any:
    return reply.at("error", "status")


def _said(reply: Reply) -> str:
    """Return the service's words when it refused."""
    if reply.ok:
        return ""
    words = reply.at("error", "message") or reply.body or "no answer"
    return f", {_code(reply)}: {words}"[:300]


def _yes(value: bool) -> str:
    return "yes" if value else "no"
