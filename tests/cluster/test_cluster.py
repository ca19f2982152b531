"""Twenty tuning runs at once on the cluster of docker-compose.yaml, of which a worker and a triggerer die."""

from collections import Counter

import pytest
from support import DATA

from demo.processes import wait_until
from demo.stack import DAG_ID, REPOSITORY
from gemini_tuning.core.labels import RUN, label_value
from tests.cluster.cluster import Cluster
from tests.e2e.runs import CONF, CREATE, WAIT, Run, advance, jobs, requests_to

pytestmark = pytest.mark.airflow

TIMEOUT = 900.0  # seconds; only what is stuck takes as long
RUNS = 20
SEVERAL = 5
WORKERS = ("airflow-worker-1", "airflow-worker-2")
# Two checkpoints, because each is a task more for each run. At four times the learning rate the second is overfitted.
PARAMS = {"epoch_count": 2, "learning_rate_multiplier": "4", "copy_location": "europe-west4", "poll_interval": 5}
WINNER, LAST = "1", "2"


@pytest.fixture(scope="module")
def cluster():
    with Cluster(REPOSITORY / ".cluster", scale={"airflow-worker": len(WORKERS)}) as cluster:
        cluster.upload(DATA, "ferry_support")
        yield cluster
    assert cluster.leftovers() == []


def wait_for(cluster, what, condition):
    wait_until(what, lambda: bool(condition()), list(cluster.processes.values()), TIMEOUT, interval=2)


def instances(cluster, task_id):
    """Return a task of all runs, by the id of the run."""
    found = cluster.api.get(f"/dags/{DAG_ID}/dagRuns/~/taskInstances", task_id=task_id, limit=100)["task_instances"]
    return {task["dag_run_id"]: task for task in found if task["task_id"] == task_id}


def still_going(cluster):
    """Return how many runs have not ended; a run that failed ends the test."""
    runs = cluster.api.get(f"/dags/{DAG_ID}/dagRuns", limit=100)["dag_runs"]
    failed = [run["dag_run_id"] for run in runs if run["state"] == "failed"]
    tasks = {run: [t["task_id"] for t in cluster.api.tasks(DAG_ID, run) if t["state"] == "failed"] for run in failed}
    assert not tasks, f"runs that failed, and their failed tasks: {tasks}; logs: {cluster.logs}"
    return sum(run["state"] != "success" for run in runs)


def kill_a_worker_that_creates(cluster):
    """Kill a worker once a tuning job that it asked for is on its way; return the runs whose create died with it."""
    found = {}

    def hit(worker):
        creates = {run: task for run, task in instances(cluster, CREATE).items() if task["hostname"]}
        running = {run for run, task in creates.items() if (task["hostname"], task["state"]) == (worker, "running")}
        asked = cluster.emulator("GET", "/faults")["replies"][0]["taken"]
        # More asked than there are that may have: so one of those that run there has.
        return running if asked > len(creates) - len(running) else set()

    def one_is_on_its_way():
        found.update((worker, runs) for worker in WORKERS if (runs := hit(worker)))
        return found

    wait_for(cluster, "a create on its way", one_is_on_its_way)
    worker, runs = found.popitem()
    cluster.processes.pop(worker).kill()
    return runs


def kill_a_triggerer_that_waits(cluster):
    """Kill a triggerer once it holds several waits. What it held can only succeed in the other one."""
    holders = Counter()

    def several_are_held():
        holders.clear()
        jobs = [task["triggerer_job"] for task in instances(cluster, WAIT).values()]
        holders.update(job["hostname"] for job in jobs if job)
        return any(count >= SEVERAL for count in holders.values())

    wait_for(cluster, "a triggerer with several waits", several_are_held)
    ((name, _),) = holders.most_common(1)
    cluster.processes.pop(name).kill()


def problems(cluster, run, all_jobs, models):
    """Return what is not right about a run, in words."""
    report = run.xcom("report")
    tuned, copy = models.get(report["tuned_model"], {}), models.get(report["copy"], {})
    mine = [job["name"] for job in all_jobs if job["labels"].get(RUN) == label_value(run.run_id)]
    expected = {
        "its jobs at the service": (mine, [run.xcom(CREATE)]),
        "winner": (report["winner"], WINNER),
        "default before": (report["default_before"], LAST),
        "default checkpoint at the service": (tuned.get("defaultCheckpointId"), WINNER),
        "default checkpoint of the copy": (copy.get("defaultCheckpointId"), WINNER),
        "checkpoints of the copy": (copy.get("checkpoints"), tuned.get("checkpoints")),
    }
    return [f"{what}: {found}, not {wanted}" for what, (found, wanted) in expected.items() if found != wanted]


def test_twenty_runs_are_right_although_a_worker_and_a_triggerer_die(cluster):
    cluster.emulator("POST", "/faults", [{"method": "POST", "path": "tuningJobs$", "delay": 10}])
    runs = [Run.start(cluster, {**CONF, **PARAMS}) for _ in range(RUNS)]

    hit = kill_a_worker_that_creates(cluster)
    cluster.emulator("DELETE", "/faults")
    kill_a_triggerer_that_waits(cluster)

    def over():
        advance(cluster)
        return still_going(cluster) == 0

    wait_for(cluster, "the end of all runs", over)
    found, models = jobs(cluster), {m["name"]: m for m in cluster.emulator("GET", "/state")["models"]}
    wrong = {run.run_id: problems(cluster, run, found, models) for run in runs}
    assert {run: what for run, what in wrong.items() if what} == {}
    assert (len(found), len(models)) == (RUNS, 2 * RUNS)
    assert requests_to(cluster, ":cancel") == []

    again = {run for run, task in instances(cluster, CREATE).items() if task["try_number"] > 1}
    assert again & hit, "the worker's death was noticed"
