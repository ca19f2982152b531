"""The ``filter`` of list requests: a useful part of https://google.aip.dev/160. Pure functions.

Supported: comparisons joined by AND (or just a space), each ``field=value``, ``field!=value``, ``field:value``
(has; ``*`` means present) with an optional NOT or ``-`` before it; a key of a map may stand in quotes. The real
grammar of the tuning job filter is not documented.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

from .errors import invalid_argument
from .protojson import camel

Predicate = Callable[[Mapping[str, Any]], bool]

_TERM = re.compile(
    r"""\s*(?P<not>NOT\s+|-)?(?P<field>[A-Za-z_][\w.-]*(?:\."[^"]+")?)\s*(?P<op>!=|=|:)\s*"""
    r"""(?:"(?P<double>(?:[^"\\]|\\.)*)"|'(?P<single>(?:[^'\\]|\\.)*)'|(?P<bare>[^\s()"']+))"""
    r"""\s*(?P<joint>AND\s+)?"""
)


def parse_filter(expression: str) -> Predicate:
    """Compile a filter.

    :param expression: the query parameter; empty matches everything.
    :return: a predicate over a resource as JSON (camelCase keys).
    """
    tests: list[Predicate] = []
    position = 0
    dangling = False
    while expression[position:].strip():
        match = _TERM.match(expression, position)
        if match is None:
            raise invalid_argument(f'Invalid filter "{expression}" at "{expression[position:].strip()}".')
        tests.append(_test(match))
        position = match.end()
        dangling = match["joint"] is not None
    if dangling:
        raise invalid_argument(f'Invalid filter "{expression}": nothing follows AND.')
    return lambda resource: all(test(resource) for test in tests)


def _test(match: re.Match[str]) -> Predicate:
    quoted = match["double"] if match["double"] is not None else match["single"]
    bare = match["bare"]
    wanted = bare if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
    head, _, rest = match["field"].replace('"', "").partition(".")
    field, operator = camel(head), match["op"]
    negated = (match["not"] is not None) != (operator == "!=")

    def test(resource: Mapping[str, Any]) -> bool:
        value = resource.get(field)
        if rest:
            value = value.get(rest, value.get(camel(rest))) if isinstance(value, Mapping) else None
        return _compare(value, wanted, has=operator == ":", anything=bare == "*") != negated

    return test


def _compare(value: Any, wanted: str, *, has: bool, anything: bool) -> bool:
    if anything:
        return value is not None and value != ""
    if isinstance(value, Mapping | list):
        return has and wanted in value
    if value is None:
        return False
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return wanted in text if has else text == wanted
