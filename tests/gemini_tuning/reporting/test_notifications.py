"""Who is told what: the file, the messages, and Airflow's notifiers."""

import re
import socketserver
import threading
from email import message_from_bytes

import pytest
from airflow.providers.standard.operators import hitl
from airflow.sdk import DAG
from airflow.sdk.exceptions import AirflowException, AirflowSkipException, TaskAwaitingInput
from markdown_it import MarkdownIt
from support import REPOSITORY, TaskStateStore, context

from gemini_tuning.operators import GeminiApproveCheckpointOperator, GeminiNotifyOperator
from gemini_tuning.operators import notify as notify_module
from gemini_tuning.reporting import notification_message as messages
from gemini_tuning.reporting.notification_config import NotificationError, load_notifications
from gemini_tuning.reporting.notification_message import EVENTS, Run, of_failure, of_publication, of_report, of_request
from gemini_tuning.reporting.notifications import ApprovalNotifier, attempt, check_notifications, wanted
from gemini_tuning.reporting.report_markdown import OUTCOMES
from tests.gemini_tuning.keeping_notifier import FAILING, KEEPER, kept
from tests.gemini_tuning.reporting.run_values import JOB, MODEL, decision, summary

RUN = Run("dag", "run", "https://airflow.example.com/dags/dag/runs/run", JOB)
REPORT = {
    "winner": "2",
    "outcome": "promoted",
    "reason": "Best of three.",
    "tuned_model": MODEL,
    "report_markdown": "gs://bucket/results/report.md",
}


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
    assert slack.on == {"promoted", "nobody", "failed", "waiting_for_approval"}
    assert mail.on == {"failed", "rejected"}
    file.write_text(example[example.index("- on: [failed, rejected]") :])
    check_notifications(file)  # the other provider is not installed here


def test_no_file_and_an_empty_one_tell_nobody(tmp_path, file):
    file.write_text("# nothing\n")
    assert load_notifications(file) == load_notifications(tmp_path / "none.yaml") == []
    check_notifications(file)
    check_notifications(None)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("on: [failed]", "expected a list"),
        ("- 7", ":1: expected a mapping"),
        ("- {on: [failed], notifer: a.B}", ":1: unknown key 'notifer'"),
        ("- {notifier: a.B}", ":1: on: expected a list out of promoted"),
        ("- {on: failed, notifier: a.B}", ":1: on: "),
        ("- {on: [], notifier: a.B}", ":1: on: "),
        ("- {on: [promotion], notifier: a.B}", r":1: on: .*'promotion'"),
        ("# x\n- {on: [failed], notifier: a.B}\n- {on: [failed]}", ":3: notifier: expected the full name"),
        ("- {on: [failed], notifier: B}", ":1: notifier: "),
        ("- {on: [failed], notifier: 'a.B()'}", ":1: notifier: "),
        ("- {on: [failed], notifier: a.B, arguments: [x]}", ":1: arguments: "),
        ("- {on: [failed], notifier: a.B, arguments: {1: x}}", ":1: arguments: "),
        ("- {on: [failed], on: [nobody], notifier: a.B}", "twice"),
        ("- [", "cannot be read"),
        ("- {on: [failed], notifier: a.B}\n" * 51, "at most 50"),
    ],
)
def test_what_is_not_acceptable_is_named(file, text, words):
    file.write_text(text)
    with pytest.raises(NotificationError, match=rf"^{re.escape(str(file))}.*{words}"):
        load_notifications(file)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "- {on: [failed], notifier: no.such.Notifier}",
            "notifier: cannot import no.such.Notifier: ModuleNotFoundError",
        ),
        ("- {on: [failed], notifier: json.Nothing}", "notifier: cannot import json.Nothing: AttributeError"),
        ("- {on: [failed], notifier: json.JSONDecoder}", "notifier: json.JSONDecoder is not a notifier"),
        (f"- {{on: [failed], notifier: {KEEPER}}}", "arguments: TypeError: .*'file'"),
        (entry("x", txt="y"), "arguments: TypeError: .*'txt'"),
        (entry("x", text="'{{ gemini.txt }}'"), "arguments: a template cannot be filled in: UndefinedError.*txt"),
        (entry("x", text="'{{ conn.secret }}'"), "arguments: a template cannot be filled in: .*'conn' is undefined"),
        (entry("x", text="'{{ var.value.secret }}'"), "arguments: .*'var' is undefined"),
        (entry("x", text="'{{ gemini.text'"), "arguments: a template cannot be filled in: TemplateSyntaxError"),
        (entry("x", untemplated="'{{ gemini.text }}'"), "arguments: untemplated: this notifier fills in no template"),
    ],
)
def test_a_notifier_that_could_not_be_made_is_found_out_before_the_run_is_paid(file, text, words):
    file.write_text(text)
    with pytest.raises(NotificationError, match=rf"{re.escape(str(file))}:1: {words}"):
        check_notifications(file)


