"""Endpoints: deployments, and the answers of what is deployed there."""

from collections.abc import Sequence

from .errors import failed_precondition, not_found
from .learner import Lesson, answer
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
        version.deployments.append(Deployment(endpoint.name, deployed_id, checkpoint.checkpoint_id))
        checkpoint.endpoint = endpoint.name
        return endpoint

    def undeploy(self, endpoint: Endpoint, deployed_model_id: str, now: float) -> None:
        """Take a deployed model off an endpoint."""
        found = next((item for item in endpoint.deployed if item.id == deployed_model_id), None)
        if found is None:
            raise not_found("DeployedModel", f"{endpoint.name}/deployedModels/{deployed_model_id}")
        endpoint.deployed.remove(found)
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

    def deployed(self, endpoint: Endpoint) -> DeployedModel:
        """Find what answers prompts at an endpoint, or 400 when there is nothing."""
        if not endpoint.deployed:
            raise failed_precondition(f"The Endpoint {endpoint.name} has no deployed model.")
        return endpoint.deployed[0]

    def answer(self, deployed: DeployedModel, user_texts: Sequence[str]) -> str:
        """Reply of a deployed checkpoint."""
        model = self._store.models.get(deployed.model)
        version = model and model.versions.get(deployed.version_id)
        checkpoint = version and version.checkpoint(deployed.checkpoint_id)
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
