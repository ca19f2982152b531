"""The model registry and model copies over the wire, with google-genai and google-cloud-aiplatform."""

import pytest
from google.api_core import exceptions
from google.cloud.aiplatform_v1 import CopyModelRequest, Model
from google.genai.errors import ClientError
from google.genai.types import CreateTuningJobConfig, TuningDataset, UpdateModelConfig
from google.longrunning.operations_pb2 import GetOperationRequest
from google.protobuf.field_mask_pb2 import FieldMask

DESTINATION = "projects/other-project/locations/europe-west4"


@pytest.fixture
def job(emulator, genai_client):
    """A finished job with three checkpoints."""
    started = genai_client.tunings.tune(
        base_model="gemini-2.5-flash",
        training_dataset=TuningDataset(gcs_uri="gs://data/train.jsonl"),
        config=CreateTuningJobConfig(epoch_count=3, tuned_model_display_name="mine"),
    )
    emulator.advance(3600)
    return genai_client.tunings.get(name=started.name)


@pytest.fixture
def model(job):
    """Name of its model, with the version."""
    return job.tuned_model.model


def bare(name):
    return name.partition("@")[0]


class TestGet:
    def test_with_version_alias_and_neither(self, emulator, model):
        def get(name):
            return emulator.request("GET", f"/v1/{name}").json()

        versioned = get(model)
        assert versioned["name"] == model
        assert get(model.replace("@", "%40")) == versioned
        assert get(bare(model) + "@default") == versioned
        assert get(bare(model)) == {**versioned, "name": bare(model)}
        assert versioned["versionAliases"] == ["default"]
        assert versioned["checkpoints"][0] == {"checkpointId": "1", "epoch": "1", "step": "9"}

    def test_generated_client_reads_enums_as_numbers(self, models_client, model):
        read = models_client.get_model(name=model)
        assert read.name == model
        assert read.default_checkpoint_id == "3"
        assert [(item.checkpoint_id, item.epoch, item.step) for item in read.checkpoints] == [
            ("1", 1, 9),
            ("2", 2, 18),
            ("3", 3, 27),
        ]
        assert len(read.deployed_models) == 3

    @pytest.mark.parametrize("change", [lambda name: bare(name) + "@9", lambda name: bare(name) + "0@1"])
    def test_unknown_is_404(self, genai_client, model, change):
        with pytest.raises(ClientError) as missing:
            genai_client.models.get(model=change(model))
        assert missing.value.code == 404

    def test_list(self, emulator, genai_client, model):
        listed = list(genai_client.models.list(config={"query_base": False, "filter": 'display_name="mine"'}))
        assert [item.name for item in listed] == [bare(model)]
        assert not list(genai_client.models.list(config={"query_base": False, "filter": 'display_name="x"'}))
        sent = [entry["query"] for entry in emulator.requests() if entry["path"].endswith("/models")]
        assert sent[0].count("filter=") == 2


