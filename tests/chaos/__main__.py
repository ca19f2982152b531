"""``make chaos ROUNDS=n SEED=s``: disturb a real Airflow and the local Vertex AI, and see what holds all the same.

Round i of seed s is round 1 of seed s + i - 1, so one number repeats it.
"""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import httpx
from rich.console import Console

from demo.processes import DemoError
from demo.stack import REPOSITORY, Stack
from tests.chaos.airflow import make_stack
from tests.chaos.plan import make_plan
from tests.chaos.rounds import try_round
from tests.chaos.table import Tally, line


class Campaign:
    """Rounds in a stack that goes on until a round fails; that one's folder stays, and the next begins in a new one.

    :param home: folder for the stacks' folders.
    """

    def __init__(self, home: Path, console: Console) -> None:
        self.home, self.console = home, console
        self.tally = Tally()
        self.kept: dict[int, Path] = {}
        self._stacks = 0

    def run(self, rounds: int, seed: int) -> Tally:
        """Play the rounds."""
        number = 1
        while number <= rounds:
            with self._stack() as stack:
                number = self._play(stack, number, rounds, seed)
        return self.tally

    def _play(self, stack: Stack, number: int, rounds: int, seed: int) -> int:
        """Play on until a round fails or there is none left; returns the next one's number."""
        while number <= rounds:
            plan = make_plan(seed + number - 1)
            folder = stack.home / "rounds" / str(plan.seed)
            outcome = try_round(stack, plan, folder, self._say)
            number += 1
            if outcome:
                self.tally.add(outcome)
                self._say(line(number - 1, rounds, outcome))
            else:
                self.tally.failed_seeds.append(plan.seed)
            if plan.seed in self.tally.failed_seeds:
                self.kept[plan.seed] = stack.home
                return number
        return number

    @contextmanager
    def _stack(self) -> Iterator[Stack]:
        self._stacks += 1
        stack = make_stack(self.home / f"stack-{self._stacks}")
        with stack:
            yield stack
        if stack.home not in self.kept.values():
            shutil.rmtree(stack.home)

    def _say(self, text: str) -> None:
        self.console.print(text, markup=False)


def main() -> int:
    """Run it; the exit status is 1 when something did not hold."""
    options = _options()
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, _interrupted)
    console = Console(soft_wrap=True, highlight=False)
    console.print(f"{options.rounds} rounds from seed {options.seed}")
    campaign = Campaign(options.home.resolve(), console)
    try:
        tally = campaign.run(options.rounds, options.seed)
    except (DemoError, httpx.HTTPError, OSError) as error:
        Console(stderr=True, soft_wrap=True).print(f"chaos: {error}", markup=False)
        return 1
    except KeyboardInterrupt:
        return 130
    console.print(tally.faults(), tally.invariants())
    for seed in tally.failed_seeds:
        console.print(f"Repeat it: make chaos ROUNDS=1 SEED={seed}   what it left: {campaign.kept[seed]}")
    return 1 if tally.failed_seeds else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="default 5")
    parser.add_argument("--seed", type=int, default=int(time.time()), metavar="S", help="default: the time")
    parser.add_argument(
        "--home", type=Path, default=REPOSITORY / ".chaos", metavar="DIR", help="for logs; default .chaos"
    )
    return parser.parse_args()


def _interrupted(*_: object) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
