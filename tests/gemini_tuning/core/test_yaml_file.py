"""YAML files: what is rejected before Python values exist, and where a model's error is located."""

from typing import Annotated

import pytest
from pydantic import Field
from pydantic_core import PydanticCustomError

from gemini_tuning.core import yaml_file
from gemini_tuning.core.yaml_file import YamlError, YamlModel, load, load_file, load_model

BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 10)
)


class Inner(YamlModel):
    count: int = Field(gt=0, strict=True)
    name: str = "x"


class Outer(YamlModel):
    inner: Inner
    many: dict[Annotated[str, Field(pattern=r"^[a-z]+$")], Inner] = Field(default={})
    either: str | list[Inner] = ""
    listed: list[str] = Field(default=[], max_length=2)
    class_name: str = Field(default="", alias="class")


GOOD = "inner: {count: 1}\n"


def error_of(text):
    with pytest.raises(YamlError) as caught:
        load_model(load(text, source="bad.yaml"), Outer, source="bad.yaml")
    return caught.value


@pytest.mark.parametrize(
    ("text", "line", "code"),
    [
        ("a: [x\nb: ]", 2, "invalid_yaml"),
        ("a: 2001-99-99", None, "invalid_yaml"),
        ("a: !!python/object:os.system x", 1, "invalid_yaml"),
        ("a: \x00", None, "invalid_yaml"),
        ("a: 1\na: 2", 2, "duplicate_key"),
        ("x: &x [*x]", 1, "recursive_alias"),
        (BOMB, 5, "too_many_values"),
        ("\na: " + "[" * 60 + "]" * 60, 2, "too_deep"),
        ("a: " + "[" * 2_000, None, "too_deep"),
        ("#" * (yaml_file.MAX_BYTES + 1), None, "too_large"),
    ],
    ids=["flow", "date", "tag", "nul", "duplicate", "recursive", "bomb", "deep", "deeper", "large"],
)
def test_load_unacceptable_yaml_raises(text, line, code, snapshot):
    error = error_of(text)
    assert (error.line, error.code, error.resource) == (line, code, "bad.yaml")
    assert str(error) == snapshot


@pytest.mark.parametrize(
    ("text", "line", "field", "code"),
    [
        ("", None, "", "mapping_expected"),
        ("[]", 1, "", "mapping_expected"),
        ("{}", 1, "inner", "missing"),
        ("\ninner: 7", 2, "inner", "mapping_expected"),
        ("inner: {}", 1, "inner.count", "missing"),
        ("inner:\n  count: 0", 2, "inner.count", "greater_than"),
        ("inner:\n  name: x\n  count: true", 3, "inner.count", "int_type"),
        ("innner: {count: 1}", 1, "innner", "unknown_key"),
        ("inner:\n  count: 1\n  nam: x", 3, "inner.nam", "unknown_key"),
        ("inner: {count: 1, 2: 3}", 1, "inner", "unknown_key"),
        (GOOD + "class_name: x", 2, "class_name", "unknown_key"),
        (GOOD + "many: {A: {count: 1}}", 2, "many.A", "string_pattern_mismatch"),
        (GOOD + "many: {2.5: {count: 1}}", 2, "many", "string_type"),
        (GOOD + "many:\n  a: {count: 1}\n  b: {count: x}", 4, "many.b.count", "int_type"),
        (GOOD + "either: [{count: 1},\n {count: 0}]", 3, "either.1.count", "greater_than"),
        (GOOD + "listed: [a, b, c]", 2, "listed", "too_long"),
        (GOOD + "class: [x]", 2, "class", "string_type"),
    ],
)
def test_load_model_unacceptable_value_names_line_and_field(text, line, field, code, snapshot):
    error = error_of(text)
    assert (error.line, error.field, error.code, error.resource) == (line, field, code, "bad.yaml")
    assert str(error) == snapshot


def test_load_model_returns_the_model():
    document = load(GOOD + "either: &all\n- {count: 2}\nmany: {a: &a {count: 1}, b: {<<: *a, name: y}}\nclass: C")
    model = load_model(document, Outer)
    assert model.class_name == "C"
    assert model.either == [Inner(count=2)]
    assert model.many == {"a": Inner(count=1), "b": Inner(count=1, name="y")}


def test_load_model_custom_error_keeps_code_and_hint():
    class Strict(YamlModel):
        name: str

        def model_post_init(self, context):
            raise PydanticCustomError("not_today", "{name} is closed", {"name": self.name, "hint": "Try tomorrow."})

    with pytest.raises(YamlError) as caught:
        load_model(load("name: x"), Strict, source="f.yaml")
    assert (caught.value.code, caught.value.hint) == ("not_today", "Try tomorrow.")
    assert str(caught.value) == "f.yaml:1: x is closed Try tomorrow."


@pytest.mark.parametrize(
    ("content", "line", "code"),
    [
        (b"a: ok\nb: \xff\xfe", 2, "not_utf8"),
        ("a: b".encode("utf-16"), 1, "not_utf8"),
        (b"#" * (yaml_file.MAX_BYTES + 1), None, "too_large"),
    ],
)
def test_load_file_unreadable_content_raises(tmp_path, content, line, code):
    path = tmp_path / "bad.yaml"
    path.write_bytes(content)
    with pytest.raises(YamlError) as caught:
        load_file(path)
    assert (caught.value.line, caught.value.code, caught.value.resource) == (line, code, str(path))


def test_load_file_missing_raises(tmp_path):
    for path in (tmp_path / "missing.yaml", "a\0b"):
        with pytest.raises(YamlError) as caught:
            load_file(path)
        assert caught.value.code == "cannot_be_read"


def test_load_file_folder_raises(tmp_path):
    with pytest.raises(YamlError) as caught:
        load_file(tmp_path)
    assert caught.value.code == "not_a_file"


def test_load_file_byte_order_mark_is_skipped(tmp_path):
    path = tmp_path / "windows.yaml"
    path.write_bytes(b"\xef\xbb\xbfa: 1\r\n")
    assert load_file(path).value == {"a": 1}
