"""Notifiers for the tests: one that keeps what it is told in a file, one that fails."""

import json
from pathlib import Path

from airflow.sdk import BaseNotifier


class Keeper(BaseNotifier):
    """Appends a line of JSON for each message."""

    template_fields = ("text", "fields")

    def __init__(self, *, file, text="{{ gemini.text }}", fields=None, untemplated=""):
        super().__init__()
        self.file, self.text, self.fields, self.untemplated = file, text, fields, untemplated

    def notify(self, context):
        kept = {"text": self.text, "fields": self.fields, "gemini": context["gemini"], "run_id": context["ti"].run_id}
        with Path(self.file).open("a", encoding="utf-8") as file:
            file.write(json.dumps(kept) + "\n")


class Failing(BaseNotifier):
    """Does not get through as long as a file is not there."""

    template_fields = ("text",)

    def __init__(self, *, text="", until=None):
        super().__init__()
        self.text, self.until = text, until

    def notify(self, context):
        if not self.until or not Path(self.until).exists():
            raise ConnectionError("https://hooks.example.com answered Authorization: Bearer abc.def.ghi")


KEEPER, FAILING = f"{__name__}.Keeper", f"{__name__}.Failing"


def kept(file):
    """Return what a keeper was told."""
    return [json.loads(line) for line in Path(file).read_text("utf-8").splitlines()] if Path(file).exists() else []
