"""One line of a dataset: what is wrong with it, or what counts of it.

Decoded with msgspec, which checks types while it reads and says where one is wrong: faster than reading the JSON alone
with the standard library, and one gigabyte is read line by line while somebody waits.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec
from msgspec import UNSET, UnsetType

from gemini_tuning.core.text import short_repr

ROLES = ("user", "model")
BYTES_PER_TOKEN = 4  # of UTF-8: a rule of thumb that holds for English, and within a third for most other languages
# What the service reads from Cloud Storage beside text:
# https://cloud.google.com/vertex-ai/generative-ai/docs/multimodal/image-understanding and the pages beside it.
MIME_TYPES = frozenset(
    {
        "application/pdf",
        "text/plain",
        "image/png",
        "image/jpeg",
        "image/webp",
        "image/heic",
        "image/heif",
        "audio/aac",
        "audio/flac",
        "audio/m4a",
        "audio/mp3",
        "audio/mp4",
        "audio/mpeg",
        "audio/mpga",
        "audio/ogg",
        "audio/opus",
        "audio/pcm",
        "audio/wav",
        "audio/webm",
        "audio/x-aac",
        "audio/x-flac",
        "audio/x-m4a",
        "audio/x-wav",
        "video/3gpp",
        "video/avi",
        "video/flv",
        "video/mov",
        "video/mp4",
        "video/mpeg",
        "video/mpegps",
        "video/mpg",
        "video/quicktime",
        "video/webm",
        "video/wmv",
        "video/x-flv",
    }
)


class Fault(NamedTuple):
    """What is wrong with an example.

    :param kind: for counting: json, structure, roles, empty, mime_type or file_uri.
    """

    kind: str
    text: str


class Example(msgspec.Struct, gc=False):
    """What counts of an acceptable one.

    :param key: a number that another example with the same turns has too, in this process.
    :param input_tokens: estimated, of the instruction and the user's turns, files not counted.
    :param output_tokens: estimated, of the model's turns.
    :param files: ``gs://`` addresses that it names.
    """

    key: int
    input_tokens: int
    output_tokens: int
    files: Sequence[str]


class _File(msgspec.Struct, gc=False):
    mime: str | None = msgspec.field(default=None, name="mimeType")
    mime_: str | None = msgspec.field(default=None, name="mime_type")
    uri: str | None = msgspec.field(default=None, name="fileUri")
    uri_: str | None = msgspec.field(default=None, name="file_uri")


class _Part(msgspec.Struct, gc=False):
    """Protocol buffers read both spellings of a name in JSON."""

    text: str | UnsetType = UNSET
    file: _File | UnsetType = msgspec.field(default=UNSET, name="fileData")
    file_: _File | UnsetType = msgspec.field(default=UNSET, name="file_data")
    inline: dict[str, msgspec.Raw] | UnsetType = msgspec.field(default=UNSET, name="inlineData")
    inline_: dict[str, msgspec.Raw] | UnsetType = msgspec.field(default=UNSET, name="inline_data")
    call: dict[str, msgspec.Raw] | UnsetType = msgspec.field(default=UNSET, name="functionCall")
    call_: dict[str, msgspec.Raw] | UnsetType = msgspec.field(default=UNSET, name="function_call")
    response: dict[str, msgspec.Raw] | UnsetType = msgspec.field(default=UNSET, name="functionResponse")
    response_: dict[str, msgspec.Raw] | UnsetType = msgspec.field(default=UNSET, name="function_response")


class _Content(msgspec.Struct, gc=False):
    role: str | None = None
    parts: list[_Part] | None = None


class Line(msgspec.Struct, gc=False):
    """A line as it was decoded, not checked any further."""

    contents: list[_Content] | None = None
    instruction: _Content | None = msgspec.field(default=None, name="systemInstruction")
    instruction_: _Content | None = msgspec.field(default=None, name="system_instruction")


decode = msgspec.json.Decoder(Line).decode
UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)  # what that raises
_OTHERS = ("inline", "inline_", "call", "call_", "response", "response_")


def read_example(line: bytes) -> Example | Fault:
    """Check one JSONL line."""
    try:
        example = decode(line)
    except msgspec.ValidationError as error:
        return Fault("structure", _where(str(error)))
    except UnicodeDecodeError as error:
        return Fault("json", f"not JSON: not UTF-8: {error.reason}")
    except RecursionError:
        return Fault("json", "not JSON: nested too deeply")
    except msgspec.DecodeError as error:
        return Fault("json", f"not JSON: {str(error).removeprefix('JSON is malformed: ')}")
    return judged(example)


def judged(example: Line) -> Example | Fault:
    """Check what a line says."""
    try:
        return _checked(example)
    except _FaultyError as error:
        return error.fault


class _FaultyError(Exception):
    def __init__(self, kind: str, text: str) -> None:
        super().__init__(text)
        self.fault = Fault(kind, text)


def _where(said: str) -> str:
    """Put the place first, and count turns and parts as people do not: the path is that of the JSON."""
    what, _, place = said.partition(" - at `$")
    return f"{place.strip('`').lstrip('.')}: {what}" if place else what


def _checked(example: Line) -> Example:
    contents = example.contents
    files: list[str] = []
    if not contents:
        raise _FaultyError("structure", "no contents")
    texts, heard, spoken = _turns(contents, files)
    if len(contents) & 1:
        raise _FaultyError("roles", "the last turn is not the model's")
    if instruction := example.instruction or example.instruction_:
        heard += size(_said(instruction.parts, "systemInstruction", files))
    key = hash(tuple(texts + files))
    return Example(key, -(-heard // BYTES_PER_TOKEN), -(-spoken // BYTES_PER_TOKEN), files)


def question_and_answer(example: Line) -> tuple[str, str] | None:
    """Return the texts of the simplest example, one text and another, as most are; ``None`` for all others."""
    contents = example.contents
    if contents is None or len(contents) != 2 or example.instruction is not None or example.instruction_ is not None:
        return None
    user, model = contents
    asked, answered = user.parts, model.parts
    if user.role != "user" or model.role != "model" or not asked or not answered or len(asked) + len(answered) != 2:
        return None
    question, answer = asked[0].text, answered[0].text
    if question and answer and not question.isspace() and not answer.isspace():
        return question, answer
    return None


def size(text: str) -> int:
    """Return the bytes of a text in UTF-8."""
    return len(text) if text.isascii() else len(text.encode(errors="replace"))


def _turns(contents: list[_Content], files: list[str]) -> tuple[list[str], int, int]:
    """Return the texts, and the bytes of the user's and the model's. The loop that all the time goes into."""
    texts, sizes = [], [0, 0]
    for turn, content in enumerate(contents):
        speaker = turn & 1
        if content.role != ROLES[speaker]:
            raise _FaultyError("roles", _wrong_role(turn, content.role))
        parts = content.parts
        if parts and len(parts) == 1 and (text := parts[0].text) and not text.isspace():  # nearly every turn
            pass
        else:
            text = _said(parts, turn, files)
        texts.append(text)
        sizes[speaker] += size(text)
    return texts, sizes[0], sizes[1]


def _wrong_role(turn: int, role: str | None) -> str:
    expected = f"expected {ROLES[turn & 1]!r} (user and model take turns, the user begins)"
    return f"{_name(turn)}: role is {short_repr(role)}, {expected}"


def _said(parts: list[_Part] | None, turn: int | str, files: list[str]) -> str:
    """Return the text of a turn, and add the files that it names."""
    if not parts:
        raise _FaultyError("empty", f"{_name(turn)}: no parts")
    return "\0".join([_text(part, turn, files) for part in parts])


def _text(part: _Part, turn: int | str, files: list[str]) -> str:
    if part.text is not UNSET:
        if not part.text.strip():
            raise _FaultyError("empty", f"{_name(turn)}: an empty text")
        return part.text
    for file in (part.file, part.file_):
        if file is not UNSET:
            files.append(_address(file, turn))
            return ""
    for name in _OTHERS:
        if (value := getattr(part, name)) is not UNSET:
            return " ".join(f"{key} {bytes(raw).decode(errors='replace')}" for key, raw in value.items())
    raise _FaultyError(
        "empty", f"{_name(turn)}: a part that is none of text, fileData, inlineData, functionCall, functionResponse"
    )


def _address(file: _File, turn: int | str) -> str:
    mime, uri = file.mime or file.mime_, file.uri or file.uri_
    if mime not in MIME_TYPES:
        raise _FaultyError(
            "mime_type", f"{_name(turn)}: fileData: mimeType is {short_repr(mime)}, which Gemini does not read"
        )
    bucket, _, name = (uri or "").removeprefix("gs://").partition("/")
    if not (uri or "").startswith("gs://") or not bucket or not name:
        raise _FaultyError(
            "file_uri", f"{_name(turn)}: fileData: fileUri is {short_repr(uri)}, expected gs://BUCKET/OBJECT"
        )
    return str(uri)


def _name(turn: int | str) -> str:
    return turn if isinstance(turn, str) else f"contents, turn {turn + 1}"
