"""Hostile values in the report and the approval request: nothing breaks, and nothing becomes more than text."""

import json

import jsonschema
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from gemini_tuning.core.api_types import MAX_CHECKPOINT_ID
from gemini_tuning.core.console import CONSOLE
from gemini_tuning.core.exceptions import InvalidInputError
from gemini_tuning.core.xcom import ValidationXCom
from gemini_tuning.reporting.approval_request import Offer, question
from gemini_tuning.reporting.report import SCHEMA, build
from tests.gemini_tuning.reporting.run_values import (
    APPROVED,
    BILLED,
    COPY,
    COST,
    DATASETS,
    METRICS,
    PROMOTION,
    RUN,
    assessment,
    decision,
    everything,
    summary,
)
from tests.gemini_tuning.strategies import HTML, HUGE_INT, json_values, spoiled, texts

VALIDATOR = jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text(encoding="utf-8")))
COLUMNS = 11  # of the comparison
NASTY = (
    "a|b", "a\\|b", "a\n\n# b", "<script>alert(1)</script>", "[x](http://e.example)", "![x](y)", "`a|", "\r\n|---|\n",
    "<http://e.example>", "**b**", "&lt;b&gt;", "\u2028# c", "http://e.example www.e.example a@e.example", HTML, "\\",
    "~~x~~", "===", "---", "1. x", "- x", "    code", "\ud800", "gs://b/](http://e.example)", "gs://b/a b|c\n",
)  # fmt: skip
nasty = st.sampled_from(NASTY) | texts | json_values
summaries = st.sampled_from("123").flatmap(lambda i: st.just(summary(i)) | spoiled(summary(i)))
assessments = st.sampled_from("123").flatmap(lambda i: st.just(assessment(i)) | spoiled(assessment(i)))
evil = dict.fromkeys(summary("1"), "\n".join(NASTY))
evil_reasons = {**assessment("1"), "speaks_for": list(NASTY), "speaks_against": list(NASTY)}
pushes = st.fixed_dictionaries(
    {
        "run": st.just(RUN) | spoiled(RUN, sorted(set(RUN) - {"parameters"})),
        "tuning_job": nasty,
        "model": nasty,
        "results": st.lists(summaries, max_size=3),
        "decision": st.lists(assessments, max_size=3).flatmap(
            lambda found: spoiled(
                decision(), ["winner", "reason", "outcome", "overfitting", "missing", "champion"]
            ).map(lambda good: {**good, "checkpoints": found})
        ),
        "datasets": spoiled(DATASETS) | spoiled(COST).map(lambda cost: {**DATASETS, "cost": cost}),
        "champion": st.none() | spoiled(summary("9")),
        "metrics": st.none() | spoiled(METRICS),
        "approval": st.none() | spoiled(APPROVED),
        "promotion": st.none() | spoiled(PROMOTION),
        "copy": st.none() | spoiled(COPY),
        "billed": st.none() | spoiled(BILLED),
    }
)


def tokens(markdown):
    """Return the kinds of everything that a renderer that allows much would make of a text, and all links."""
    parsed = MarkdownIt("commonmark", {"html": True, "linkify": True}).enable(["table", "linkify"]).parse(markdown)
    flat = [inner for token in parsed for inner in (token, *(token.children or ()))]
    links = [token.attrGet("href") for token in flat if token.type == "link_open" and token.markup != "linkify"]
    return [token.type for token in flat], links


def assert_harmless(markdown, headings):
    kinds, links = tokens(markdown)
    assert not [kind for kind in kinds if "html" in kind or kind.startswith(("image", "fence", "code"))]
    assert kinds.count("heading_open") == headings
    assert all(link.startswith(f"{CONSOLE}/") for link in links)
    return kinds


