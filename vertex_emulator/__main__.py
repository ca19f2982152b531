"""Command line: run the server, or fetch the key or the connection from one that runs."""

import argparse
import json
import sys
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from .auth import KeyFileError, write_private
from .log import StateError
from .settings import Settings, add_address_options, add_options, from_arguments


def main(arguments: Sequence[str]) -> int:
    """Run the command; returns the exit status."""
    if arguments and arguments[0] == "key":
        return _key(_key_parser().parse_args(arguments[1:]))
    return _serve(from_arguments(_server_parser().parse_args(arguments)))


def _server_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m vertex_emulator",
        description="A local Vertex AI for tuning Gemini. It trains nothing: tuned models answer from the example "
        "files they were given.",
        epilog='"python -m vertex_emulator key --help" tells how to get credentials and the Airflow connection.',
    )
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
    what = "connection" if options.connection else "key"
    address = f"http://{options.host}:{options.port}/_emulator/{what}"
    try:
        with urllib.request.urlopen(address, timeout=10) as response:
            text = json.dumps(json.load(response), indent=2)
    except (urllib.error.URLError, ValueError) as error:
        reason = getattr(error, "reason", error)
        print(f"vertex_emulator: no emulator answers at {options.host}:{options.port}: {reason}", file=sys.stderr)
        return 1
    if options.out:
        write_private(options.out, text + "\n")
    else:
        print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