class TestUpdate:
    def test_without_mask(self, genai_client, job, model):
        updated = genai_client.models.update(model=model, config=UpdateModelConfig(default_checkpoint_id="1"))
        assert updated.default_checkpoint_id == "1"
        assert updated.display_name == "mine"
        assert genai_client.tunings.get(name=job.name).tuned_model.endpoint == job.tuned_model.checkpoints[0].endpoint

    def test_with_mask(self, models_client, model):
        change = Model(name=model, display_name="ignored", description="new", default_checkpoint_id="2")
        mask = FieldMask(paths=["description", "default_checkpoint_id"])
        updated = models_client.update_model(model=change, update_mask=mask)
        assert (updated.display_name, updated.description) == ("mine", "new")
        assert updated.default_checkpoint_id == "2"

    def test_mask_clears_what_the_body_lacks(self, emulator, model):
        reply = emulator.request("PATCH", f"/v1/{model}?updateMask=labels", json={})
        assert "labels" not in reply.json()

    def test_an_etag_is_kept_to(self, emulator, model):
        """Also when two changes come at the same time of the clock."""
        address = f"/v1/{model}?updateMask=labels,defaultCheckpointId"

        def change(default, etag):
            body = {"labels": {"a": default}, "defaultCheckpointId": default, "etag": etag}
            return emulator.request("PATCH", address, json=body)

        first = emulator.request("GET", f"/v1/{model}").json()["etag"]
        second = change("1", first).json()["etag"]
        refused = change("2", first)
        assert (refused.status_code, refused.json()["error"]["status"]) == (409, "ABORTED")
        now = emulator.request("GET", f"/v1/{model}").json()
        assert (now["defaultCheckpointId"], now["labels"], now["etag"]) == ("1", {"a": "1"}, second)
        assert change("2", second).json()["defaultCheckpointId"] == "2"
        assert change("1", "").json()["defaultCheckpointId"] == "1", "without one, whatever there is is overwritten"

    @pytest.mark.parametrize(
        ("query", "change"),
        [
            ("", {"defaultCheckpointId": "9"}),
            ("?updateMask=defaultCheckpointId", {}),
            ("?updateMask=name", {"name": "x"}),
            ("", {"labels": {"Bad": "x"}}),
            ("", {"surprise": 1}),
        ],
    )
    def test_refused(self, emulator, model, query, change):
        reply = emulator.request("PATCH", f"/v1/{model}{query}", json=change)
        assert reply.status_code == 400
        assert reply.json()["error"]["status"] == "INVALID_ARGUMENT"
        assert emulator.request("GET", f"/v1/{model}").json()["defaultCheckpointId"] == "3"


def test_versions_checkpoints_and_aliases(models_client, model):
    assert [item.name for item in models_client.list_model_versions(name=bare(model))] == [model]
    assert [item.step for item in models_client.list_model_version_checkpoints(name=model)] == [9, 18, 27]
    merged = models_client.merge_version_aliases(name=model, version_aliases=["champion"])
    assert list(merged.version_aliases) == ["default", "champion"]
    assert models_client.get_model(name=bare(model) + "@champion").version_id == "1"
    merged = models_client.merge_version_aliases(name=model, version_aliases=["-champion"])
    assert list(merged.version_aliases) == ["default"]
    with pytest.raises(exceptions.BadRequest):
        models_client.merge_version_aliases(name=model, version_aliases=["-default"])


class TestPages:
    def test_of_models(self, emulator, genai_client, models_client, model):
        parent = bare(model).partition("/models/")[0]
        names = [bare(model)]
        for number in range(4):
            request = {"parent": parent, "source_model": model, "model_id": f"copy-{number}"}
            operation = models_client.copy_model(request)
            emulator.advance(10)
            names.append(operation.result(timeout=10).model)
        pages = list(models_client.list_models({"parent": parent, "page_size": 2}).pages)
        assert [len(page.models) for page in pages] == [2, 2, 1]
        assert [item.name for page in pages for item in page.models] == names[::-1]
        listed = genai_client.models.list(config={"query_base": False, "page_size": 2})
        assert [item.name for item in listed] == names[::-1]
        change = {"name": names[2], "labels": {"stage": "b"}}
        models_client.update_model(model=change, update_mask={"paths": ["labels"]})

        def found(filter_):
            return [item.name for item in models_client.list_models({"parent": parent, "filter": filter_})]

        assert found('labels.stage="b"') == [names[2]]
        assert found("labels.stage:*") == [names[2]]
        assert found('display_name="mine" AND NOT labels.stage="b"') == [names[4], names[3], names[1], names[0]]
        assert found(f'name="{names[1]}"') == [names[1]]

    def test_of_versions_and_checkpoints(self, emulator, models_client, model):
        parent = bare(model).partition("/models/")[0]
        for _ in range(4):
            models_client.copy_model({"parent": parent, "source_model": model, "parent_model": bare(model)})
            emulator.advance(10)
        pages = list(models_client.list_model_versions({"name": bare(model), "page_size": 2}).pages)
        assert [[item.version_id for item in page.models] for page in pages] == [["5", "4"], ["3", "2"], ["1"]]
        pages = list(models_client.list_model_version_checkpoints({"name": model, "page_size": 2}).pages)
        assert [[item.step for item in page.checkpoints] for page in pages] == [[9, 18], [27]]
        wrong = emulator.request("GET", f"/v1/{model}:listCheckpoints?pageToken=x")
        assert wrong.json()["error"]["message"] == "Invalid page_token: x"


