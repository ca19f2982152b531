"""projects.locations.endpoints, and prompts to base models."""

import json
from collections.abc import Mapping

from starlette.responses import Response

from vertex_emulator.call import Call, Entry
from vertex_emulator.clock import timestamp
from vertex_emulator.errors import GoogleError, invalid_argument
from vertex_emulator.learner import answer
from vertex_emulator.operations import EMPTY
from vertex_emulator.prompts import Prompt, cut, read_prompt, render_answer, render_chunks, render_count
from vertex_emulator.protojson import Type, read_message
from vertex_emulator.records import Endpoint
from vertex_emulator.render import Json, render_endpoint, render_operation
from vertex_emulator.routes.listing import NO_ORDER, USUAL_ORDER, listed

_LOCATION = "/{version:version}/projects/{project}/locations/{location}"
_COLLECTION = _LOCATION + "/endpoints"
_ENDPOINT = _COLLECTION + "/{id:id}"
_MODEL = _LOCATION + "/models/{id:id}"
_PUBLISHER_MODEL = _LOCATION + "/publishers/{publisher}/models/{id:id}"
ENDPOINT: Mapping[str, Type] = {
    **dict.fromkeys(
        (
            "clientConnectionConfig", "createTime", "dedicatedEndpointDns", "dedicatedEndpointEnabled",
            "deployedModels", "enablePrivateServiceConnect", "etag", "gdcConfig", "genAiAdvancedFeaturesConfig",
            "modelDeploymentMonitoringJob", "name", "network", "predictRequestResponseLoggingConfig",
            "privateServiceConnectConfig", "publisherModelConfig", "satisfiesPzi", "satisfiesPzs", "updateTime",
        ),
        "any",
    ),
    "displayName": "string",
    "description": "string",
    "labels": "labels",
    "trafficSplit": "numbers",
    "encryptionSpec": {"kmsKeyName": "string"},
}  # fmt: skip
DEPLOYED_MODEL: Mapping[str, Type] = {
    **dict.fromkeys(
        (
            "automaticResources", "createTime", "dedicatedResources", "disableContainerLogging", "disableExplanations",
            "enableAccessLogging", "enableContainerLogging", "explanationSpec", "fasterDeploymentConfig",
            "fullFineTunedResources", "gdcConnectedModel", "modelVersionId", "privateEndpoints", "rolloutOptions",
            "serviceAccount", "sharedResources", "speculativeDecodingSpec", "status",
            "systemLabels",
        ),
        "any",
    ),
    "id": "string",
    "model": "string",
    "checkpointId": "string",
    "displayName": "string",
}  # fmt: skip
_DEPLOY: Mapping[str, Type] = {"endpoint": "string", "deployedModel": DEPLOYED_MODEL, "trafficSplit": "numbers"}
_UNDEPLOY: Mapping[str, Type] = {"endpoint": "string", "deployedModelId": "string", "trafficSplit": "numbers"}


def get(call: Call) -> Json:
    """One endpoint."""
    return render_endpoint(_endpoint(call))


def list_endpoints(call: Call) -> Json:
    """Return a page of endpoints."""
    parent = call.parent
    endpoints = (endpoint for endpoint in reversed(call.world.store.endpoints.values()) if endpoint.parent == parent)
    # v1beta1 has no orderBy here (discovery documents).
    order = USUAL_ORDER if call.version == "v1" else NO_ORDER
    return listed(call, "endpoints", endpoints, render_endpoint, order=order, mask=ENDPOINT)


def create(call: Call) -> Json:
    """Start to make an endpoint."""
    request = read_message(call.json(), ENDPOINT, "endpoint")
    arguments = call.world.deployments.check_create(call.parent, request, call.query("endpointId"))
    name = call.parent.child("endpoints", arguments["id"])
    return _start(
        call, name, "CreateEndpoint", "create endpoint", arguments=arguments, seconds=call.world.settings.pace.endpoint
    )


def patch(call: Call) -> Json:
    """Update an endpoint; without updateMask, the fields in the body are the mask."""
    endpoint = _endpoint(call)
    changes = read_message(call.json(), ENDPOINT, "endpoint")
    call.world.deployments.update(endpoint, changes, call.query("updateMask"), call.now)
    return render_endpoint(endpoint)


def deploy(call: Call) -> Json:
    """Start to deploy a checkpoint of a model version."""
    endpoint = _endpoint(call)
    arguments = call.world.deployments.check_deploy(endpoint, read_message(call.json(), _DEPLOY))
    return _start(
        call, endpoint.name, "DeployModel", "deploy", arguments=arguments, seconds=call.world.settings.pace.deploy
    )