@given(pushes)
@example(
    everything(
        tuning_job=NASTY[0], model=NASTY[4], results=[evil], decision=decision(reason="\n".join(NASTY)), champion=evil
    )
)
@example(everything(results=[], decision=decision(checkpoints=[evil_reasons], missing=list(NASTY), winner=NASTY[0])))
@example(everything(run={**RUN, "parameters": dict.fromkeys(NASTY, NASTY), "dag_id": NASTY[2], "run_id": HTML}))
@example(everything(approval={**APPROVED, "by": {"id": HTML, "name": NASTY[4]}, "outcome": NASTY[2]}))
@example(everything(datasets={"cost": {**dict.fromkeys(COST, HTML), "items": [dict.fromkeys(COST["items"][0], HTML)]}}))
@example(everything(results=[summary("1", passed=1, blocked=HUGE_INT)], copy={**COPY, "checkpoints": HUGE_INT}))
def test_whatever_was_pushed_the_report_keeps_its_shape_and_its_markdown_is_text(pushed):
    document = build(**pushed)
    report = document.as_dict()
    VALIDATOR.validate(report)
    assert json.loads(document.as_bytes().decode("utf-8"))["schema_version"] == 3
    markdown = document.as_markdown()
    cost = report["cost"]
    sections = 5 + bool(cost) + bool(report["missing_evidence"]) + (1 if report["run"]["parameters"] else 0)
    kinds = assert_harmless(markdown, sections)
    entries = len(report["checkpoints"]) + bool(report["champion"])
    losses = sum(1 for c in report["checkpoints"] if c["losses"] or c["evaluation"])
    parameters = len(report["run"]["parameters"])
    rows = entries * 2 + losses + parameters + 2 + bool(losses) + bool(parameters)
    rows += 2 + len(cost["items"]) if cost else 0
    assert kinds.count("tr_open") == rows


@given(json_values)
def test_a_report_of_something_else_names_what_is_wrong(value):
    names = ("decision", "promotion", "copy", "metrics", "champion", "approval", "datasets", "results", "billed")
    for name in names:
        try:
            VALIDATOR.validate(build(**everything(**{name: [value] if name == "results" else value})).as_dict())
        except InvalidInputError as error:
            assert error.field.startswith(name)
            assert len(str(error)) < 1_000


@given(pushes, nasty, st.floats(1, 1e9))
@example(everything(results=[evil], champion=evil, decision=decision(reason="\n".join(NASTY))), HTML, 60.0)
@example(
    everything(decision=decision(checkpoints=[evil_reasons, assessment("2")], missing=list(NASTY))), NASTY[2], 60.0
)
def test_whatever_was_pushed_the_question_is_one_table_and_text(pushed, address, timeout):
    offer = Offer("2", {"Approve checkpoint 2": "2", "Reject": None})
    chosen = {key: pushed[key] for key in ("decision", "results", "champion", "metrics", "tuning_job", "model")}
    chosen["validation"] = ValidationXCom.from_xcom(pushed["datasets"])
    body = question(offer, **chosen, default_checkpoint_id=address, report_uri=address, timeout=timeout)
    assert body.encode("utf-8")
    kinds = assert_harmless(body, 0)
    assert kinds.count("table_open") == 1
    assert kinds.count("td_open") % COLUMNS == 0
    assert kinds.count("th_open") == COLUMNS


@given(spoiled(decision(), ["winner", "checkpoints"]) | st.builds(lambda v: decision(checkpoints=[v]), json_values))
def test_only_what_passed_the_gates_is_ever_offered(pushed):
    try:
        offer = Offer.of(pushed)
    except InvalidInputError as error:
        assert error.field.startswith("decision")
        assert len(str(error)) < 1_000
        return
    passed = (
        {str(a["checkpoint_id"]) for a in pushed["checkpoints"] or () if a["passed_gates"] is True}
        if (offer.proposed is not None)
        else set()
    )
    assert {chosen for chosen in offer.options.values() if chosen is not None} == passed
    assert all(len(option) < MAX_CHECKPOINT_ID + 50 and option.isprintable() for option in offer.options)
    assert list(offer.options)[-1] == "Reject"
