"""The demo as its user runs it, and what it says when something is in the way."""

import json
import os
import shutil
import socket
import subprocess
import sys

import pytest
from support import REPOSITORY

from demo.processes import MARKER, DemoError, Process, claim_folder, free_port, runs, wait_until
from demo.view import Progress, task_states


def demo(*arguments, timeout=300):
    return subprocess.run(
        [sys.executable, "-m", "demo", "--exit", *arguments],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def test_a_free_port_is_given_to_nobody_else_while_its_process_lives():
    ours = free_port()
    code = f"from demo.processes import _claim; print(_claim({ours}), _claim({ours} - 1))"
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]
    assert len({free_port() for _ in range(50)} - {ours}) == 50


@pytest.mark.airflow
def test_the_demo_promotes_a_checkpoint_that_is_not_the_last(tmp_path):
    home = tmp_path / "home"
    ports = {"--airflow-port": free_port(), "--emulator-port": free_port()}
    done = demo("--home", str(home), "--speed", "5", *(str(x) for pair in ports.items() for x in pair))
    assert done.returncode == 0, done.stdout + done.stderr
    summary = json.loads((home / "summary.json").read_text())
    checkpoints = summary["checkpoints"]
    scores = {c["checkpoint_id"]: c["score"] for c in checkpoints}
    assert summary["dag_run_state"] == "success"
    assert summary["jobs_created"] == 1
    assert "/tuningJobs/" in summary["tuning_job"]
    assert len(checkpoints) == 6
    assert all(c["eval_loss"] and c["latency_ms"]["p95"] and len(c["score_interval"]) == 2 for c in checkpoints)
    assert summary["winner"] == max(scores, key=scores.__getitem__) != checkpoints[-1]["checkpoint_id"]
    assert summary["default_before"] == checkpoints[-1]["checkpoint_id"]
    assert summary["default_after"] == summary["winner"]
    assert "/locations/europe-west4/models/" in summary["copy"]
    assert 0 < summary["seconds"]["vertex"] < summary["seconds"]["total"]
    assert summary["reason"] in done.stdout
    assert summary["overfitting"] in done.stdout
    assert summary["reason"] in (home / "report.md").read_text().replace("\\", "")
    for port in ports.values():
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", port)) != 0, f"something still listens on {port}"


@pytest.mark.parametrize("option", ["--airflow-port", "--emulator-port"])
def test_a_port_in_use_is_one_clear_line(tmp_path, option):
    other = "--emulator-port" if option == "--airflow-port" else "--airflow-port"
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = demo("--home", str(tmp_path / "home"), option, str(port), other, str(free_port()))
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"demo: port {port} is in use")
    assert option in line
    assert not (tmp_path / "home").exists()


def make_in_an_empty_clone(tmp_path, *arguments):
    for name in ("Makefile", "requirements.txt", "constraints.txt"):
        shutil.copy(REPOSITORY / name, tmp_path)
    return subprocess.run(
        ["make", "install", *arguments], cwd=tmp_path, capture_output=True, text=True, check=False, env=os.environ
    )


def test_a_missing_python_is_one_clear_line(tmp_path):
    done = make_in_an_empty_clone(tmp_path, "PYTHON=python9")
    assert done.returncode != 0
    assert done.stderr.splitlines()[0].startswith("make: no python9 on the PATH")
    assert not (tmp_path / ".venv").exists()


def test_a_python_that_is_too_old_is_one_clear_line(tmp_path):
    old = tmp_path / "old-python"
    old.write_text('#!/bin/sh\ncase "$1" in -c) exit 1;; *) echo "Python 3.9.1";; esac\n')
    old.chmod(0o755)
    done = make_in_an_empty_clone(tmp_path, f"PYTHON={old}")
    assert done.returncode != 0
    assert "make: Python 3.9.1 is not supported" in done.stderr.splitlines()[0]


# ------------------------------------------------------------------------------------------ processes


def process(tmp_path, name, code):
    return Process(name, [sys.executable, "-c", code], os.environ, tmp_path, tmp_path)