def undeploy(call: Call) -> Json:
    """Take a deployed model off, which is done at once."""
    endpoint = _endpoint(call)
    request = read_message(call.json(), _UNDEPLOY)
    call.world.serving.undeploy(endpoint, request.get("deployedModelId", ""), call.now, request.get("trafficSplit"))
    response = {"@type": "UndeployModelResponse"}
    return _finished(call, endpoint, "UndeployModelOperationMetadata", response)


def delete(call: Call) -> Json:
    """Delete an endpoint, which is done at once."""
    endpoint = _endpoint(call)
    call.world.serving.delete(endpoint)
    return _finished(call, endpoint, "DeleteOperationMetadata")


def generate(call: Call) -> Json:
    """Answer a prompt."""
    prompt = read_prompt(call.json())
    text, model_version = _answer(call, prompt)
    _note(call)
    return render_answer(prompt, cut(text, prompt.max_tokens), model_version, timestamp(call.now))


def stream(call: Call) -> Response:
    """Answer a prompt in parts: server-sent events with ``alt=sse``, else a JSON array."""
    prompt = read_prompt(call.json())
    text, model_version = _answer(call, prompt)
    _note(call)
    chunks = render_chunks(prompt, cut(text, prompt.max_tokens), model_version, timestamp(call.now))
    lines = [json.dumps(chunk) for chunk in chunks]
    if call.query("alt") == "sse":
        return Response("".join(f"data: {line}\r\n\r\n" for line in lines), media_type="text/event-stream")
    return Response("[" + "\n,\r\n".join(lines) + "\n]", media_type="application/json")


def count(call: Call) -> Json:
    """Count the tokens of a prompt."""
    prompt = read_prompt(call.json())
    _answer(call, prompt)
    return render_count(prompt)


def refuse_model(call: Call) -> Json:
    """Prompts go to an endpoint, never to a model of the registry."""
    name = call.parent.child("models", call.path["id"])
    raise invalid_argument(f"{name} can't be prompted: send the request to an endpoint where the model is deployed.")


def _answer(call: Call, prompt: Prompt) -> tuple[str, str]:
    """Text of the answer, and the name of what gave it."""
    if "publisher" in call.path:
        return answer(prompt.user_texts, []), _base_model(call)
    deployed = call.world.serving.deployed(_endpoint(call), prompt.user_texts[-1])
    return call.world.serving.answer(deployed, prompt.user_texts), f"{deployed.model}@{deployed.version_id}"


def _note(call: Call) -> None:
    """Count what an endpoint was asked; counting tokens asks nothing."""
    if "publisher" not in call.path:
        call.world.traffic.note(call.parent.child("endpoints", call.path["id"]), call.now)


def _base_model(call: Call) -> str:
    model_id = call.path["id"]
    if call.path["publisher"] != "google" or not model_id.startswith("gemini-"):
        name = f"{call.parent}/publishers/{call.path['publisher']}/models/{model_id}"
        raise GoogleError(404, f"Publisher Model `{name}` was not found or your project does not have access to it.")
    return model_id


def _endpoint(call: Call) -> Endpoint:
    return call.world.serving.endpoint(call.parent, call.path["id"])


def _start(call: Call, name: str, what: str, work: str, *, arguments: Json, seconds: float) -> Json:
    operation = call.world.operations.start(
        name,
        f"{what}OperationMetadata",
        work,
        arguments=arguments,
        now=call.now,
        seconds=seconds,
        version=call.version,
    )
    return render_operation(operation)


def _finished(call: Call, endpoint: Endpoint, metadata_type: str, response: Json = EMPTY) -> Json:
    operation = call.world.operations.finished(endpoint.name, metadata_type, call.now, call.version, response)
    return render_operation(operation)


ROUTES = [
    Entry("GET", _ENDPOINT, get),
    Entry("GET", _COLLECTION, list_endpoints),
    Entry("POST", _COLLECTION, create),
    Entry("PATCH", _ENDPOINT, patch),
    Entry("POST", _ENDPOINT + ":deployModel", deploy),
    Entry("POST", _ENDPOINT + ":undeployModel", undeploy),
    Entry("DELETE", _ENDPOINT, delete),
    *(Entry("POST", f"{base}:generateContent", generate, reads=True) for base in (_ENDPOINT, _PUBLISHER_MODEL)),
    *(Entry("POST", f"{base}:streamGenerateContent", stream, reads=True) for base in (_ENDPOINT, _PUBLISHER_MODEL)),
    *(Entry("POST", f"{base}:countTokens", count, reads=True) for base in (_ENDPOINT, _PUBLISHER_MODEL)),
    *(
        Entry("POST", f"{_MODEL}:{verb}", refuse_model, reads=True)
        for verb in ("generateContent", "streamGenerateContent", "countTokens")
    ),
]
