"""One line of a dataset: an example, or the reason why it is not one.

Lines are decoded with msgspec, which checks the types while it reads and reports where one is wrong. Format:
https://cloud.google.com/vertex-ai/generative-ai/docs/models/gemini-supervised-tuning-prepare
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from msgspec import UNSET, UnsetType

from gemini_tuning.core.exceptions import InvalidInputError
from gemini_tuning.core.names import split_gcs_uri
from gemini_tuning.core.text import short_repr

MAX_LINE_BYTES = 16 << 20  # far above an example's 131,072 tokens
ROLES = ("user", "model")
BYTES_PER_TOKEN = 4  # of UTF-8: holds for English, and within a third for most other languages
# https://cloud.google.com/vertex-ai/generative-ai/docs/multimodal/image-understanding and the pages about other media.
_MEDIA = {
    "application": ("pdf",),
    "text": ("plain",),
    "image": ("png", "jpeg", "webp", "heic", "heif"),
    "audio": (
        *("aac", "flac", "m4a", "mp3", "mp4", "mpeg", "mpga", "ogg", "opus", "pcm", "wav", "webm"),
        *("x-aac", "x-flac", "x-m4a", "x-wav"),
    ),
    "video": ("3gpp", "avi", "flv", "mov", "mp4", "mpeg", "mpegps", "mpg", "quicktime", "webm", "wmv", "x-flv"),
}
MIME_TYPES = frozenset(f"{kind}/{subtype}" for kind, subtypes in _MEDIA.items() for subtype in subtypes)


class ExampleError(InvalidInputError):
    """A line is not an acceptable example; ``field`` is the path in its JSON, for example ``contents[0].role``.

    ``code`` is json, too_long, structure, roles, empty, mime_type or file_uri.
    """

    def __init__(self, what: str, *, field: str = "", code: str) -> None:
        super().__init__(f"{field}: {what}" if field else what, field=field, code=code)


class Example(msgspec.Struct, gc=False):
    """An acceptable example."""

    key: int  # 64-bit hash of its turns, comparable within this process
    input_tokens: int  # estimate for the system instruction and the user's turns, without files
    output_tokens: int  # estimate for the model's turns
    files: Sequence[str]  # gs:// addresses in it


class _File(msgspec.Struct, gc=False):
    mime: str | None = msgspec.field(default=None, name="mimeType")
    mime_: str | None = msgspec.field(default=None, name="mime_type")
    uri: str | None = msgspec.field(default=None, name="fileUri")
    uri_: str | None = msgspec.field(default=None, name="file_uri")


class _DatasetPart(msgspec.Struct, gc=False):
    """Both spellings of a name are valid in the JSON form of protocol buffers."""

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
    parts: list[_DatasetPart] | None = None


class DatasetLine(msgspec.Struct, gc=False):
    """A decoded line: the types are right, the rest is not checked yet."""

    contents: list[_Content] | None = None
    instruction: _Content | None = msgspec.field(default=None, name="systemInstruction")
    instruction_: _Content | None = msgspec.field(default=None, name="system_instruction")


_decode = msgspec.json.Decoder(DatasetLine).decode


def read_example(line: bytes) -> Example:
    """Decode and check one line; raise ExampleError when it is not an acceptable example."""
    if len(line) > MAX_LINE_BYTES:
        raise ExampleError(f"longer than {MAX_LINE_BYTES} bytes", code="too_long")
    try:
        return _checked(_decode(line))
    except msgspec.ValidationError as error:
        what, _, path = str(error).partition(" - at `$")
        raise ExampleError(what, field=path.strip("`").lstrip("."), code="structure") from None
    except UnicodeDecodeError as error:
        raise ExampleError(f"not JSON: not UTF-8: {error.reason}", code="json") from None
    except RecursionError:
        raise ExampleError("not JSON: nested too deeply", code="json") from None
    except msgspec.DecodeError as error:
        raise ExampleError(f"not JSON: {str(error).removeprefix('JSON is malformed: ')}", code="json") from None


def _checked(line: DatasetLine) -> Example:
    contents = line.contents
    if not contents:
        raise ExampleError("required", field="contents", code="structure")
    texts: list[str] = []
    files: list[str] = []
    sizes = [0, 0]
    for turn, content in enumerate(contents):
        speaker = turn & 1
        if content.role != ROLES[speaker]:
            expected = f"expected {ROLES[speaker]!r}: user and model alternate, starting with user"
            field = f"contents[{turn}].role"
            raise ExampleError(f"{short_repr(content.role)}, {expected}", field=field, code="roles")
        text = _text(content.parts, turn, files)
        texts.append(text)
        sizes[speaker] += _size(text)
    if len(contents) & 1:
        raise ExampleError("the last turn is not the model's", field="contents", code="roles")
    if instruction := line.instruction or line.instruction_:
        sizes[0] += _size(_text(instruction.parts, None, files))
    return Example(hash((*texts, *files)), -(-sizes[0] // BYTES_PER_TOKEN), -(-sizes[1] // BYTES_PER_TOKEN), files)


def _size(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode(errors="replace"))


def _text(parts: list[_DatasetPart] | None, turn: int | None, files: list[str]) -> str:
    """Return the text of a turn, or of the system instruction where ``turn`` is ``None``; append the files in it."""
    if parts and len(parts) == 1 and (text := parts[0].text) and not text.isspace():  # nearly every turn
        return text
    place = "systemInstruction.parts" if turn is None else f"contents[{turn}].parts"
    if not parts:
        raise ExampleError("required", field=place, code="empty")
    return "\0".join([_part_text(part, f"{place}[{index}]", files) for index, part in enumerate(parts)])


def _part_text(part: _DatasetPart, place: str, files: list[str]) -> str:
    if part.text is not UNSET:
        if not part.text.strip():
            raise ExampleError("empty", field=f"{place}.text", code="empty")
        return part.text
    for file in (part.file, part.file_):
        if file is not UNSET:
            files.append(_uri(file, place))
            return ""
    for value in (part.inline, part.inline_, part.call, part.call_, part.response, part.response_):
        if value is not UNSET:
            return " ".join(f"{key} {bytes(raw).decode(errors='replace')}" for key, raw in value.items())
    expected = "expected one of text, fileData, inlineData, functionCall, functionResponse"
    raise ExampleError(expected, field=place, code="empty")


def _uri(file: _File, place: str) -> str:
    mime, uri = file.mime or file.mime_, file.uri or file.uri_ or ""
    if mime not in MIME_TYPES:
        what = f"{short_repr(mime)} is not a MIME type that Gemini accepts"
        raise ExampleError(what, field=f"{place}.fileData.mimeType", code="mime_type")
    if not all(split_gcs_uri(uri) or [""]):
        what = f"expected gs://BUCKET/OBJECT, not {short_repr(uri)}"
        raise ExampleError(what, field=f"{place}.fileData.fileUri", code="file_uri")
    return uri