def test_a_step_that_fails_names_its_log(tmp_path):
    step = process(tmp_path, "step", "print('because'); raise SystemExit(3)")
    with pytest.raises(DemoError, match="step failed with status 3; log: ") as caught:
        step.run(30)
    assert str(step.log) in str(caught.value)
    assert step.log.read_text() == "because\n"


def test_a_process_that_ends_early_is_noticed_while_waiting(tmp_path):
    part = process(tmp_path, "part", "raise SystemExit(4)")
    part.start()
    with pytest.raises(DemoError, match="part ended with status 4; log: "):
        wait_until("never", lambda: False, [part], timeout=30, interval=0.01)


def test_stopping_ends_all_descendants_whatever_their_group_and_their_mind(tmp_path):
    child = "import signal as s, time; s.signal(s.SIGTERM, s.SIG_IGN); print('ready', flush=True); time.sleep(99)"
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}], start_new_session=True)"
    parent = process(tmp_path, "parent", code)
    parent.start()
    wait_until("the child", lambda: "ready" in parent.log.read_text(), [parent], timeout=30, interval=0.01)
    family = parent.family()
    assert len(family) == 2
    parent.stop(patience=0.1)
    wait_until("their end", lambda: not any(map(runs, family)), [], timeout=30, interval=0.01)


def family_of_two(tmp_path):
    child = "import time; print('ready', flush=True); time.sleep(99)"
    parent = process(tmp_path, "parent", f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])")
    parent.start()
    wait_until("the child", lambda: "ready" in parent.log.read_text(), [parent], timeout=30, interval=0.01)
    return parent, parent.family()


def test_killing_a_family_leaves_nothing_and_it_starts_again(tmp_path):
    parent, family = family_of_two(tmp_path)
    parent.kill()
    wait_until("their end", lambda: not any(map(runs, family)), [], timeout=30, interval=0.01)
    assert not parent.alive
    parent.start()
    assert parent.alive
    parent.stop()
    assert not parent.alive


def test_orphans_of_a_killed_process_live_on_until_it_is_stopped(tmp_path):
    parent, (first, child) = family_of_two(tmp_path)
    parent.kill(family=False)
    assert not runs(first)
    assert runs(child)
    assert parent.family() == []
    assert parent.orphans() == [child]
    parent.stop()
    assert not runs(child)


def test_a_folder_with_other_files_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(DemoError, match="has files that are not the demo's"):
        claim_folder(tmp_path)
    assert (tmp_path / "thesis.txt").exists()


def test_a_folder_of_an_earlier_demo_is_emptied_unless_that_still_runs(tmp_path):
    home = tmp_path / "home"
    with claim_folder(home):
        (home / "logs").mkdir()
        (home / "summary.json").write_text("{}")
        with pytest.raises(DemoError, match="another demo uses"):
            claim_folder(home)
        assert (home / "summary.json").exists()
    with claim_folder(home):
        assert [path.name for path in home.iterdir()] == [MARKER]


# ----------------------------------------------------------------------------------------------- view


def test_mapped_tasks_are_shown_as_one():
    instances = [
        {"task_id": "validate", "state": "success"},
        {"task_id": "tune.wait_for_tuning_job", "state": "deferred"},
        {"task_id": "evaluate.smoke_test", "state": "success"},
        {"task_id": "evaluate.smoke_test", "state": "running"},
        {"task_id": "report", "state": None},
    ]
    states = task_states(instances)
    assert states["validate"] == "success"
    assert states["tune.wait_for_tuning_job"] == "deferred"
    assert states["evaluate.smoke_test"] == "running 1/2"
    assert states["report"] == states["choose"] == "waiting"


def test_progress_is_read_from_the_job():
    job = {
        "state": "JOB_STATE_RUNNING",
        "tuningJobMetadata": {"completedEpochCount": "2", "completedStepCount": "18"},
        "supervisedTuningSpec": {"hyperParameters": {"epochCount": "6"}},
    }
    assert str(Progress.of(job)) == "RUNNING, epoch 2 of 6, step 18"
    assert Progress.of(None).state == "-"
