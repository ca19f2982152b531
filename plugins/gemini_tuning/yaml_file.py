"""YAML that people edit, read so that nothing in it can hurt: no huge file, no alias bomb, no key given twice.

Pure but for reading the file: no Airflow, no network.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from gemini_tuning.wording import shown

MAX_BYTES = 1_000_000
MAX_DEPTH = 50
MAX_NODES = 100_000  # with aliases written out
# What PyYAML's constructors let through for a malformed number, date or truth value.
_UNREADABLE = (ValueError, TypeError, AttributeError, LookupError, ArithmeticError, RecursionError)


class YamlError(ValueError):
    """A text is not acceptable YAML; the message says where in it."""


def read_text(path: Path) -> str:
    """Read a file of at most :data:`MAX_BYTES`.

    :raises OSError: when it cannot be read.
    :raises YamlError: when it is no file, too big, or no UTF-8.
    """
    if path.exists() and not path.is_file():  # opening a pipe would wait for ever
        raise YamlError("not a file")
    with path.open("rb") as file:
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise YamlError(f"more than {MAX_BYTES} bytes")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise YamlError(f"line {line}: not UTF-8: {error.reason}") from None


def parse(text: str) -> Any:
    """Return what a YAML text holds: mappings, lists and scalars.

    :raises YamlError: with the line where there is one.
    """
    if len(text) > MAX_BYTES:
        raise YamlError(f"more than {MAX_BYTES} characters")
    try:
        loader = yaml.SafeLoader(text)
        try:
            root = loader.get_single_node()
            if root is None:
                return None
            _Checker().check(root)
            return loader.construct_document(root)
        finally:
            loader.dispose()
    except yaml.YAMLError as error:
        raise YamlError(f"not YAML: {error}") from error
    except YamlError:
        raise
    except RecursionError:
        raise YamlError(f"nested deeper than {MAX_DEPTH} levels") from None
    except _UNREADABLE as error:
        raise YamlError(f"not YAML: a value does not fit its type: {error}") from error


class _Checker:
    """Looks at the nodes before Python values are made of them: each once; what an alias names counts every time."""

    def __init__(self) -> None:
        self._measured: dict[int, tuple[int, int]] = {}
        self._open: set[int] = set()

    def check(self, node: yaml.Node) -> tuple[int, int]:
        """Return how many nodes there are, and how deep they go, with aliases written out."""
        known = self._measured.get(id(node))
        if known is not None:
            return known
        if id(node) in self._open:
            raise YamlError(f"{_where(node)}: an alias stands in what it means")
        self._open.add(id(node))
        if isinstance(node, yaml.MappingNode):
            _refuse_key_twice(node)
        size, depth = 1, 0
        for child in _children(node):
            more, below = self.check(child)
            size, depth = size + more, max(depth, below)
        if size > MAX_NODES:
            raise YamlError(f"{_where(node)}: more than {MAX_NODES} values, with aliases written out")
        if depth >= MAX_DEPTH:
            raise YamlError(f"{_where(node)}: nested deeper than {MAX_DEPTH} levels")
        self._open.discard(id(node))
        self._measured[id(node)] = size, depth + 1
        return size, depth + 1


def _children(node: yaml.Node) -> Iterator[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield key
            yield value
    elif isinstance(node, yaml.SequenceNode):
        yield from node.value


def _refuse_key_twice(node: yaml.MappingNode) -> None:
    """PyYAML takes the last of two equal keys: an assertion could vanish without a word."""
    seen: set[tuple[str, str]] = set()
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode):
            continue
        if (key.tag, key.value) in seen:
            raise YamlError(f"{_where(key)}: the key {shown(key.value)} is there twice")
        seen.add((key.tag, key.value))


def _where(node: yaml.Node) -> str:
    return f"line {node.start_mark.line + 1}"
