"""Endpoints: deployments, and the answers of what is deployed there."""

from collections.abc import Mapping, Sequence

from .errors import failed_precondition, invalid_argument, not_found
from .learner import Lesson, answer, fraction
from .names import Parent, derived_id
from .records import Checkpoint, DeployedModel, Deployment, Endpoint, Exposure, Model, ModelVersion, Store


class Serving:
    """Reads and changes endpoints."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def endpoint(self, parent: Parent, endpoint_id: str) -> Endpoint:
        """Return the endpoint, or 404."""
        name = parent.child("endpoints", endpoint_id)
        if name not in self._store.endpoints:
            raise not_found("Endpoint", name)
        return self._store.endpoints[name]

    def deploy_to_new_endpoint(
        self, model: Model, version: ModelVersion, checkpoint: Checkpoint, now: float
    ) -> Endpoint:
        """Make an endpoint of its own for a checkpoint, as tuning does. Its id follows from the checkpoint."""
        endpoint_id = derived_id("endpoint", model.name, version.version_id, checkpoint.checkpoint_id)
        endpoint = Endpoint(
            self._store.next_seq(),
            model.parent,
            endpoint_id,
            now,
            now,
            version.display_name,
            dict(version.labels),
        )
        self._store.endpoints[endpoint.name] = endpoint
        deployed_id = derived_id("deployed model", endpoint.name)
        endpoint.deployed.append(
            DeployedModel(
                deployed_id, model.name, version.version_id, checkpoint.checkpoint_id, version.display_name, now
            )
        )
        endpoint.traffic = {deployed_id: 100}
        version.deployments.append(Deployment(endpoint.name, deployed_id, checkpoint.checkpoint_id))
        checkpoint.endpoint = endpoint.name
        return endpoint

    def undeploy(
        self, endpoint: Endpoint, deployed_model_id: str, now: float, traffic: dict[str, int] | None = None
    ) -> None:
        """Take a deployed model off an endpoint.

        :param traffic: split of the traffic among those that stay; they need one if the model has traffic (discovery
            document).
        """
        found = next((item for item in endpoint.deployed if item.id == deployed_model_id), None)
        if found is None:
            raise not_found("DeployedModel", f"{endpoint.name}/deployedModels/{deployed_model_id}")
        rest = [item for item in endpoint.deployed if item is not found]
        split = check_traffic(traffic, [item.id for item in rest]) if traffic else endpoint.traffic
        if rest and split.get(found.id):
            raise failed_precondition(f"The DeployedModel {found.id} has traffic; traffic_split must take it away.")
        endpoint.deployed = rest
        endpoint.traffic = {key: value for key, value in split.items() if key != found.id} if rest else {}
        endpoint.updated = now
        model = self._store.models.get(found.model)
        version = model and model.versions.get(found.version_id)
        if version:
            version.deployments = [item for item in version.deployments if item.deployed_model_id != found.id]

    def delete(self, endpoint: Endpoint) -> None:
        """Delete an endpoint with nothing deployed."""
        if endpoint.deployed:
            raise failed_precondition(f"The Endpoint {endpoint.name} can't be deleted: it has deployed models.")
        del self._store.endpoints[endpoint.name]

    def deployed(self, endpoint: Endpoint, prompt: str) -> DeployedModel:
        """Find what answers a prompt at an endpoint, or 400 when there is nothing.

        The traffic split counts over many prompts; one and the same prompt always goes the same way.
        """
        if not endpoint.deployed:
            raise failed_precondition(f"The Endpoint {endpoint.name} has no deployed model.")
        rest = fraction("traffic", endpoint.name, prompt) * 100
        for deployed in endpoint.deployed:
            rest -= endpoint.traffic.get(deployed.id, 0)
            if rest < 0:
                return deployed
        raise failed_precondition(f"The Endpoint {endpoint.name} has no traffic split.")

    def answer(self, deployed: DeployedModel, user_texts: Sequence[str]) -> str:
        """Reply of a deployed checkpoint."""
        model = self._store.models.get(deployed.model)
        version = model and model.versions.get(deployed.version_id)
        return self.reply(version.checkpoint(deployed.checkpoint_id) if version else None, user_texts)

    def reply(self, checkpoint: Checkpoint | None, user_texts: Sequence[str]) -> str:
        """Reply of a checkpoint; without one, of a base model."""
        return answer(user_texts, self._lessons(checkpoint.exposures if checkpoint else ()))

    def _lessons(self, exposures: Sequence[Exposure]) -> list[Lesson]:
        files = self._store.files
        return [
            Lesson(
                files[exposure.training].corpus,
                files[exposure.validation].corpus if exposure.validation else None,
                exposure.epochs,
                exposure.rate,
            )
            for exposure in exposures
        ]


def check_traffic(split: Mapping[str, int], known: list[str]) -> dict[str, int]:
    """Refuse a traffic split that names unknown deployed models or does not sum up to 100; empty means no traffic."""
    unknown = [key for key in split if key not in known]
    if unknown:
        raise invalid_argument(f"traffic_split names unknown deployed models: {', '.join(unknown)}")
    if split and (sum(split.values()) != 100 or min(split.values()) < 0):
        raise invalid_argument("The values of traffic_split must add up to 100.")
    return dict(split)
