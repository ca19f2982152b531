"""Notifications: the file, the messages, and the notifier that Airflow calls."""

import re
import socketserver
import threading
from dataclasses import asdict
from email import message_from_bytes
from types import SimpleNamespace

import pytest
from airflow.providers.standard.operators import hitl
from airflow.sdk import DAG
from airflow.sdk.exceptions import TaskAwaitingInput
from markdown_it import MarkdownIt
from support import REPOSITORY, context
from tenacity import wait_none

from gemini_tuning.core.exceptions import InvalidInputError
from gemini_tuning.core.xcom import PublicationXCom, ReportXCom
from gemini_tuning.operators.approve_checkpoint import GeminiApproveCheckpointOperator
from gemini_tuning.reporting import notification_message as messages
from gemini_tuning.reporting import notification_sender
from gemini_tuning.reporting.notification_message import (
    EVENTS,
    RunLink,
    message_of_failure,
    message_of_publication,
    message_of_report,
    message_of_request,
)
from gemini_tuning.reporting.notification_sender import (
    MAX_ATTEMPTS,
    NotificationError,
    check_notifications,
    load_notifications,
)
from gemini_tuning.reporting.notifications import GeminiRunNotifier
from gemini_tuning.reporting.report import OUTCOMES
from tests.gemini_tuning.keeping_notifier import FAILING, KEEPER, kept
from tests.gemini_tuning.reporting.run_values import JOB, MODEL, decision, summary

RUN = RunLink("dag", "run", "https://airflow.example.com/dags/dag/runs/run", JOB)
PUSHED = {
    "winner": "2",
    "outcome": "promoted",
    "reason": "Best of three.",
    "tuned_model": MODEL,
    "report_markdown": "gs://bucket/results/report.md",
}
REPORT = ReportXCom.from_xcom(PUSHED)


@pytest.fixture(autouse=True)
def no_wait(monkeypatch):
    """Do not wait between the attempts to send."""
    monkeypatch.setattr(notification_sender, "WAIT", wait_none())


@pytest.fixture
def file(tmp_path):
    return tmp_path / "notifications.yaml"


@pytest.fixture
def told(tmp_path):
    return tmp_path / "told.jsonl"


def entry(told, on="[promoted]", **arguments):
    lines = "".join(f"\n    {name}: {value}" for name, value in {"file": told, **arguments}.items())
    return f"- on: {on}\n  notifier: {KEEPER}\n  arguments:{lines}\n"


# ------------------------------------------------------------------------------------------------ the file


def test_the_file_that_comes_with_the_project_tells_nobody_and_its_example_is_good(file):
    ours = REPOSITORY / "dags" / "config" / "notifications.yaml"
    assert load_notifications(ours) == []
    example = re.sub(r"^# ?", "", ours.read_text("utf-8").partition("Example:\n")[2], flags=re.MULTILINE)
    file.write_text(example)
    slack, mail = load_notifications(file)
    assert set(slack.on) == {"promoted", "no_winner", "failed", "waiting_for_approval"}
    assert set(mail.on) == {"failed", "rejected"}
    file.write_text(example[example.index("- on: [failed, rejected]") :])
    check_notifications(file)  # the other provider is not installed here


def test_no_file_and_an_empty_one_tell_nobody(tmp_path, file):
    file.write_text("# nothing\n")
    assert load_notifications(file) == load_notifications(tmp_path / "none.yaml") == []
    check_notifications(file)
    check_notifications(None)


@pytest.mark.parametrize(
    ("text", "line", "field", "code"),
    [
        ("on: [failed]", 1, "", "list_type"),
        ("- 7", 1, "0", "mapping_expected"),
        ("- {on: [failed], notifer: a.B}", 1, "0.notifer", "unknown_key"),
        ("- {notifier: a.B}", 1, "0.on", "missing"),
        ("- {on: failed, notifier: a.B}", 1, "0.on", "list_type"),
        ("- {on: [], notifier: a.B}", 1, "0.on", "too_short"),
        ("- {on: [promotion], notifier: a.B}", 1, "0.on.0", "literal_error"),
        ("# x\n- {on: [failed], notifier: a.B}\n- {on: [failed]}", 3, "1.notifier", "missing"),
        ("- {on: [failed], notifier: B}", 1, "0.notifier", "string_pattern_mismatch"),
        ("- {on: [failed], notifier: 'a.B()'}", 1, "0.notifier", "string_pattern_mismatch"),
        ("- {on: [failed], notifier: a.B, arguments: [x]}", 1, "0.arguments", "dict_type"),
        ("- {on: [failed], notifier: a.B, arguments: {1: x}}", 1, "0.arguments.1", "string_type"),
        ("- {on: [failed], on: [no_winner], notifier: a.B}", 1, "", "duplicate_key"),
        ("- [", 1, "", "invalid_yaml"),
        ("- {on: [failed], notifier: a.B}\n" * 51, 1, "", "too_long"),
    ],
)
def test_load_unacceptable_file_is_refused_with_line_and_field(file, text, line, field, code):
    file.write_text(text)
    with pytest.raises(InvalidInputError) as caught:
        load_notifications(file)
    error = caught.value
    assert (error.resource, error.line, error.field, error.code) == (str(file), line, field, code)


