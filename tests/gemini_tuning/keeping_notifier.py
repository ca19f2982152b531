"""Notifiers for the tests: one that writes messages to a file, one that fails."""

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
        run_id = context["ti"].run_id if "ti" in context else context["run_id"]
        kept = {"text": self.text, "fields": self.fields, "gemini": context["gemini"], "run_id": run_id}
        with Path(self.file).open("a", encoding="utf-8") as file:
            file.write(json.dumps(kept) + "\n")


class Failing(Keeper):
    """Fails, or fails until the given attempt.

    :param attempts: file that gets a line per attempt.
    """

    def __init__(self, *, file="", attempts=None, works_at=None, **arguments):
        super().__init__(file=file, **arguments)
        self.attempts, self.works_at = attempts, works_at

    def notify(self, context):
        if self.attempts:
            with Path(self.attempts).open("a+", encoding="utf-8") as file:
                file.write("attempt\n")
                file.seek(0)
                if len(file.readlines()) == self.works_at:
                    super().notify(context)
                    return
        raise ConnectionError("https://hooks.example.com responded Authorization: Bearer abc.def.ghi")


KEEPER, FAILING = f"{__name__}.Keeper", f"{__name__}.Failing"


def kept(file):
    """Return what a notifier was given."""
    return [json.loads(line) for line in Path(file).read_text("utf-8").splitlines()] if Path(file).exists() else []