def test_checking_sends_nothing(file, told):
    file.write_text(entry(told, on=f"[{', '.join(EVENTS)}]"))
    check_notifications(file)
    assert kept(told) == []


# ------------------------------------------------------------------------------------------------ the messages


def test_every_outcome_of_a_report_has_an_event_and_a_title():
    assert set(messages.EVENT_OF) == set(messages.TITLES) == set(OUTCOMES)
    assert set(messages.EVENT_OF.values()) <= set(EVENTS)


def test_the_message_of_a_report_has_its_summary():
    message = of_report(RUN, REPORT, "**The winner is the default now.**\n\n| checkpoint | pass rate |")
    assert (message.event, message.outcome, message.checkpoint_id) == ("promoted", "promoted", "2")
    assert message.title == "Checkpoint 2 was promoted (dag)"
    assert message.text.startswith("**The winner is the default now.**\n\n| checkpoint | pass rate |")
    assert (message.reason, message.model, message.tuning_job) == ("Best of three.", MODEL, JOB)
    assert RUN.url in message.text
    assert "report.md" in message.text


@pytest.mark.parametrize("report", [{}, {"outcome": 7, "winner": ["x"]}, {"outcome": "x" * 10_000}])
@pytest.mark.parametrize("summary_", [None, 7, "x" * 100_000, "Bearer abc.def"])
def test_odd_reports_make_short_messages(report, summary_):
    message = of_report(RUN, report, summary_)
    assert message.event == "failed"
    assert len(message.text) < 11_000
    assert len(message.title) < 500
    assert "abc.def" not in message.text
    assert all(isinstance(value, str) for value in message.as_dict().values())


def test_a_failure_says_which_tasks_and_why():
    message = of_failure(RUN, {"validate": "Line 4: <b>not</b> JSON", "smoke_test_2": None, "x": "y" * 5_000})
    assert message.event == message.outcome == "failed"
    assert message.title == "The run failed: validate, smoke_test_2, x (dag)"
    assert "smoke_test_2: see its log" in message.reason
    html = MarkdownIt().render(message.text)
    assert "&lt;b&gt;not&lt;/b&gt;" in html
    assert len(message.text) < 3_000


def test_of_many_failures_a_few_are_named():
    message = of_failure(RUN, {f"smoke_test_{n}": "away" for n in range(40)})
    assert message.text.count("away") == 10
    assert "and 30 more" in message.text


def test_a_failure_beside_the_report_has_the_comparison():
    report = of_report(RUN, REPORT, "| checkpoint | pass rate |")
    message = of_failure(RUN, {"publish": "No aliases for you."}, report)
    assert "No aliases for you." in message.text
    assert "| checkpoint | pass rate |" in message.text
    assert (message.event, message.model, message.checkpoint_id) == ("failed", MODEL, "2")


def test_a_promotion_without_a_report():
    message = of_publication(RUN, {"model": MODEL.partition("@")[0], "version": "1", "checkpoint_id": "2"})
    assert (message.event, message.model, message.checkpoint_id) == ("promoted", MODEL, "2")
    assert message.title == "Checkpoint 2 was promoted (dag)"
    assert "Tuned model: [" in message.text
    assert of_publication(RUN, {}).event == "promoted"


def test_a_request_has_the_question_and_the_comparison():
    message = of_request(RUN, "Which one?", "| checkpoint |", model=MODEL, proposed="2")
    assert (message.event, message.title, message.checkpoint_id) == ("waiting_for_approval", "Which one? (dag)", "2")
    assert "| checkpoint |" in message.text