@pytest.mark.parametrize(
    ("text", "field", "code"),
    [
        ("- {on: [failed], notifier: no.such.Notifier}", "notifier", "cannot_import"),
        ("- {on: [failed], notifier: json.Nothing}", "notifier", "cannot_import"),
        ("- {on: [failed], notifier: json.JSONDecoder}", "notifier", "not_a_notifier"),
        (f"- {{on: [failed], notifier: {KEEPER}}}", "arguments", "invalid_arguments"),
        (entry("x", txt="y"), "arguments", "invalid_arguments"),
        (entry("x", text="'{{ gemini.txt }}'"), "arguments", "cannot_render"),
        (entry("x", text="'{{ conn.secret }}'"), "arguments", "cannot_render"),
        (entry("x", text="'{{ var.value.secret }}'"), "arguments", "cannot_render"),
        (entry("x", text="'{{ gemini.text'"), "arguments", "cannot_render"),
        (entry("x", untemplated="'{{ gemini.text }}'"), "arguments.untemplated", "not_templated"),
    ],
)
def test_check_notifier_that_cannot_be_created_is_refused_before_the_run_is_paid(file, snapshot, text, field, code):
    file.write_text(text)
    with pytest.raises(NotificationError) as caught:
        check_notifications(file)
    assert (caught.value.resource, caught.value.field, caught.value.code) == (str(file), field, code)
    assert f"{file}:1: " in str(caught.value)
    assert str(caught.value).replace(str(file.parent), "") == snapshot


def test_checking_sends_nothing(file, told):
    file.write_text(entry(told, on=f"[{', '.join(EVENTS)}]"))
    check_notifications(file)
    assert kept(told) == []


# ------------------------------------------------------------------------------------------------ the messages


def test_every_outcome_of_a_report_has_an_event_and_a_title():
    assert set(messages.OUTCOMES) == set(OUTCOMES)
    assert {event for event, _ in messages.OUTCOMES.values()} <= set(EVENTS)


def test_the_message_of_a_report_has_its_summary():
    message = message_of_report(RUN, REPORT, "**The winner is the default now.**\n\n| checkpoint | pass rate |")
    assert (message.event, message.outcome, message.checkpoint_id) == ("promoted", "promoted", "2")
    assert message.title == "Checkpoint 2 was promoted (dag)"
    assert message.text.startswith("**The winner is the default now.**\n\n| checkpoint | pass rate |")
    assert (message.reason, message.model, message.tuning_job) == ("Best of three.", MODEL, JOB)
    assert RUN.url in message.text
    assert "report.md" in message.text


@pytest.mark.parametrize("report", [{}, {"outcome": 7, "winner": ["x"]}, {"outcome": "x" * 10_000}])
@pytest.mark.parametrize("summary_", [None, 7, "x" * 100_000, "Bearer abc.def"])
def test_odd_reports_make_short_messages(report, summary_):
    message = message_of_report(RUN, ReportXCom.model_validate(report), summary_)
    assert message.event == "failed"
    assert len(message.text) < 11_000
    assert len(message.title) < 500
    assert "abc.def" not in message.text
    assert all(isinstance(value, str) for value in asdict(message).values())


def test_a_failure_says_which_tasks_and_why():
    message = message_of_failure(RUN, {"validate": "Line 4: <b>not</b> JSON", "smoke_test_2": None, "x": "y" * 5_000})
    assert message.event == message.outcome == "failed"
    assert message.title == "The run failed: validate, smoke_test_2, x (dag)"
    assert "smoke_test_2: see its log" in message.reason
    html = MarkdownIt().render(message.text)
    assert "&lt;b&gt;not&lt;/b&gt;" in html
    assert len(message.text) < 3_000


def test_of_many_failures_a_few_are_named():
    message = message_of_failure(RUN, {f"smoke_test_{n}": "away" for n in range(40)})
    assert message.text.count("away") == 10
    assert "and 30 more" in message.text


