"""The page inside Airflow's UI, in a real browser: a run in progress, its responses, its actions and permissions."""

import json
import re
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect, sync_playwright
from runs import CONF, WAIT, Run, advance
from support import DATA

from demo.pictures import find_browser
from demo.stack import BUCKET, Stack

pytestmark = pytest.mark.airflow

HOSTILE = "<script>document.body.id='owned'</script><img src=x onerror=\"document.body.id='owned'\">'\"{{7*7}}"
VIEWER = ("viewer", "viewer-password")
PROMOTION, PROMPT = "gemini_checkpoint_promotion", "gemini_checkpoint_prompt"

expect.set_options(timeout=60_000)


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    with Stack(tmp_path_factory.mktemp("stack") / "home", speed=0, viewer=VIEWER, base_path="/team/airflow") as stack:
        yield stack


@pytest.fixture(autouse=True)
def _fresh_service():
    """Here the tests build on each other's run, and so on what is at the service."""


@pytest.fixture(scope="module")
def browser():
    path = find_browser()
    if path is None:
        pytest.skip("no Chromium: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


def signed_in(browser, stack, user, password):
    """Return a page on which each violation of the content security policy and each script error fails the test."""
    context = browser.new_context(viewport={"width": 1280, "height": 1400})
    page = context.new_page()
    page.complaints = []
    page.on("pageerror", lambda error: page.complaints.append(str(error)))
    page.on("console", lambda m: page.complaints.append(m.text) if "Content Security Policy" in m.text else None)
    page.goto(f"{stack.airflow_url}/auth/login")
    page.fill("input[name=username]", user)
    page.fill("input[name=password]", password)
    page.keyboard.press("Enter")
    page.wait_for_url(lambda url: "/auth/login" not in url)
    return page


@pytest.fixture(scope="module")
def admin(browser, stack):
    page = signed_in(browser, stack, stack.user, stack.password)
    yield page
    page.context.close()


@pytest.fixture(scope="module")
def viewer(browser, stack):
    page = signed_in(browser, stack, *VIEWER)
    yield page
    page.context.close()


@pytest.fixture(autouse=True)
def _no_complaints(request):
    yield
    for name in ("admin", "viewer"):
        if name in request.fixturenames:
            page: Page = request.getfixturevalue(name)
            assert page.complaints == []


def open_run(page, stack, run):
    """Open a run's page without Airflow around it, which is quicker."""
    page.goto(f"{stack.airflow_url}/gemini-tuning/run?dag_id={run.dag_id}&run_id={run.run_id}")
    return page


def open_tab(page, stack, run):
    """Open a run's page as users do: a tab in Airflow's UI."""
    page.goto(f"{stack.airflow_url}/dags/{run.dag_id}/runs/{run.run_id}/plugin/gemini-tuning-run")
    return page.frame_locator("iframe")


def frame_of(page):
    return page.frame_locator("iframe")


def open_overview(page, stack):
    page.goto(f"{stack.airflow_url}/plugin/gemini-tuning")
    return page.frame_locator("iframe")


def default_at_the_service(stack, run):
    model = run.xcom("evaluate.list_checkpoints", "tuned_model")
    models = {m["name"]: m for m in stack.emulator("GET", "/state")["models"]}
    return models[model]["defaultCheckpointId"]


def row(frame, checkpoint_id):
    return frame.locator("table.checkpoints tbody tr").nth(int(checkpoint_id) - 1)


@pytest.fixture(scope="module")
def before(stack, admin):
    """The overview while there is no run."""
    stack.emulator("POST", "/reset")
    stack.upload(DATA, "ferry_support")
    frame = open_overview(admin, stack)
    expect(frame.get_by_text("No tuning runs yet")).to_be_visible()


@pytest.fixture(scope="module")
def run(stack, admin, before):
    """A run whose job begins to tune."""
    run = Run.start(stack, tuned_model_display_name="ferry support")
    run.wait_for_state(WAIT, "deferred")
    return run


@pytest.fixture(scope="module")
def finished(stack, run):
    advance(stack)
    assert run.finish() == "success"
    return run


def test_the_progress_moves_while_the_job_tunes(stack, admin, run):
    frame = open_tab(admin, stack, run)
    expect(frame.locator("#losses ~ p")).to_contain_text("Losses appear after the first epoch")
    for seconds, words in ((8, r"epoch 1 of 6, step \d+"), (6, r"epoch [2-5] of 6, step \d+")):
        advance(stack, seconds)
        expect(frame.locator(".progress")).to_contain_text(re.compile(words))
        expect(frame.locator(".chart svg")).to_be_visible()
    epoch = int(re.search(r"epoch (\d)", frame.locator(".progress").inner_text())[1])
    assert float(frame.locator(".progress progress").get_attribute("value")) == pytest.approx(epoch / 6)
    overview = open_overview(admin, stack)
    expect(overview.locator(".runs tbody tr")).to_contain_text("ferry support")
    expect(overview.locator(".runs .progress")).to_contain_text("of 6")


def test_the_chart_marks_checkpoints_winner_default_and_overfitting(stack, admin, finished):
    frame = open_run(admin, stack, finished)
    texts = frame.locator(".chart svg text")
    winner = finished.xcom("report")["winner"]
    expect(texts.get_by_text("★ winner")).to_be_visible()
    drawn = texts.all_text_contents()
    assert {"1", "2", "3", winner, "5", "6", "★ winner", "● default", "overfitting"} <= set(drawn)
    frame.get_by_text("Show as table").click()
    table = frame.get_by_role("region", name="Loss by step").locator("tbody tr")
    marked = [cells for cells in (line.locator("td").all_inner_texts() for line in table.all()) if cells[2]]
    losses = finished.xcom("evaluate.read_metrics")["checkpoints"]
    assert [cells[2] for cells in marked] == sorted(losses)
    assert [float(cells[1]) for cells in marked] == [
        float(f"{losses[number]['eval_loss']:.4g}") for number in sorted(losses)
    ]


def test_the_table_shows_what_the_run_found(stack, admin, finished):
    frame = open_run(admin, stack, finished)
    decision = finished.xcom("choose", "decision")
    for found in decision["checkpoints"]:
        line = row(frame, found["checkpoint_id"])
        expect(line).to_contain_text(f"{found['pass_rate']:.1%}")
        expect(line).to_contain_text("Eligible" if found["passed_gates"] else "Rejected")
    expect(row(frame, decision["winner"])).to_contain_text("winner")
    expect(row(frame, "6")).to_contain_text("previous default")
    expect(frame.get_by_text(decision["reason"])).to_be_visible()
    expect(frame.get_by_text(f"changed from 6 to {decision['winner']}, read back")).to_be_visible()


def verdicts(stack, run):
    """Count the results files independently: ``{case: {checkpoint: passed}}``."""
    found = {}
    for place in range(6):
        uri = stack.api.xcom(run.dag_id, run.run_id, "evaluate.smoke_test", map_index=place)["results_uri"]
        for line in stack.read(uri).splitlines():
            result = json.loads(line)
            found.setdefault(result["case_id"], {})[str(place + 1)] = result["passed"]
    return found


def test_the_matrix_filters_as_an_independent_count_does(stack, admin, finished):
    frame = open_run(admin, stack, finished)
    found = verdicts(stack, finished)
    differing = {case for case, by in found.items() if len(set(by.values())) > 1}
    expect(frame.locator(".matrix tbody tr")).to_have_count(len(found))
    cells = frame.locator(".matrix tbody td").all_inner_texts()
    words = Counter("passed" if passed else "failed" for by in found.values() for passed in by.values())
    assert Counter(cells) == words
    frame.get_by_role("button", name="Differs between checkpoints").click()
    expect(frame.locator(".matrix tbody tr")).to_have_count(len(differing))
    assert set(frame.locator(".matrix tbody th button").all_inner_texts()) == differing
    frame.get_by_role("button", name="Critical").click()
    expect(frame.locator(".matrix .badge-critical")).to_have_count(4)


def test_responses_are_side_by_side_with_their_differences_highlighted(stack, admin, finished):
    frame = open_run(admin, stack, finished)
    found = verdicts(stack, finished)
    winner = finished.xcom("report")["winner"]
    case = next(case for case, by in found.items() if by[winner] and not by["1"])
    frame.get_by_role("button", name=case, exact=True).click()
    dialog = frame.get_by_role("dialog")
    expect(dialog.locator("article")).to_have_count(6)
    expect(dialog.locator("article").nth(0).locator("mark").first).to_be_visible()
    expect(dialog.locator("article").nth(int(winner) - 1).locator("mark")).to_have_count(0)
    expect(dialog.locator("article").nth(0)).to_contain_text("failed")
    expect(dialog).to_contain_text("expected")
    admin.keyboard.press("Escape")
    expect(dialog).to_be_hidden()


def test_another_default_is_set_read_back_and_rolled_back(stack, admin, finished):
    frame = open_run(admin, stack, finished)
    winner = finished.xcom("report")["winner"]
    other = "5" if winner != "5" else "4"
    for button, wanted, before in (
        (row(frame, other).get_by_role("button", name="Set as default"), other, winner),
        (frame.get_by_role("button", name=f"Roll back to checkpoint {winner}"), winner, other),
    ):
        frame.locator("summary", has_text="Reasons").first.click()  # open details must not hide an action
        button.click()
        question = frame.get_by_role("dialog")
        expect(question).to_contain_text(f"Set checkpoint {wanted} as the default of projects/")
        expect(question).to_contain_text(f"The current default is checkpoint {before}")
        question.get_by_role("button", name="Confirm").click()
        expect(frame.locator("#action")).to_contain_text(f"changed from {before} to {wanted}, read back")
        expect(row(frame, wanted).locator(".badge-default")).to_be_visible()
        assert default_at_the_service(stack, finished) == wanted
    open_tab(admin, stack, Run(stack, newest(stack, PROMOTION), PROMOTION))
    expect(frame_of(admin).get_by_text(f"changed from {other} to {winner}, read back")).to_be_visible()
    (last, first) = sorted(
        stack.api.get(f"/dags/{PROMOTION}/dagRuns")["dag_runs"], key=lambda found: found["run_after"], reverse=True
    )
    assert {last["triggering_user_name"], first["triggering_user_name"]} == {stack.user}


def test_a_question_that_is_not_confirmed_does_nothing(stack, admin, finished):
    frame = open_run(admin, stack, finished)
    runs = stack.api.get(f"/dags/{PROMOTION}/dagRuns")["total_entries"]
    row(frame, "1").get_by_role("button", name="Set as default").click()
    frame.get_by_role("button", name="Cancel").click()
    expect(frame.get_by_role("dialog")).to_be_hidden()
    assert stack.api.get(f"/dags/{PROMOTION}/dagRuns")["total_entries"] == runs


def test_a_copy_is_followed_to_its_end(stack, admin, finished):
    frame = open_run(admin, stack, finished)
    frame.get_by_label("Copy to location").fill("europe-west4")
    frame.get_by_role("button", name="Copy", exact=True).click()
    expect(frame.get_by_role("dialog")).to_contain_text("to europe-west4?")
    frame.get_by_role("button", name="Confirm").click()
    expect(frame.locator("#action")).to_contain_text("running")
    copy = Run(stack, newest(stack, PROMOTION), PROMOTION)
    copy.wait_for_state("copy_model", "deferred")
    advance(stack)
    expect(frame.locator("#action")).to_contain_text("locations/europe-west4/models/")
    expect(frame.locator("#live")).to_contain_text("verified: 6 checkpoints")


def newest(stack, dag_id):
    return stack.api.get(f"/dags/{dag_id}/dagRuns", order_by="-run_after")["dag_runs"][0]["dag_run_id"]


def test_an_action_that_fails_shows_the_error(stack, admin, finished):
    frame = open_run(admin, stack, finished)
    rule = {"method": "PATCH", "path": "/models/", "status": 403, "message": "The harbour master says no."}
    stack.emulator("POST", "/faults", [rule])
    row(frame, "2").get_by_role("button", name="Set as default").click()
    frame.get_by_role("button", name="Confirm").click()
    expect(frame.locator("#action")).to_contain_text("The harbour master says no.")
    expect(frame.locator("#action")).to_contain_text("failed")
    stack.emulator("DELETE", "/faults")


def test_responses_to_a_prompt_are_side_by_side(stack, admin, finished):
    frame = open_run(admin, stack, finished)
    frame.get_by_label("Prompt for all checkpoints").fill("Is the 17:15 sailing?")
    frame.get_by_role("button", name="Send", exact=True).click()
    expect(frame.get_by_role("dialog")).to_contain_text("Google bills 6 requests")
    frame.get_by_role("button", name="Confirm").click()
    expect(frame.locator("#action article")).to_have_count(6)
    expect(frame.locator("#action")).to_contain_text("Is the 17:15 sailing?")


def test_a_viewer_sees_everything_and_can_do_nothing(stack, viewer, finished):
    frame = open_tab(viewer, stack, finished)
    expect(frame.locator(".chart svg")).to_be_visible()
    expect(frame.locator(".matrix")).to_be_visible()
    expect(frame.get_by_role("button", name="Set as default")).to_have_count(0)
    expect(frame.get_by_role("heading", name="Actions")).to_have_count(0)
    runs = stack.api.get(f"/dags/{PROMOTION}/dagRuns")["total_entries"]
    status = viewer.evaluate(
        """async ([url, conf]) => (await fetch(url, {method: "POST", headers: {"Content-Type": "application/json"},
           body: JSON.stringify({logical_date: null, conf})})).status""",
        [f"{stack.airflow_url}/api/v2/dags/{PROMOTION}/dagRuns", {"model": "projects/p/locations/l/models/1"}],
    )
    assert status == 403
    assert stack.api.get(f"/dags/{PROMOTION}/dagRuns")["total_entries"] == runs


def test_without_a_login_nothing_is_shown(stack, browser, finished):
    context = browser.new_context()
    page = context.new_page()
    for path in ("", f"run?dag_id={finished.dag_id}&run_id={finished.run_id}"):
        answer = page.goto(f"{stack.airflow_url}/gemini-tuning/{path}")
        assert answer.status == 401
        expect(page.locator("body")).to_contain_text("You are not signed in")
    context.close()


@pytest.fixture
def other_site(stack):
    """Another site, whose page sends a form to Airflow as soon as it is opened."""

    class Site(BaseHTTPRequestHandler):
        def do_GET(self):
            body = json.dumps({"logical_date": None, "conf": {"model": "projects/p/locations/l/models/1"}, "x": ""})
            name, _, rest = body.partition('"x": "')
            form = (
                f"<form method=post enctype=text/plain action='{stack.airflow_url}/api/v2/dags/{PROMOTION}/dagRuns'>"
                f"<input name='{name}\"x\": \"' value='{rest}'></form><script>document.forms[0].submit()</script>"
            )
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(form.encode())

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Site)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    thread.join()
    server.server_close()


