"""orderBy and readMask of lists."""

import pytest

from vertex_emulator.errors import GoogleError
from vertex_emulator.masks import parse_mask, select
from vertex_emulator.ordering import in_order, parse_order

PARENT = "projects/demo-project/locations/us-central1"
FIELDS = {"displayName": "displayName", "createTime": "versionCreateTime"}


class TestOrder:
    ROWS = ({"displayName": "b", "n": 1}, {"displayName": "a", "n": 2}, {"n": 3}, {"displayName": "b", "n": 4})

    def order(self, text):
        return [row["n"] for row in in_order(self.ROWS, parse_order(text, FIELDS))]

    def test_what_is_equal_stays_as_it_was(self):
        assert self.order("display_name") == [3, 2, 1, 4]
        assert self.order("displayName asc") == [3, 2, 1, 4]
        assert self.order("display_name  DESC") == [1, 4, 2, 3]
        assert self.order(None) == self.order("") == [1, 2, 3, 4]

    def test_by_two_fields(self):
        rows = [{"displayName": name, "versionCreateTime": time} for name, time in ("b1", "a1", "b2")]
        ordered = in_order(rows, parse_order("display_name desc, create_time desc", FIELDS))
        assert ["".join(row.values()) for row in ordered] == ["b2", "b1", "a1"]

    @pytest.mark.parametrize("text", ["name", "display_name up", "display_name desc desc", "display_name,", ","])
    def test_refused(self, text):
        with pytest.raises(GoogleError, match="Invalid order_by"):
            parse_order(text, FIELDS)


class TestMask:
    MESSAGE = {"name": "n", "labels": {"a-b": "1", "c_d": "2"}, "displayName": "d"}  # noqa: RUF012  (never changed)

    @pytest.mark.parametrize(
        ("text", "keys"),
        [("name", ["name"]), ("display_name, name", ["displayName", "name"]), ("etag", [])],
    )
    def test_fields(self, text, keys):
        paths = parse_mask(text, ["name", "displayName", "labels", "etag"])
        assert select(self.MESSAGE, paths) == {key: self.MESSAGE[key] for key in keys}

    def test_inside_of_a_field(self):
        assert select(self.MESSAGE, ["labels.a-b"]) == {"labels": {"a-b": "1"}}
        assert select(self.MESSAGE, ["labels.c_d", "labels"]) == {"labels": self.MESSAGE["labels"]}

    @pytest.mark.parametrize("text", [None, "", "*", "name,*"])
    def test_all(self, text):
        assert parse_mask(text, ["name"]) == []

    def test_refused(self):
        with pytest.raises(GoogleError, match="no field surprise"):
            parse_mask("name,surprise", ["name"])


@pytest.fixture
def endpoints(emulator):
    """Created in this order."""
    for name in ("b", "a", "c"):
        emulator.request("POST", f"/v1/{PARENT}/endpoints", json={"displayName": name}).raise_for_status()
        emulator.advance(60)


def get(emulator, query, version="v1"):
    return emulator.request("GET", f"/{version}/{PARENT}/endpoints?{query}")


def names(emulator, query):
    return "".join(item["displayName"] for item in get(emulator, query).json()["endpoints"])


@pytest.mark.usefixtures("endpoints")
class TestEndpoints:
    def test_in_order(self, emulator):
        assert names(emulator, "") == "cab"
        assert names(emulator, "orderBy=display_name") == "abc"
        assert names(emulator, "orderBy=create_time") == "bac"
        assert names(emulator, "orderBy=update_time%20desc") == "cab"
        assert names(emulator, "orderBy=display_name&filter=display_name!=b") == "ac"

    def test_in_order_and_in_pages(self, emulator):
        first = get(emulator, "orderBy=displayName%20desc&pageSize=2").json()
        assert [item["displayName"] for item in first["endpoints"]] == ["c", "b"]
        assert names(emulator, f"orderBy=displayName%20desc&pageSize=2&pageToken={first['nextPageToken']}") == "a"

    def test_v1beta1_has_no_order(self, emulator):
        refused = get(emulator, "orderBy=display_name", "v1beta1")
        assert refused.status_code == 400
        assert 'Unknown name "orderBy"' in refused.json()["error"]["message"]

    def test_masked(self, emulator):
        assert get(emulator, "readMask=display_name").json() == {
            "endpoints": [{"displayName": name} for name in ("c", "a", "b")]
        }
        assert get(emulator, "readMask=surprise").status_code == 400


def test_models_and_versions(emulator, models_client):
    body = {
        "baseModel": "gemini-2.5-flash",
        "tunedModelDisplayName": "z",
        "supervisedTuningSpec": {
            "trainingDatasetUri": "gs://data/train.jsonl",
            "hyperParameters": {"epochCount": 1},
        },
    }
    job = emulator.request("POST", f"/v1/{PARENT}/tuningJobs", json=body).json()
    emulator.advance(60)
    model = emulator.request("GET", f"/v1/{job['name']}").json()["tunedModel"]["model"]
    request = {"parent": PARENT, "source_model": model, "model_id": "copy"}
    models_client.copy_model(request)
    emulator.advance(60)
    request = {"parent": PARENT, "source_model": model, "parent_model": f"{PARENT}/models/copy"}
    models_client.copy_model(request)
    emulator.advance(60)
    models_client.update_model(
        model={"name": f"{PARENT}/models/copy", "display_name": "y"}, update_mask={"paths": ["display_name"]}
    )

    def listed(query):
        return [
            item["displayName"] for item in emulator.request("GET", f"/v1/{PARENT}/models?{query}").json()["models"]
        ]

    assert listed("orderBy=display_name%20desc") == listed("orderBy=create_time") == ["z", "y"]
    (only, _) = models_client.list_models({"parent": PARENT, "read_mask": {"paths": ["display_name"]}})
    assert (only.display_name, only.name) == ("y", "")
    versions = models_client.list_model_versions({"name": f"{PARENT}/models/copy", "order_by": "create_time asc"})
    assert [item.version_id for item in versions] == ["1", "2"]
    masked = models_client.list_model_versions(
        {"name": f"{PARENT}/models/copy", "read_mask": {"paths": ["version_id"]}}
    )
    assert [(item.version_id, item.display_name) for item in masked] == [("2", ""), ("1", "")]