def test_a_failure_beside_the_report_has_the_comparison():
    report = message_of_report(RUN, REPORT, "| checkpoint | pass rate |")
    message = message_of_failure(RUN, {"publish": "No aliases for you."}, report)
    assert "No aliases for you." in message.text
    assert "| checkpoint | pass rate |" in message.text
    assert (message.event, message.model, message.checkpoint_id) == ("failed", MODEL, "2")


def test_a_promotion_without_a_report():
    message = message_of_publication(
        RUN, PublicationXCom(model=MODEL.partition("@")[0], version="1", checkpoint_id="2")
    )
    assert (message.event, message.model, message.checkpoint_id) == ("promoted", MODEL, "2")
    assert message.title == "Checkpoint 2 was promoted (dag)"
    assert "Tuned model: [" in message.text
    assert message_of_publication(RUN, PublicationXCom()).event == "promoted"


def test_a_request_has_the_question_and_the_comparison():
    message = message_of_request(RUN, "Which one?", "| checkpoint |", model=MODEL, proposed="2")
    assert (message.event, message.title, message.checkpoint_id) == ("waiting_for_approval", "Which one? (dag)", "2")
    assert "| checkpoint |" in message.text


# ------------------------------------------------------------------------------------------------ sending


RUN_STATES = {"report": "success"}


def run_context(states=RUN_STATES, reason="success", pushed=None):
    """Return the context that Airflow gives the callback of a DAG."""
    values = {
        ("report", "return_value"): PUSHED,
        ("report", "summary"): "| checkpoint |",
        ("create", "return_value"): JOB,
    }
    values.update(pushed or {})

    def xcom_pull(*, task_ids, key="return_value", map_indexes=None):
        name = task_ids if map_indexes is None else f"{task_ids}_{map_indexes}"
        return values.get((name, key))

    ti = SimpleNamespace(dag_id="dag", run_id="run", xcom_pull=xcom_pull, get_task_states=lambda **_: {"run": states})
    dag = SimpleNamespace(dag_id="dag", task_dict=dict.fromkeys(("report", "publish", "smoke_test")))
    return {"ti": ti, "dag": dag, "run_id": "run", "reason": reason}


def notify(file, **change):
    GeminiRunNotifier(str(file), report="report", publish="publish", tuning_job="create").notify(run_context(**change))


def test_arguments_are_templates_and_the_message_is_not_rendered(file, told):
    file.write_text(
        entry(told, text="'{{ gemini.text }}'", fields="['{{ gemini.event }}', {a: '{{ gemini.run_id }}'}]")
        + entry(told, on="[failed]")
    )
    notify(file, pushed={("report", "summary"): "{{ conn.google_cloud_default }} {{ 7 * 7 }}"})
    (found,) = kept(told)
    assert found["text"].startswith("{{ conn.google_cloud_default }} {{ 7 * 7 }}")
    assert found["fields"] == ["promoted", {"a": "run"}]
    assert found["gemini"]["tuning_job"] == JOB


def test_failing_notifier_is_retried_then_logged_without_secrets_and_the_others_are_sent(file, told, tmp_path, capsys):
    attempts = tmp_path / "attempts"
    file.write_text(f"- {{on: [promoted], notifier: {FAILING}, arguments: {{attempts: {attempts}}}}}\n" + entry(told))
    notify(file)
    assert attempts.read_text().count("\n") == MAX_ATTEMPTS
    log = capsys.readouterr().out
    assert f"in {MAX_ATTEMPTS} attempts: ConnectionError" in log
    assert "abc.def" not in log
    assert len(kept(told)) == 1


def test_notifier_that_recovers_sends_once(file, told, tmp_path):
    attempts = tmp_path / "attempts"
    file.write_text(
        f"- {{on: [promoted], notifier: {FAILING}, arguments: {{attempts: {attempts}, works_at: 2, file: {told}}}}}\n"
    )
    notify(file)
    assert attempts.read_text().count("\n") == 2
    assert len(kept(told)) == 1


def test_file_broken_during_the_run_is_logged(file, capsys):
    file.write_text("- [")
    notify(file)
    assert "No notification was sent" in capsys.readouterr().out


def test_without_entries_nothing_is_read(tmp_path):
    GeminiRunNotifier(str(tmp_path / "none.yaml")).notify({"reason": "success"})


def test_without_a_report_the_publication_is_the_message_and_otherwise_there_is_none(file, told):
    file.write_text(entry(told, on=f"[{', '.join(EVENTS)}]"))
    published = {("publish", "return_value"): {"model": "m", "version": "1", "checkpoint_id": "2"}}
    notify(file, states={"publish": "success"}, pushed=published)
    assert [m["gemini"]["event"] for m in kept(told)] == ["promoted"]
    notify(file, states={"publish": "skipped", "report": "failed"}, pushed=published)
    assert len(kept(told)) == 1