def test_another_sites_form_cannot_act_for_a_signed_in_user(stack, admin, finished, other_site):
    runs = stack.api.get(f"/dags/{PROMOTION}/dagRuns")["total_entries"]
    with admin.expect_response(lambda answer: answer.request.method == "POST") as sent:
        admin.goto(other_site)
    assert sent.value.status in (401, 403, 415, 422)
    assert stack.api.get(f"/dags/{PROMOTION}/dagRuns")["total_entries"] == runs


def test_responses_with_a_script_are_shown_as_text(stack, admin, finished):
    lines = [json.loads(line) for line in (DATA / "train.jsonl").read_text().splitlines()]
    for line in lines:
        line["contents"][-1]["parts"][0]["text"] += HOSTILE
    text = "\n".join(map(json.dumps, lines))
    stack.write(f"gs://{BUCKET}/hostile/train.jsonl", text)
    uri = f"gs://{BUCKET}/hostile/train.jsonl"
    hostile = Run.start(stack, CONF | {"training_dataset_uri": uri}, tuned_model_display_name=HOSTILE[:120])
    hostile.wait_for_state(WAIT, "deferred")
    advance(stack)
    assert hostile.finish() == "success"
    frame = open_run(admin, stack, hostile)
    expect(frame.get_by_role("heading", level=1)).to_contain_text("<script>document")
    frame.locator(".matrix button.link").first.click()
    expect(frame.get_by_role("dialog").locator("article").last).to_contain_text("<script>document.body")
    expect(frame.get_by_role("dialog").locator("article").last).to_contain_text("{{7*7}}")
    assert frame.locator("script:not([src])").count() == frame.locator("img").count() == 0
    assert frame.locator("#owned").count() == 0


