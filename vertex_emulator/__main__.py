"""Command line: run the server, or fetch the key, the connection or the environment from one that runs."""

import argparse
import json
import os
import sys
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from . import __version__
from .auth import KeyFileError, write_private
from .environment import exports, variables
from .log import StateError
from .settings import Settings, add_address_options, add_options, from_arguments


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments and arguments[0] == "key":
        return _key(_key_parser().parse_args(arguments[1:]))
    if arguments and arguments[0] == "env":
        return _env(_env_parser().parse_args(arguments[1:]))
    return _serve(from_arguments(_server_parser().parse_args(arguments)))


def _server_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m vertex_emulator",
        description="A local Vertex AI for tuning Gemini. It trains nothing: tuned models answer from the example "
        "files they were given.",
        epilog='"python -m vertex_emulator key --help" tells how to get credentials and the Airflow connection, '
        '"python -m vertex_emulator env --help" how programs written for Google Cloud reach the emulator.',
    )
    parser.add_argument("--version", action="version", version=f"vertex-emulator {__version__}")
    add_options(parser)
    return parser


def _key_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m vertex_emulator key",
        description="Print or save the service-account key of a running emulator.",
    )
    add_address_options(parser)
    parser.add_argument("--out", type=Path, help="file to write, readable by its owner only; by default it is printed")
    parser.add_argument("--connection", action="store_true", help="the Airflow connection (JSON) instead of the key")
    return parser


def _env_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m vertex_emulator env",
        description="Print environment variables with which programs written for Google Cloud reach a running "
        'emulator: eval "$(python -m vertex_emulator env)"',
    )
    add_address_options(parser)
    parser.add_argument("--location", default="us-central1", help="location for clients (default: %(default)s)")
    parser.add_argument("--key-out", type=Path, help="file to write the key to; by default one in the user's cache")
    return parser


def _serve(settings: Settings) -> int:
    from .server import bind, serve

    try:
        listener = bind(settings.host, settings.port)
    except OSError as error:
        print(f"vertex_emulator: can't listen on {settings.host}:{settings.port}: {error.strerror}", file=sys.stderr)
        return 1
    try:
        serve(settings, listener)
    except (KeyFileError, StateError) as error:
        print(f"vertex_emulator: {error}", file=sys.stderr)
        return 1
    return 0


def _key(options: argparse.Namespace) -> int:
    found = _fetch(options, "connection" if options.connection else "key")
    if found is None:
        return 1
    text = json.dumps(found, indent=2)
    if options.out:
        write_private(options.out, text + "\n")
    else:
        print(text)
    return 0


def _env(options: argparse.Namespace) -> int:
    key = _fetch(options, "key")
    if key is None:
        return 1
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    path: Path = options.key_out or cache / "vertex_emulator" / f"key-{options.port}.json"
    write_private(path, json.dumps(key, indent=2) + "\n")
    url = f"http://{options.host}:{options.port}"
    print(exports(variables(url, key["project_id"], options.location, str(path.absolute()))), end="")
    return 0


def _fetch(options: argparse.Namespace, what: str) -> dict[str, Any] | None:
    """Ask the emulator; None when there is none, which has then been said."""
    address = f"http://{options.host}:{options.port}/_emulator/{what}"
    try:
        with urllib.request.urlopen(address, timeout=10) as response:
            return dict(json.load(response))
    except (urllib.error.URLError, ValueError) as error:
        reason = getattr(error, "reason", error)
        print(f"vertex_emulator: no emulator answers at {options.host}:{options.port}: {reason}", file=sys.stderr)
        return None


if __name__ == "__main__":
    sys.exit(main())