def test_failed_run_lists_the_failed_tasks_and_what_the_run_achieved(file, told):
    file.write_text(entry(told, on="[failed]"))
    states = {"report": "success", "publish": "failed", "smoke_test_2": "failed", "x": "upstream_failed"}
    errors = {("publish", "error"): "No aliases for you.", ("smoke_test_2", "error"): "no response"}
    notify(file, states=states, reason="task_failure", pushed=errors)
    (found,) = kept(told)
    assert found["gemini"]["event"] == "failed"
    assert found["gemini"]["reason"] == "publish: No aliases for you.; smoke_test_2: no response"
    assert "| checkpoint |" in found["text"]


def test_failed_run_without_a_task_instance_in_the_context(file, told):
    """Airflow gives a minimal context when no task instance has failed."""
    file.write_text(entry(told, on="[failed]"))
    found = {key: value for key, value in run_context(reason="timed_out").items() if key != "ti"}
    GeminiRunNotifier(str(file), report="report", tuning_job="create").notify(found)
    assert [m["gemini"]["run_id"] for m in kept(told)] == ["run"]


class Mail(socketserver.StreamRequestHandler):
    """As much of SMTP as one mail needs."""

    def handle(self):
        self.reply("220 here")
        while line := self.rfile.readline().strip().upper():
            if line == b"DATA":
                self.reply("354 go on")
                self.server.mails.append(b"".join(iter(self.rfile.readline, b".\r\n")))
            if line == b"QUIT":
                self.reply("221 bye")
                return
            self.reply("250 fine")

    def reply(self, words):
        self.wfile.write(f"{words}\r\n".encode())


@pytest.fixture
def mails(monkeypatch):
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Mail) as server:
        server.mails = []
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        extra = '{"disable_ssl": true, "disable_tls": true}'
        port = server.server_address[1]
        connection = f'{{"conn_type": "smtp", "host": "127.0.0.1", "port": {port}, "extra": {extra}}}'
        monkeypatch.setenv("AIRFLOW_CONN_MAIL", connection)
        yield server.mails
        server.shutdown()
        thread.join()


def test_a_mail_through_airflows_own_notifier(file, mails):
    file.write_text("""
- on: [promoted]
  notifier: airflow.providers.smtp.notifications.smtp.SmtpNotifier
  arguments:
    smtp_conn_id: mail
    from_email: airflow@example.com
    to: ml-team@example.com
    subject: "{{ gemini.title }}"
    html_content: "<pre>{{ gemini.text | escape }}</pre>"
""")
    check_notifications(file)
    assert mails == []
    notify(file, pushed={("report", "summary"): "a < b"})
    (mail,) = mails
    mail = message_from_bytes(mail)
    assert mail["Subject"] == "Checkpoint 2 was promoted (dag)"
    assert b"<pre>a &lt; b\n" in mail.get_payload()[0].get_payload(decode=True).replace(b"\r\n", b"\n")


# --------------------------------------------------------------------------------------- waiting for approval


def approve(file, monkeypatch):
    monkeypatch.setattr(hitl, "upsert_hitl_detail", lambda **_: None)  # Airflow's own table
    operator = GeminiApproveCheckpointOperator(
        task_id="approve",
        decision=decision(),
        results=[summary("1", 10), summary("2", 22), summary("3", 21)],
        model=MODEL,
        tuning_job=JOB,
        notifiers=GeminiRunNotifier(str(file)),
    )
    ctx = context()
    ctx["ti"].id, ctx["task_instance"], ctx["task"], ctx["dag"] = "7", ctx["ti"], operator, DAG("dag", schedule=None)
    with pytest.raises(TaskAwaitingInput):
        operator.execute(ctx)


def test_a_run_that_waits_for_a_person_says_so_with_the_comparison(file, told, monkeypatch):
    file.write_text(entry(told, on="[waiting_for_approval]") + entry(told, on="[promoted]"))
    approve(file, monkeypatch)
    (found,) = kept(told)
    assert found["gemini"]["event"] == "waiting_for_approval"
    assert (found["gemini"]["checkpoint_id"], found["gemini"]["model"]) == ("2", MODEL)
    assert "Proposed: checkpoint 2" in found["text"]
    assert "| checkpoint " in found["text"]


@pytest.mark.parametrize("text", ["- [", f"- {{on: [waiting_for_approval], notifier: {FAILING}}}"])
def test_the_question_is_asked_though_nobody_could_be_told(file, text, monkeypatch):
    file.write_text(text)
    approve(file, monkeypatch)