class TestCopy:
    def copy(self, client, source, **more):
        return client.copy_model(CopyModelRequest(parent=DESTINATION, source_model=source, **more))

    def test_keeps_checkpoints_and_default(self, emulator, genai_client, models_client, model):
        genai_client.models.update(model=model, config=UpdateModelConfig(default_checkpoint_id="2"))
        operation = self.copy(models_client, model, model_id="copied_1")
        name = operation.operation.name
        assert name.startswith("projects/") and "/locations/europe-west4/models/copied_1/operations/" in name
        assert not operation.operation.done

        poll = models_client.transport.operations_client.get_operation
        assert not poll(name).done
        emulator.advance(3)
        assert poll(name).done
        response = operation.result(timeout=10)
        assert response.model_version_id == "1"

        copied, source = models_client.get_model(name=response.model), models_client.get_model(name=model)
        assert list(copied.checkpoints) == list(source.checkpoints)
        assert copied.default_checkpoint_id == "2"
        assert copied.model_source_info.copy
        assert not copied.deployed_models
        assert not source.model_source_info.copy

    def test_operation_on_both_paths(self, emulator, models_client, model):
        name = self.copy(models_client, model).operation.name
        emulator.advance(3)
        for prefix, version in (("v1", "v1"), ("v1beta1", "v1beta1"), ("ui", "v1")):
            operation = emulator.request("GET", f"/{prefix}/{name}").json()
            assert operation["done"] is True
            assert operation["metadata"]["@type"].endswith(f".{version}.CopyModelOperationMetadata")
            assert operation["response"]["modelVersionId"] == "1"
        assert models_client.get_operation(GetOperationRequest(name=name)).done

    def test_into_a_parent_model(self, emulator, models_client, model):
        first = self.copy(models_client, model, model_id="target")
        emulator.advance(3)
        parent_model = first.result(timeout=10).model
        second = self.copy(models_client, model, parent_model=parent_model)
        emulator.advance(3)
        response = second.result(timeout=10)
        assert (response.model, response.model_version_id) == (parent_model, "2")
        assert models_client.get_model(name=parent_model).version_id == "1", "the default version stays"

    def test_default_version_without_version(self, emulator, models_client, model):
        operation = self.copy(models_client, bare(model))
        emulator.advance(3)
        assert models_client.get_model(name=operation.result(timeout=10).model).display_name == "mine"

    def test_taken_id(self, emulator, models_client, model):
        def again():
            with pytest.raises(exceptions.Conflict, match=r"/europe-west4/models/taken. already exists") as refused:
                self.copy(models_client, model, model_id="taken")
            assert refused.value.response.json()["error"]["status"] == "ALREADY_EXISTS"

        first = self.copy(models_client, model, model_id="taken")
        again()
        emulator.advance(3)
        again()
        elsewhere = {"parent": bare(model).partition("/models/")[0], "source_model": model, "model_id": "taken"}
        models_client.copy_model(elsewhere)
        models_client.delete_model(name=first.result(timeout=10).model)
        self.copy(models_client, model, model_id="taken")

    def test_an_id_is_free_again_after_a_copy_that_failed(self, emulator, models_client, model):
        emulator.faults([{"operation": "copy", "outcome": "failed", "times": 1}])
        failed = self.copy(models_client, model, model_id="taken")
        emulator.advance(3)
        with pytest.raises(exceptions.GoogleAPICallError):
            failed.result(timeout=10)
        again = self.copy(models_client, model, model_id="taken")
        emulator.advance(3)
        assert again.result(timeout=10).model.endswith("/models/taken")

    def test_it_names_its_original(self, emulator, models_client, model):
        """Also when the source was named by alias or not at all, and in a new version of a model that is there."""
        assert not models_client.get_model(name=model).original_model_info.model
        names = []
        for source in (bare(model), model, bare(model) + "@default"):
            target = {"parent_model": names[0]} if names else {"model_id": "a"}
            operation = self.copy(models_client, source, **target)
            emulator.advance(3)
            names.append(operation.result(timeout=10).model)
        assert len(set(names)) == 1
        versions = models_client.list_model_versions(name=names[0])
        assert [(item.version_id, item.original_model_info.model) for item in versions] == [
            (number, model) for number in ("3", "2", "1")
        ]
        assert models_client.get_model(name=f"{names[0]}@2").original_model_info.model == model
        copied = self.copy(models_client, f"{names[0]}@2", model_id="of-a-copy")
        emulator.advance(3)
        copied = models_client.get_model(name=copied.result(timeout=10).model)
        assert copied.original_model_info.model == f"{names[0]}@2"

    def test_into_a_parent_model_that_is_deleted_meanwhile(self, emulator, models_client, model):
        first = self.copy(models_client, model, model_id="target")
        emulator.advance(3)
        target = first.result(timeout=10).model
        second = self.copy(models_client, model, parent_model=target)
        models_client.delete_model(name=target)
        emulator.advance(3)
        with pytest.raises(exceptions.GoogleAPICallError, match="does not exist"):
            second.result(timeout=10)
        with pytest.raises(exceptions.NotFound):
            models_client.get_model(name=target)

    @pytest.mark.parametrize("model_id", ["1abc", "-abc", "Abc", "a" * 64, "a b"])
    def test_bad_id(self, models_client, model, model_id):
        with pytest.raises(exceptions.BadRequest):
            self.copy(models_client, model, model_id=model_id)

    def test_unknown_source(self, models_client, model):
        with pytest.raises(exceptions.NotFound):
            self.copy(models_client, bare(model) + "@7")

    def test_source_deleted_meanwhile_fails_the_operation(self, emulator, models_client, model, job):
        operation = self.copy(models_client, model, model_id="late")
        for checkpoint in job.tuned_model.checkpoints:
            undeploy(emulator, checkpoint.endpoint)
        models_client.delete_model(name=bare(model))
        emulator.advance(3)
        with pytest.raises(exceptions.GoogleAPICallError, match="does not exist"):
            operation.result(timeout=10)
        self_again = emulator.request("GET", f"/v1/{operation.operation.name}").json()
        assert self_again["done"] and "response" not in self_again


