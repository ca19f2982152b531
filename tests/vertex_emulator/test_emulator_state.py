"""What outlives the process (--state), and what a seed gives (--seed)."""

import os
import signal
import subprocess
import sys
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from threading import Event, Thread

import httpx
import pytest

from tests.vertex_emulator.examples import TRAINING, VALIDATION, jsonl
from vertex_emulator.log import Log, StateError
from vertex_emulator.process import Emulator

PARENT = "projects/demo-project/locations/us-central1"
JOBS = f"/v1beta1/{PARENT}/tuningJobs"


def put_files(emulator):
    emulator.put_object("gs://data/train.jsonl", jsonl(TRAINING))
    emulator.put_object("gs://data/valid.jsonl", jsonl(VALIDATION))


def create(emulator, **more):
    body = {
        "baseModel": "gemini-2.5-flash",
        "supervisedTuningSpec": {
            "trainingDatasetUri": "gs://data/train.jsonl",
            "validationDatasetUri": "gs://data/valid.jsonl",
            "hyperParameters": {"epochCount": 4},
        },
        **more,
    }
    return emulator.request("POST", JOBS, json=body).raise_for_status().json()


def get(emulator, name):
    return emulator.request("GET", f"/v1beta1/{name}").raise_for_status().json()


def ask(emulator, endpoint, question):
    body = {"contents": [{"role": "user", "parts": [{"text": question}]}]}
    reply = emulator.request("POST", f"/v1/{endpoint}:generateContent", json=body).raise_for_status().json()
    return reply["candidates"][0]["content"]["parts"][0]["text"]


def use(emulator):
    """A bit of everything that changes the state."""
    put_files(emulator)
    first, second = create(emulator), create(emulator, tunedModelDisplayName="second")
    emulator.advance(8.5)
    emulator.request("POST", f"/v1/{second['name']}:cancel").raise_for_status()
    emulator.advance(100)
    model = get(emulator, first["name"])["tunedModel"]["model"]
    emulator.request("PATCH", f"/v1/{model}", json={"defaultCheckpointId": "2"}).raise_for_status()
    copy = {"sourceModel": model}
    emulator.request("POST", f"/v1/{PARENT}/models:copy", json=copy).raise_for_status()
    emulator.advance(10)
    emulator.request("POST", f"/v1/{PARENT}/models:copy", json={"sourceModel": "nonsense"})
    emulator.request("DELETE", "/storage/v1/b/data/o/valid.jsonl").raise_for_status()
    create(emulator, tunedModelDisplayName="third")


