"""Responses side by side, their differences marked."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tuning_runs import result

from gemini_tuning.ui.case_view import MAX_COMPARED, MAX_TEXT, Segment, case_view, compare, prompt_view
from tests.gemini_tuning.strategies import json_values

words = st.lists(st.sampled_from([*"abc", "ab", " ", "\n", ",", "ü", "\U0001f600", "\u0301", "<b>"])).map("".join)


def marked(segments):
    return [segment.text for segment in segments if segment.differs]


def turns(found):
    return [
        (turn.role or "user", *(part.text or part.file_uri for part in turn.parts)) for turn in found.first.contents
    ]


def expected(found):
    return [(verdict.type, verdict.expected) for verdict in found.expected]


def test_what_the_reference_does_not_say_is_marked():
    found = compare("The ferry leaves at nine.", "The old ferry leaves at ten.")
    assert "".join(segment.text for segment in found) == "The old ferry leaves at ten."
    assert [text.strip() for text in marked(found)] == ["old", "ten"]
    assert marked(compare("The old ferry leaves.", "The ferry leaves.")) == []


@given(reference=words | st.text(), text=words | st.text())
def test_the_pieces_are_the_text_again(reference, text):
    found = compare(reference, text)
    assert "".join(segment.text for segment in found) == text
    assert all(segment.text for segment in found)
    assert bool(marked(found)) <= (reference != text)


@given(text=words | st.text())
def test_the_same_text_has_no_mark(text):
    assert marked(compare(text, text)) == []


def test_two_long_answers_that_differ_somewhere_are_marked_there():
    long = [f"word{n}" for n in range(5_000)]
    other = [*long[:2_000], "another", *long[2_001:]]
    assert marked(compare(" ".join(long), " ".join(other))) == ["another"]


def test_two_long_answers_of_other_words_are_compared_in_time_that_one_can_wait_for():
    """A comparison in Python would look for the best place of every space, and takes minutes."""
    one, other = (" ".join(f"{letter}{n}" for n in range(4_900)) for letter in "ab")
    found = compare(one, other)
    assert marked(found)[:2] == ["b0", "b1"]
    assert "".join(segment.text for segment in found) == other


def test_answers_that_differ_in_too_much_are_marked_whole():
    one, other = (" ".join([f"{letter}{n}" for n in range(MAX_COMPARED)]) for letter in "ab")
    assert compare(f"Yes. {one}", f"Yes. {other}") == [Segment(f"Yes. {other}", differs=True)]


def test_all_answers_are_compared_with_the_winners():
    found = case_view("a", {"1": [result("a", answer="No.")], "2": [result("a", answer="Yes.")]}, "2")
    assert found.reference == "2"
    assert [(name, marked(segments)) for name, _, segments in found.responses] == [("1", ["No"]), ("2", [])]
    assert turns(found) == [("user", "A ticket?")]
    assert expected(found) == [("contains", "Yes")]


@pytest.mark.parametrize("winner", [None, "7"])
def test_without_a_winner_the_first_is_the_reference(winner):
    assert case_view("a", {"3": [result("a")], "1": [result("a")]}, winner).reference == "3"


def test_a_reference_that_did_not_answer_marks_nothing():
    silent = result("a", False, answer=None, error="404: gone", verdicts=[], critical=True)
    found = case_view("a", {"1": [silent], "2": [result("a")]}, "1")
    assert [marked(segments) for _, _, segments in found.responses] == [[], []]
    _, line, _ = found.responses[0]
    assert (line.error, line.passed) == ("404: gone", False)
    assert found.first.critical
    assert expected(found) == [("contains", "Yes")]


def test_every_repeat_is_shown():
    found = case_view("a", {"1": [result("a"), result("a", False, repeat=2, answer="No.")]}, "1")
    assert [(line.repeat, line.passed) for _, line, _ in found.responses] == [(1, True), (2, False)]


def test_a_case_that_nobody_was_asked_is_empty():
    found = case_view("a", {}, "1")
    assert (found.responses, found.reference, found.expected) == ([], None, [])


def test_files_and_conversations_are_shown_as_text():
    contents = [
        {"role": "user", "parts": [{"file_uri": "gs://b/x.png", "mime_type": "image/png"}, {"text": "What is it?"}]},
        {"role": "model", "parts": [{"text": "A ferry."}]},
        {"parts": None},
    ]
    assert turns(case_view("a", {"1": [result("a", contents=contents)]}, None)) == [
        ("user", "gs://b/x.png", "What is it?"),
        ("model", "A ferry."),
        ("user",),
    ]


def test_a_prompt_of_ones_own_shows_who_answered_and_who_could_not():
    conf = {"prompt": "A ticket?", "system_instruction": "Be brief."}
    replies = [
        {"checkpoint_id": "1", "answer": "Yes.", "latency_ms": 5.0, "error": None},
        {"checkpoint_id": "2", "answer": None, "error": "gone"},
        "junk",
    ]
    found = prompt_view(conf, replies)
    assert (turns(found), found.first.system_instruction) == ([("user", "A ticket?")], "Be brief.")
    assert [(name, line.passed, line.error) for name, line, _ in found.responses] == [
        ("1", None, None),
        ("2", None, "gone"),
    ]
    assert prompt_view({}, []).responses == []


def test_an_endless_answer_is_cut():
    ((_, _, (segment,)),) = case_view("a", {"1": [result("a", answer="x" * (2 * MAX_TEXT))]}, None).responses
    assert len(segment.text) < MAX_TEXT + 100


@given(line=st.dictionaries(st.sampled_from([*result("a"), "system_instruction"]), json_values), junk=json_values)
def test_whatever_a_line_holds_it_can_be_shown(line, junk):
    found = case_view("a", {"1": [result("a")], "2": [{**result("a"), **line}, {}]}, "2")
    assert len(found.responses) == 3
    assert all(isinstance(text, str) for turn in turns(found) for text in turn)
    prompt_view({"prompt": junk, "system_instruction": junk}, [junk, {"checkpoint_id": junk, "answer": junk}])
