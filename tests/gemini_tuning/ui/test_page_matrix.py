"""Cases by checkpoints, from the lines of the results files."""

import json
import resource
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tuning_runs import lines, result

from gemini_tuning.ui import matrix
from tests.gemini_tuning.strategies import DEEP, json_values


@pytest.fixture
def built(tmp_path):
    """Build a matrix of ``{who: results}``."""

    def build(**results):
        for name, found in results.items():
            (tmp_path / name).write_bytes(b"".join(lines(found)))
        path = tmp_path / "index"
        matrix.build(path, [(name, tmp_path / name) for name in results])
        return path

    return build


@pytest.fixture
def built_of_bytes(tmp_path):
    def build(*found):
        (tmp_path / "1").write_bytes(b"".join(line.rstrip(b"\n") + b"\n" for line in found))
        path = tmp_path / "index"
        matrix.build(path, [("1", Path("1"))])  # a relative path lies beside the index
        return path

    return build


def verdicts(page):
    return {case_id: [cell.verdict if cell else None for cell in cells.values()] for case_id, _, cells in page.rows}


def cases(path, filter_="all", number=1):
    return [case_id for case_id, _, _ in matrix.page(path, filter_, number).rows]


def test_each_case_is_a_row_in_the_order_of_the_suite(built):
    path = built(one=[result("b"), result("a", False)], two=[result("a"), result("b")])
    found = matrix.page(path, "all", 1)
    assert found.checkpoints == ["one", "two"]
    assert list(verdicts(found).items()) == [("b", ["passed", "passed"]), ("a", ["failed", "passed"])]


def test_repeats_are_counted(built):
    repeats = [result("a", n > 1, repeat=n) for n in (1, 2, 3)]
    ((_, _, cells),) = matrix.page(built(one=repeats, two=[result("a")]), "all", 1).rows
    assert (cells["one"].verdict, cells["one"].passed, cells["one"].repeats) == ("partly", 2, 3)


def test_a_prompt_without_an_answer_is_no_failure(built):
    path = built(one=[result("a", False, answer=None)], two=[result("a"), result("a", False, repeat=2, answer=None)])
    assert verdicts(matrix.page(path, "all", 1)) == {"a": ["no response", "no response"]}


def test_who_was_not_asked_has_no_cell(built):
    path = built(one=[result("a"), result("b")], two=[result("a")])
    assert verdicts(matrix.page(path, "all", 1)) == {"a": ["passed", "passed"], "b": ["passed", None]}
    assert cases(path, "differs") == ["b"]


def test_filters_and_their_counts(built):
    path = built(
        one=[result("same"), result("differs"), result("fails", False), result("grave", critical=True)],
        two=[result("same"), result("differs", False), result("fails", False), result("grave", critical=True)],
    )
    assert matrix.page(path, "all", 1).counts == {"all": 4, "differs": 1, "fails": 2, "critical": 1}
    assert cases(path, "differs") == ["differs"]
    assert cases(path, "fails") == ["differs", "fails"]
    assert cases(path, "critical") == ["grave"]
    assert matrix.page(path, "critical", 1).rows[0][1] is True


def test_a_file_without_a_result_makes_no_case_differ(built):
    path = built(one=[result("a")], two=[])
    assert matrix.page(path, "all", 1).checkpoints == ["one", "two"]
    assert matrix.page(path, "all", 1).counts["differs"] == 0


def test_no_results_are_an_empty_page(built):
    for path in (built(), built(one=[])):
        found = matrix.page(path, "differs", 3)
        assert (found.rows, found.number, found.pages, found.counts["all"]) == ([], 1, 1, 0)


@pytest.mark.parametrize(("number", "shown", "rows"), [(1, 1, 50), (3, 3, 20), (4, 3, 20), (10**30, 3, 20), (0, 1, 50)])
def test_pages_end_where_the_cases_do(built, number, shown, rows):
    found = matrix.page(built(one=[result(f"c{n}") for n in range(120)]), "all", number)
    assert (found.number, found.pages, len(found.rows)) == (shown, 3, rows)


