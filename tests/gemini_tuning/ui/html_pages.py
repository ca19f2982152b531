"""Reads pages as a browser does: elements with their attributes, and the text between them."""

from collections import Counter
from html.parser import HTMLParser

EMPTY = frozenset({"meta", "link", "input", "br", "img", "hr"})


class Html(HTMLParser):
    """A page.

    ``elements``: ``(name, attributes)``; ``text``: all of it.
    """

    def __init__(self, source: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(source)
        self.close()
        assert self._open == [], self._open

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in EMPTY:
            self._open.append(tag)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        self.text += data

    def all(self, name: str, /, **having: str) -> list[dict[str, str | None]]:
        """Return the attributes of these elements."""
        wanted = {key.replace("_", "-"): value for key, value in having.items()}
        return [found for tag, found in self.elements if tag == name and wanted.items() <= found.items()]

    def values(self, attribute: str) -> list[str | None]:
        """Return all values of an attribute."""
        return [found[attribute] for _, found in self.elements if attribute in found]

    @property
    def shape(self) -> Counter:
        """What there is, but for what it says."""
        return Counter((tag, *sorted(found)) for tag, found in self.elements)

    @property
    def words(self) -> str:
        """The text with its gaps made one."""
        return " ".join(self.text.split())