def test_axe_finds_no_serious_violation_in_either_theme(stack, admin, finished):
    for theme in ("light", "dark"):
        admin.goto(stack.airflow_url)
        admin.evaluate("theme => localStorage.setItem('theme', theme)", theme)
        for opened in (open_overview, lambda page, stack: open_tab(page, stack, finished)):
            frame = opened(admin, stack)
            expect(frame.locator("h1")).to_be_visible()
            expect(frame.locator(f"html[data-theme={theme}]")).to_be_attached()
            if opened is not open_overview:
                expect(frame.locator(".matrix")).to_be_visible()
                frame.locator(".matrix button.link").first.click()
                expect(frame.get_by_role("dialog").locator("article").first).to_be_visible()
                assert serious(admin) == []
                admin.keyboard.press("Escape")
            assert serious(admin) == []


def serious(page):
    """Return what axe finds in our frame that is serious or worse."""
    frame = page.locator("iframe").element_handle().content_frame()
    found = Axe().run(frame).response["violations"]
    return [
        (violation["id"], violation["help"], [node["html"] for node in violation["nodes"]][:3])
        for violation in found
        if violation["impact"] in ("serious", "critical")
    ]


def test_on_a_phone_nothing_sticks_out(stack, admin, finished):
    page = admin.context.new_page()
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto(f"{stack.airflow_url}/gemini-tuning/run?dag_id={finished.dag_id}&run_id={finished.run_id}")
    expect(page.locator(".matrix")).to_be_visible()
    wide = """[...document.querySelectorAll("body *")].filter(e => !e.closest(".scroll, svg")
              && e.getBoundingClientRect().right > window.innerWidth + 1).map(e => e.outerHTML.slice(0, 120))"""
    assert page.evaluate(wide) == []
    page.close()