def test_answers_are_there_by_contender_in_the_order_of_the_repeats(built):
    path = built(one=[result("a", repeat=2), result("a", repeat=1), result("b")], two=[result("a", answer="No.")])
    found = matrix.responses(path, "a")
    assert [line["repeat"] for line in found["one"]] == [1, 2]
    assert [line["answer"] for line in found["two"]] == ["No."]
    assert matrix.responses(path, "nobody") == {}


def test_responses_of_a_file_that_has_changed_are_not_those_of_another_case(built, tmp_path):
    path = built(one=[result("a"), result("b")])
    (tmp_path / "one").write_bytes(b"".join(lines([result("b"), result("a")])))
    assert matrix.responses(path, "a") == {"one": [{"error": matrix.UNREADABLE}]}
    (tmp_path / "one").write_bytes(b"")
    assert matrix.responses(path, "b") == {"one": [{"error": matrix.UNREADABLE}]}


def test_a_field_that_is_not_utf_8_is_shown_with_question_marks(built_of_bytes):
    path = built_of_bytes(lines([result("a", error="#")])[0].replace(b"#", b"\xff"))
    assert [line["error"] for line in matrix.responses(path, "a")["1"]] == ["\ufffd"]


def test_an_id_is_only_an_id(built):
    odd = "'; DROP TABLE answers; --"
    path = built(one=[result(odd)])
    assert list(matrix.responses(path, odd)) == ["one"]
    assert matrix.responses(path, "%") == {}


@pytest.mark.parametrize(
    "bad",
    [
        b"",
        b"\n",
        b"{",
        json.dumps(result("half")).encode()[:40],
        b"null\n",
        b"[]\n",
        b'"case_id"\n',
        b"\xff\xfe\n",
        json.dumps(result("wide")).encode("utf-16"),
        b'\xef\xbb\xbf{"case_id": "a"}',
        DEEP.encode(),
        json.dumps(result("x") | {"deep": 0}).encode().replace(b'"deep": 0', b'"deep": ' + DEEP.encode()),
        b'{"case_id": "a", "repeat": 1, "critical": false}',
        *lines([result("x", repeat=r) for r in (None, [], 10**30, -(2**63), 1e400, float("nan"), "9" * 5_000)]),
    ],
    ids=range(20),
)
def test_what_is_no_result_is_passed_over(built_of_bytes, bad):
    path = built_of_bytes(bad, *lines([result("good")]))
    assert cases(path) == ["good"]
    assert matrix.responses(path, "good")["1"]


def test_odd_ids_can_be_asked_for(built):
    path = built(one=[result("a\0b"), result("")])
    assert cases(path) == ["a\0b", ""]
    for case_id in cases(path):
        assert matrix.responses(path, case_id)["one"]


@given(found=st.lists(st.dictionaries(st.sampled_from(sorted(result("a"))), json_values)))
def test_whatever_a_file_holds_there_is_a_page(tmp_path, found):
    path, file = tmp_path / "index", tmp_path / "any.jsonl"
    dumped = [json.dumps({**result("a"), **each}, default=str).encode("utf-8", "replace") for each in found]
    file.write_bytes(b"\n".join(dumped))
    matrix.build(path, [("1", file)])
    for case_id in cases(path):
        assert matrix.responses(path, case_id)["1"]


def peak():
    """Return the most memory that this process has had so far, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1_024)


def test_ten_checkpoints_of_ten_thousand_cases_are_paged_in_bounded_memory(tmp_path):
    files = [tmp_path / f"{number}.jsonl" for number in range(10)]
    for checkpoint, file in enumerate(files):
        with file.open("wb") as lines:
            for number in range(10_000):
                found = result(f"case-{number}", (number + checkpoint) % 7 > 0, contents="x" * 200)
                lines.write(json.dumps(found).encode() + b"\n")
    path, before = tmp_path / "index", peak()
    matrix.build(path, [(file.name, file) for file in files])
    found = matrix.page(path, "differs", 200)
    assert sum(file.stat().st_size for file in files) > 40e6
    assert path.stat().st_size < 4e6
    assert peak() - before < 16e6
    assert found.counts == {"all": 10_000, "differs": 10_000, "fails": 10_000, "critical": 0}
    assert len(found.rows) == 50
    assert len(found.rows[0][2]) == 10