class TestKilled:
    def test_a_job_goes_on_with_the_same_ids(self, tmp_path):
        emulator = Emulator(state=tmp_path).start()
        put_files(emulator)
        job = create(emulator)
        emulator.advance(9)
        before, state, token = get(emulator, job["name"]), emulator.state(), emulator.token()
        assert before["state"] == "JOB_STATE_RUNNING"
        saved = before["tunedModel"]["checkpoints"]
        private_key = emulator.key()["private_key"]

        emulator.kill()
        with emulator:
            assert get(emulator, job["name"]) == before
            assert emulator.state() == state
            assert emulator.key()["private_key"] == private_key
            header = {"Authorization": f"Bearer {token}"}
            assert emulator.request("GET", JOBS, headers=header).status_code == 200
            emulator.advance(3600)
            after = get(emulator, job["name"])
            assert after["state"] == "JOB_STATE_SUCCEEDED"
            assert after["tunedModel"]["model"] == before["tunedModel"]["model"]
            assert after["tunedModel"]["checkpoints"][: len(saved)] == saved
            assert len(after["tunedModel"]["checkpoints"]) == 4
            assert ask(emulator, saved[0]["endpoint"], TRAINING[0][0])

    @pytest.mark.parametrize("after", ["the create", "a chunk of an upload", "the copy", "an advance", "a reset"])
    def test_right_after_an_answer(self, tmp_path, after):
        emulator = Emulator(state=tmp_path).start()
        use(emulator)
        if after == "the create":
            create(emulator)
        elif after == "a chunk of an upload":
            start = emulator.request("POST", "/upload/storage/v1/b/data/o?uploadType=resumable&name=big", json={})
            upload = start.headers["X-GUploader-UploadID"]
            address = f"/upload/storage/v1/b/data/o?uploadType=resumable&upload_id={upload}"
            part = {"Content-Range": "bytes 0-3/8"}
            assert emulator.request("PUT", address, content=b"\0\n\xff1", headers=part).status_code == 308
        elif after == "the copy":
            model = emulator.state()["models"][0]["name"]
            emulator.request("POST", f"/v1/{PARENT}/models:copy", json={"sourceModel": model}).raise_for_status()
        elif after == "an advance":
            emulator.advance(4)
        else:
            emulator.reset()
        state, time = emulator.state(), emulator.health()["virtualTime"]
        emulator.kill()
        with emulator:
            assert emulator.state() == state
            assert emulator.health()["virtualTime"] == time
            if after == "a chunk of an upload":
                rest = {"Content-Range": "bytes 4-7/8"}
                emulator.request("PUT", address, content=b"2345", headers=rest).raise_for_status()
                assert emulator.request("GET", "/storage/v1/b/data/o/big?alt=media").content == b"\0\n\xff12345"
            emulator.advance(3600)
            put_files(emulator)
            assert create(emulator)["name"] not in str(state), "ids go on; none is given twice"

    @pytest.mark.parametrize("answers", [1, 2, 7, 25])
    def test_with_requests_under_way(self, tmp_path, answers):
        """Whatever was answered is there; one more may be that was not."""
        emulator = Emulator(state=tmp_path, speed=100).start()
        put_files(emulator)
        told, enough = [], Event()

        def keep_creating():
            with suppress(httpx.HTTPError):
                while True:
                    told.append(create(emulator)["name"])
                    if len(told) == answers:
                        enough.set()

        thread = Thread(target=keep_creating)
        thread.start()
        enough.wait()
        os.kill(emulator.pid, signal.SIGKILL)
        thread.join()
        emulator.stop()
        with emulator:
            found = [job["name"] for job in emulator.state()["tuningJobs"]]
            assert found[: len(told)] == told
            assert len(found) <= len(told) + 1
            emulator.advance(3600)
            assert {job["state"] for job in emulator.state()["tuningJobs"]} == {"JOB_STATE_SUCCEEDED"}

    def test_again_and_again(self, tmp_path):
        emulator = Emulator(state=tmp_path).start()
        put_files(emulator)
        names = []
        for _ in range(4):
            names.append(create(emulator)["name"])
            emulator.advance(4)
            emulator.kill()
            emulator.start()
        emulator.advance(3600)
        assert [get(emulator, name)["state"] for name in names] == ["JOB_STATE_SUCCEEDED"] * 4
        emulator.stop()

    def test_the_clock_never_goes_back(self, tmp_path):
        emulator = Emulator(speed=1000, state=tmp_path).start()
        seen = []
        for _ in range(3):
            seen += [datetime.fromisoformat(emulator.health()["virtualTime"]) for _ in range(2)]
            emulator.kill()
            emulator.start()
        emulator.stop()
        assert seen == sorted(seen)

    def test_a_request_cut_short_was_never_answered(self, tmp_path):
        emulator = Emulator(state=tmp_path).start()
        put_files(emulator)
        create(emulator)
        state = emulator.state()
        emulator.kill()
        log = tmp_path / "log"
        whole = log.read_bytes()
        log.write_bytes(whole + whole[-200:-100].replace(b"\n", b""))
        with emulator:
            assert emulator.state() == state
            create(emulator)
        with emulator:
            assert len(emulator.state()["tuningJobs"]) == 2

    def test_reads_write_nothing(self, tmp_path):
        with Emulator(state=tmp_path) as emulator:
            put_files(emulator)
            job = create(emulator)
            emulator.advance(3600)
            endpoint = get(emulator, job["name"])["tunedModel"]["endpoint"]
            size = (tmp_path / "log").stat().st_size
            get(emulator, job["name"])
            ask(emulator, endpoint, "Hello?")
            assert (tmp_path / "log").stat().st_size == size

    def test_no_secret_for_others(self, tmp_path):
        with Emulator(state=tmp_path / "state") as emulator:
            put_files(emulator)
            token = emulator.token()
        directory = tmp_path / "state"
        assert directory.stat().st_mode & 0o077 == 0
        assert (directory / "key.json").stat().st_mode & 0o077 == 0
        assert token.encode() not in (directory / "log").read_bytes()


