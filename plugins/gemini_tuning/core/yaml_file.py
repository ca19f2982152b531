"""YAML that people edit, read so that nothing in it can hurt: no huge file, no alias bomb, no key given twice.

Pure but for reading the file: no Airflow, no network.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from gemini_tuning.core.text import short_repr

MAX_BYTES = 1_000_000
MAX_DEPTH = 50
MAX_NODES = 100_000  # with aliases written out
# What PyYAML's constructors let through for a malformed number, date or truth value.
_UNREADABLE = (ValueError, TypeError, AttributeError, LookupError, ArithmeticError, RecursionError)


class YamlError(ValueError):
    """A text is not acceptable YAML; the message says where in it.

    :param what: is wrong, without the place.
    :param line: the first is 1; ``None`` where it is the whole text.
    """

    def __init__(self, what: str, line: int | None = None) -> None:
        super().__init__(what if line is None else f"line {line}: {what}")
        self.what, self.line = what, line


@dataclass(frozen=True)
class Document:
    """What a YAML text holds, and on which line.

    :param value: mappings, lists and scalars.
    """

    value: Any
    _root: yaml.Node | None = field(default=None, repr=False)

    def line(self, path: Sequence[str | int] = ()) -> int | None:
        """Return the line of a value, or of the nearest one around it when it is not there.

        :param path: keys and indexes, from the root on.
        """
        node = self._root
        line = None if node is None else _line(node)
        for step in path:
            if node is not None:
                node, line = _child(node, step, line)
        return line


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
        raise YamlError(f"not UTF-8: {error.reason}", line) from None


def parse(text: str) -> Any:
    """Return what a YAML text holds: mappings, lists and scalars.

    :raises YamlError: with the line where there is one.
    """
    return load(text).value


def load(text: str) -> Document:
    """Return what a YAML text holds, with the lines.

    :raises YamlError: with the line where there is one.
    """
    if len(text) > MAX_BYTES:
        raise YamlError(f"more than {MAX_BYTES} characters")
    try:
        loader = yaml.SafeLoader(text)
        try:
            root = loader.get_single_node()
            if root is None:
                return Document(None)
            _Checker().check(root)
            return Document(loader.construct_document(root), root)
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        what = ", ".join(part for part in (error.context, error.problem) if part)
        raise YamlError(f"not YAML: {what}", mark.line + 1 if mark else None) from error
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
            raise YamlError("an alias stands in what it means", _line(node))
        self._open.add(id(node))
        if isinstance(node, yaml.MappingNode):
            _refuse_key_twice(node)
        size, depth = 1, 0
        for child in _children(node):
            more, below = self.check(child)
            size, depth = size + more, max(depth, below)
        if size > MAX_NODES:
            raise YamlError(f"more than {MAX_NODES} values, with aliases written out", _line(node))
        if depth >= MAX_DEPTH:
            raise YamlError(f"nested deeper than {MAX_DEPTH} levels", _line(node))
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
            raise YamlError(f"the key {short_repr(key.value)} is there twice", _line(key))
        seen.add((key.tag, key.value))


def _child(node: yaml.Node, step: str | int, line: int | None) -> tuple[yaml.Node | None, int | None]:
    """Return what is below a node, and its line: a mapping's value has the line of its key."""
    if isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
        return node.value[step], _line(node.value[step])
    if isinstance(node, yaml.MappingNode):
        # From the end: what << brought in stands before the mapping's own keys, which win.
        for key, value in reversed(node.value):
            if isinstance(key, yaml.ScalarNode) and key.value == step:
                return value, _line(key)
    return None, line


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1