class TestOperations:
    """What the operations of a model list."""

    NAME = f"{DESTINATION}/models/target"

    def copy(self, client, source, **more):
        request = CopyModelRequest(parent=DESTINATION, source_model=source, **more)
        return client.copy_model(request).operation.name

    def listed(self, client, name=NAME, **more):
        found = client.transport.operations_client.list_operations(name=name, **{"filter_": "", **more})
        return [(item.name, item.done) for item in found]

    def test_of_a_copy_from_the_start(self, emulator, models_client, model):
        assert self.listed(models_client) == []
        name = self.copy(models_client, model, model_id="target")
        assert self.listed(models_client) == [(name, False)]
        with pytest.raises(exceptions.NotFound):
            models_client.get_model(name=self.NAME)
        emulator.advance(3)
        assert self.listed(models_client) == [(name, True)]

    def test_of_one_that_failed(self, emulator, models_client, model):
        emulator.faults([{"operation": "copy", "outcome": "failed", "times": 1}])
        failed = self.copy(models_client, model, model_id="target")
        emulator.advance(3)
        second = self.copy(models_client, model, model_id="target")
        assert self.listed(models_client) == [(second, False), (failed, True)]
        assert self.listed(models_client, filter_="done=false") == [(second, False)]
        assert self.listed(models_client, filter_="done=true") == [(failed, True)]

    def test_of_a_parent_model_only(self, emulator, models_client, model):
        first = self.copy(models_client, model, model_id="target")
        self.copy(models_client, model, model_id="another")
        emulator.advance(3)
        second = self.copy(models_client, model, parent_model=self.NAME)
        assert self.listed(models_client) == [(second, False), (first, True)]
        assert self.listed(models_client, name=f"{self.NAME}@1") == self.listed(models_client)

    def test_in_pages_on_every_path(self, emulator, models_client, model):
        names = [self.copy(models_client, model, model_id="target")]
        for _ in range(2):
            emulator.advance(3)
            names.append(self.copy(models_client, model, parent_model=self.NAME))
        assert [name for name, _ in self.listed(models_client, page_size=2)] == names[::-1]
        for prefix, version in (("v1", "v1"), ("v1beta1", "v1beta1"), ("ui", "v1")):
            page = emulator.request("GET", f"/{prefix}/{self.NAME}/operations?pageSize=2").json()
            assert [item["name"] for item in page["operations"]] == names[:0:-1]
            assert page["operations"][0]["metadata"]["@type"].endswith(f".{version}.CopyModelOperationMetadata")
            rest = f"/{prefix}/{self.NAME}/operations?pageSize=2&pageToken={page['nextPageToken']}"
            assert [item["name"] for item in emulator.request("GET", rest).json()["operations"]] == names[:1]