class TestRefused:
    def start(self, *options):
        return subprocess.run(
            [sys.executable, "-m", "vertex_emulator", "--port=0", *options],
            cwd=Path(__file__).resolve().parents[2],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def test_other_settings(self, tmp_path):
        Emulator(state=tmp_path, seed="a").start().stop()
        for option in ("--seconds-per-epoch=7", "--seed=b"):
            done = self.start(f"--state={tmp_path}", "--seed=a", option)
            assert done.returncode == 1
            assert option.partition("=")[0] in done.stderr
            assert done.stderr.count("\n") == 1
        with Emulator(state=tmp_path, speed=5, journal=3) as emulator:
            assert emulator.health()["speed"] == 5

    def test_two_at_once(self, tmp_path):
        with Emulator(state=tmp_path):
            assert "in use" in self.start(f"--state={tmp_path}").stderr

    def test_no_directory(self, tmp_path):
        (tmp_path / "file").touch()
        assert "can't use" in self.start(f"--state={tmp_path / 'file'}").stderr

    def test_a_damaged_log(self, tmp_path):
        Emulator(state=tmp_path).start().stop()
        path = tmp_path / "log"
        path.write_bytes(path.read_bytes() + b"rubbish\n")
        assert "damaged" in self.start(f"--state={tmp_path}").stderr
        path.write_bytes(b'{"format": 0}\n')
        assert "another version" in self.start(f"--state={tmp_path}").stderr


class TestLog:
    def test_records_come_back(self, tmp_path):
        log = Log(tmp_path)
        written = [({"a": 1}, b""), ({"b": "\n"}, b"\n\0"), ({"c": None}, b"x")]
        for head, body in written:
            log.append(head, body)
        assert list(log.records()) == written
        log.start_anew([{"d": 1}])
        log.append({"e": 2})
        assert list(log.records()) == [({"d": 1}, b""), ({"e": 2}, b"")]

    @pytest.mark.parametrize("cut", range(1, 30))
    def test_cut_anywhere_the_last_record_goes(self, tmp_path, cut):
        log = Log(tmp_path)
        log.append({"first": True})
        log.append({"second": True}, b"0123456789")
        path = tmp_path / "log"
        path.write_bytes(path.read_bytes()[:-cut])
        assert [record.head for record in log.records()] == [{"first": True}]
        log.append({"third": True})
        assert [record.head for record in log.records()] == [{"first": True}, {"third": True}]

    def test_one_at_a_time(self, tmp_path):
        first = Log(tmp_path)
        with pytest.raises(StateError, match="in use"):
            Log(tmp_path)
        assert first


class TestSeed:
    def test_the_same_requests_give_the_same_state(self):
        states = []
        for _ in range(2):
            with Emulator(seed=7) as emulator:
                assert emulator.health()["seed"] == "7"
                use(emulator)
                states.append(emulator.state())
        assert states[0] == states[1]
        assert states[0]["tuningJobs"][0]["createTime"].startswith("2026-01-01T00:00:00")

    def test_another_seed_gives_other_ids(self):
        with Emulator(seed=7) as one, Emulator(seed=8) as other, Emulator() as third, Emulator() as fourth:
            emulators = [one, other, third, fourth]
            for emulator in emulators:
                put_files(emulator)
            names = [create(emulator)["name"] for emulator in emulators]
        assert len(set(names)) == 4

    def test_a_reset_gives_the_ids_again_or_new_ones(self):
        for seed, kinds in (("x", 1), ("", 2)):
            with Emulator(seed=seed) as emulator:
                names = set()
                for _ in range(2):
                    emulator.reset()
                    put_files(emulator)
                    names.add(create(emulator)["name"])
                assert len(names) == kinds

    def test_start_of_the_clock(self):
        with Emulator(clock_start="2030-05-06T07:08:09") as emulator:
            assert emulator.health()["virtualTime"] == "2030-05-06T07:08:09.000000Z"


def test_a_signal_is_no_worse_than_a_kill(tmp_path):
    emulator = Emulator(state=tmp_path).start()
    use(emulator)
    state = emulator.state()
    emulator._process.send_signal(signal.SIGTERM)
    assert emulator._process.wait(10) == 0
    emulator.stop()
    with emulator:
        assert emulator.state() == state