def test_the_overview_filters_and_leads_to_the_run(stack, admin, finished):
    frame = open_overview(admin, stack)
    expect(frame.locator(".runs tbody tr").first).to_be_visible()
    frame.get_by_label("Name").fill("ferry sup")
    expect(frame.locator(".runs tbody tr")).to_have_count(1)
    frame.get_by_label("State").select_option("failed")
    expect(frame.get_by_text("No run matches these filters")).to_be_visible()
    frame.get_by_label("State").select_option("success")
    frame.get_by_role("link", name="ferry support").click()
    admin.wait_for_url(f"**/dags/{finished.dag_id}/runs/{finished.run_id}/plugin/gemini-tuning-run")
    expect(admin.frame_locator("iframe").locator("h1")).to_contain_text("ferry support")


def test_the_tasks_link_to_the_console_and_to_the_page(stack, admin, finished):
    links = stack.api.get(f"/dags/{finished.dag_id}/dagRuns/{finished.run_id}/taskInstances/promote.set_default/links")
    addresses = links["extra_links"]
    assert addresses["Tuned model"].startswith("https://console.cloud.google.com/vertex-ai/models/")
    page = addresses["Checkpoints of this run"]
    assert page.startswith("/team/airflow/dags/")
    admin.goto(stack.airflow_url.removesuffix("/team/airflow") + page)
    expect(admin.frame_locator("iframe").locator("h1")).to_contain_text("ferry support")