# ------------------------------------------------------------------------------------------------ sending


MESSAGE = of_report(RUN, REPORT, "{{ conn.google_cloud_default }} {{ 7 * 7 }}")


def test_arguments_are_templates_and_what_a_message_says_is_none(file, told):
    file.write_text(
        entry(told, text="'{{ gemini.text }}'", fields="['{{ gemini.event }}', {a: '{{ gemini.run_id }}'}]")
    )
    (notification,) = wanted(file, "promoted")
    assert wanted(file, "failed") == []
    assert attempt(notification, MESSAGE, context()) is None
    (found,) = kept(told)
    assert found["text"].startswith("{{ conn.google_cloud_default }} {{ 7 * 7 }}")
    assert found["fields"] == ["promoted", {"a": "run"}]


def test_what_a_notifier_raises_is_said_without_secrets(file):
    file.write_text(f"- {{on: [promoted], notifier: {FAILING}}}")
    (notification,) = wanted(file, "promoted")
    failure = attempt(notification, MESSAGE, context())
    assert f"{file}:1: {FAILING} failed: ConnectionError" in failure
    assert "abc.def" not in failure


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
    (notification,) = wanted(file, "promoted")
    assert attempt(notification, of_report(RUN, REPORT, "a < b"), context()) is None
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
        notifiers=ApprovalNotifier(str(file)),
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


# ------------------------------------------------------------------------------------------------ the task


@pytest.fixture
def notify(file, monkeypatch):
    """Run the task after a promotion; its retries are what the context says."""

    def run(store, states=None, **tries):
        ctx = context(store=store, **tries)
        found = {"report": "success"} if states is None else states
        monkeypatch.setattr(notify_module, "get_task_states", lambda *_: {"run": found})
        pushed = {("report", "return_value"): REPORT, ("report", "summary"): "| checkpoint |"}
        object.__setattr__(ctx["ti"], "xcom_pull", lambda *, task_ids, key="return_value": pushed.get((task_ids, key)))
        ctx["dag"].task_dict = {"report": None}
        return GeminiNotifyOperator(task_id="notify", notifications=str(file)).execute(ctx)

    return run


def test_a_retry_tells_only_those_who_were_not_told(file, told, tmp_path, notify):
    works = tmp_path / "works"
    file.write_text(f"- {{on: [promoted], notifier: {FAILING}, arguments: {{until: {works}}}}}\n" + entry(told))
    store = TaskStateStore()
    with pytest.raises(AirflowException, match="1 of 2 did not get through"):
        notify(store, try_number=1, max_tries=2)
    works.touch()
    done = {"event": "promoted", "outcome": "promoted", "sent": 2, "failed": []}
    assert notify(store, try_number=2, max_tries=2) == done
    assert len(kept(told)) == 1
    notify(store, try_number=3, max_tries=4)  # somebody has cleared it
    assert len(kept(told)) == 2


def test_the_last_try_gives_up_and_leaves_the_run_as_it_is(file, notify):
    file.write_text(f"- {{on: [promoted], notifier: {FAILING}}}")
    done = notify(TaskStateStore(), try_number=3, max_tries=2)
    assert (done["sent"], len(done["failed"])) == (0, 1)


def test_a_file_that_somebody_has_broken_meanwhile_fails_nothing(file, notify):
    file.write_text("- [")
    assert "cannot be read" in notify(TaskStateStore(), max_tries=2)["failed"][0]


def test_without_a_report_a_published_model_is_told_and_else_nothing(file, told, notify):
    file.write_text(entry(told))
    notify(TaskStateStore(), {"publish": "success"})
    assert [m["gemini"]["event"] for m in kept(told)] == ["promoted"]
    with pytest.raises(AirflowSkipException, match="nothing to tell"):
        notify(TaskStateStore(), {"publish": "skipped"})


def test_nobody_to_be_told(file, told, notify):
    file.write_text(entry(told, on="[failed]"))
    with pytest.raises(AirflowSkipException, match="Nobody is to be told of promoted"):
        notify(TaskStateStore())
