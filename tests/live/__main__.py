"""``make test-live PROJECT=… BUCKET=…``: the smallest real tuning job, and what it tells of the real service."""

from __future__ import annotations

import argparse
import os
import re
import secrets
import signal
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import NoReturn

import httpx
import yaml

from demo.processes import DemoError
from demo.stack import REPOSITORY
from tests.live import findings, sample
from tests.live.clouds import Cloud, LocalVertex, RealProject
from tests.live.evidence import Asked
from tests.live.trial import Options, Result, try_live
from tests.live.wire import NoCredentialsError, dig

TABLE = REPOSITORY / "dags" / "config" / "prices.yaml"
OBSERVED = Path(__file__).parent / "observed"
CHEAPEST = "gemini-2.5-flash-lite"
PROMPTS = 4  # for each checkpoint: three cases, and one of ours
PRICES = "https://cloud.google.com/vertex-ai/generative-ai/pricing"
NO_PROJECT = """\
make test-live runs a real tuning job, which costs money, and so it has to be told where:

    make test-live PROJECT=my-project BUCKET=my-bucket

docs/google-cloud.md has the commands that prepare both. Without Google Cloud, and for nothing:

    make test-live EMULATOR=1
"""


def main() -> int:
    """Run the live test and return the exit status: 1 when a promise of ours is broken, 2 when nothing was run."""
    options = _options()
    if problem := _problem(options):
        print(problem, file=sys.stderr)
        return 2
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, _interrupted)
    asked, cloud = _asked(options), _cloud(options)
    _announce(asked, options)
    if not options.emulator and not _confirmed(options.confirm):
        print("Nothing was run.", file=sys.stderr)
        return 2
    options.home.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory() as unused:
            os.environ["AIRFLOW_HOME"] = unused  # of this process, which asks the provider for a token
            cloud.check()
            result = try_live(cloud, asked, options.home.resolve(), Options(options.cancel, options.cleanup), _say)
    except NoCredentialsError as error:
        print(f"test-live: no credentials: {error}\nFor yours: gcloud auth application-default login", file=sys.stderr)
        return 2
    except (DemoError, httpx.HTTPError, OSError) as error:
        print(f"test-live: {type(error).__name__}: {error}\nIts objects: {asked.uri('')}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"Its objects: {asked.uri('')}", file=sys.stderr)
        return 130
    _tell(result, asked, options)
    return 1 if result.broken else 0


def _problem(options: argparse.Namespace) -> str | None:
    if not options.emulator and not options.project:
        return NO_PROJECT
    if not options.emulator and not options.bucket:
        return "BUCKET is missing: the name of a bucket in the location of the job, without gs://."
    forms = {
        "PROJECT": (options.project, r"[a-z0-9.:-]{1,63}"),
        "BUCKET": (options.bucket, r"[a-z0-9][a-z0-9._-]{1,220}"),
        "LOCATION": (options.location, r"[a-z]+(-[a-z]+[0-9]+)?"),
        "MODEL": (options.model, r"[A-Za-z0-9][A-Za-z0-9._-]*"),
    }
    for name, (value, form) in forms.items():
        if value and not re.fullmatch(form, value):
            return f"{name}: {value[:80]!r} can't be one."
    return None


def _asked(options: argparse.Namespace) -> Asked:
    now = datetime.now(UTC)
    return Asked(
        project=options.project or "demo-project",
        bucket=options.bucket or "live-bucket",
        location=options.location,
        base_model=options.model,
        run=f"live-{now:%Y%m%d-%H%M%S}-{secrets.token_hex(2)}",
    )


def _cloud(options: argparse.Namespace) -> Cloud:
    return LocalVertex() if options.emulator else RealProject(options.project, os.environ)


def _announce(asked: Asked, options: argparse.Namespace) -> None:
    """Say what will be run, and what it costs at most."""
    size = sample.size(asked.epochs)
    where = "the local Vertex AI" if options.emulator else f"project {asked.project}"
    print(f"In {where}, {asked.location}: one tuning job of {asked.base_model}, {size.examples} examples,")
    print(f"{asked.epochs} epochs; its objects below {asked.uri('')}; a copy of its model in the same location.")
    jobs = " for each of two jobs, of which the second is cancelled" if options.cancel else ""
    print(f"Tuned tokens{jobs}: about {size.likely:,}, at most {size.most:,}.")
    print(f"Prompts: {PROMPTS * asked.epochs}, of a dozen tokens each. {_amount(size.most, asked.base_model)}")
    if not options.emulator:
        print(
            "A real job takes from ten minutes to some hours. Ctrl-C cancels it; what was tuned until then is billed."
        )


def _amount(tokens: int, base_model: str) -> str:
    """Say what so many tuned tokens cost at most."""
    table = yaml.safe_load(TABLE.read_text(encoding="utf-8"))
    price = table["models"].get(base_model, {}).get("tuning")
    if price is None:
        return f"{TABLE.name} has no price of tuning {base_model}: look at {PRICES}"
    amount = f"{table['currency']} {price * tokens / 1e6:.4f}"
    return f"Tuning costs at most {amount} a job, by {TABLE.name} of {table['date']}; check it: {PRICES}"


def _confirmed(given: str) -> bool:
    if given:
        return given == "yes"
    if not sys.stdin.isatty():
        print("Nobody is there to confirm it: CONFIRM=yes says so beforehand.", file=sys.stderr)
        return False
    return input("Run it? Type yes: ").strip() == "yes"


def _tell(result: Result, asked: Asked, options: argparse.Namespace) -> None:
    """Write what was observed, and print it."""
    name = str(dig(result.evidence.job, "name")) if result.evidence else ""
    number = name.split("/")[1] if "/" in name else ""
    today = f"{datetime.now(UTC):%Y-%m-%d}"
    found = findings.document(
        today, asked.location, asked.base_model, result.observations, (asked.project, number, asked.bucket)
    )
    path = findings.write(options.home if options.emulator else OBSERVED, found)
    differ = [one for one in found["observations"] if one["agrees"] is False]
    print(f"\n{findings.table(found)}\n")
    print(f"{len(differ)} of {len(found['observations'])} differ from the local Vertex AI. Written to {path}")
    if differ and not options.emulator:
        print("That is what this test is for: please commit the file, or open an issue with it.")
    for problem in result.broken:
        print(f"BROKEN PROMISE: {problem}")
    for left in result.left:
        print(f"Left: {left}")
    if not options.cleanup:
        print("Left on purpose: the model, its copy and the checkpoints' endpoints, said to cost nothing while nobody")
        print("asks them; ARGS=--cleanup deletes them. Nobody can delete the job and its experiment.")


def _say(text: str) -> None:
    print(text, flush=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make test-live", description=__doc__)
    parser.add_argument("--project", default="", metavar="ID", help="PROJECT=…")
    parser.add_argument("--bucket", default="", metavar="NAME", help="BUCKET=…, without gs://")
    parser.add_argument("--location", default="us-central1", metavar="REGION", help="LOCATION=…")
    parser.add_argument("--model", default=CHEAPEST, metavar="ID", help=f"MODEL=…; by default {CHEAPEST}")
    parser.add_argument("--confirm", default="", metavar="yes", help="CONFIRM=yes: do not ask")
    parser.add_argument("--emulator", action="store_true", help="EMULATOR=1: against the local Vertex AI")
    parser.add_argument("--cancel", action="store_true", help="make a second job and cancel it; it costs too")
    parser.add_argument("--cleanup", action="store_true", help="delete endpoints, models and copy in the end")
    parser.add_argument("--home", type=Path, default=REPOSITORY / ".live", metavar="DIR", help="for what is written")
    return parser.parse_args()


def _interrupted(*_: object) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