def undeploy(emulator, endpoint):
    deployed = emulator.request("GET", f"/v1/{endpoint}").json()["deployedModels"][0]["id"]
    reply = emulator.request("POST", f"/v1/{endpoint}:undeployModel", json={"deployedModelId": deployed})
    assert reply.json()["done"] is True


class TestDelete:
    def test_refused_while_deployed(self, models_client, model):
        with pytest.raises(exceptions.BadRequest, match="deployed"):
            models_client.delete_model(name=bare(model))

    def test_after_cleaning_up(self, emulator, models_client, job, model):
        for checkpoint in job.tuned_model.checkpoints:
            refused = emulator.request("DELETE", f"/v1/{checkpoint.endpoint}")
            assert refused.json()["error"]["status"] == "FAILED_PRECONDITION"
            undeploy(emulator, checkpoint.endpoint)
            emulator.request("DELETE", f"/v1/{checkpoint.endpoint}").raise_for_status()
        models_client.delete_model(name=bare(model)).result(timeout=10)
        with pytest.raises(exceptions.NotFound):
            models_client.get_model(name=model)
        assert emulator.request("GET", f"/v1/{job.name}").json()["tunedModel"]["model"] == model

    def test_a_version(self, emulator, models_client, job, model):
        parent = bare(model).partition("/models/")[0]
        request = {"parent": parent, "source_model": model, "parent_model": bare(model)}
        models_client.copy_model(request)
        emulator.advance(10)
        with pytest.raises(exceptions.BadRequest, match="deployed"):
            models_client.delete_model_version(name=model)
        models_client.delete_model_version(name=f"{bare(model)}@2").result(timeout=10)
        with pytest.raises(exceptions.NotFound):
            models_client.get_model(name=f"{bare(model)}@2")
        models_client.copy_model(request)
        emulator.advance(10)
        versions = models_client.list_model_versions(name=bare(model))
        assert [item.version_id for item in versions] == ["3", "1"], "numbers are not given twice"

    def test_default_version_stays(self, emulator, models_client, model):
        copied = models_client.copy_model(CopyModelRequest(parent=DESTINATION, source_model=model, model_id="c"))
        emulator.advance(3)
        name = copied.result(timeout=10).model
        with pytest.raises(exceptions.BadRequest):
            models_client.delete_model_version(name=f"{name}@1")
