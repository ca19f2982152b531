"""The metadata server of a Google Cloud machine, for clients that look for their credentials there.

GCE_METADATA_HOST and GCE_METADATA_IP lead them here (https://cloud.google.com/compute/docs/metadata/overview).
"""

from collections.abc import Callable

from starlette.responses import JSONResponse, PlainTextResponse, Response

from vertex_emulator.call import Call, Entry
from vertex_emulator.errors import GoogleError

_ROOT = "/computeMetadata/v1"
_ACCOUNT = _ROOT + "/instance/service-accounts/{account}"
_SCOPES = ("https://www.googleapis.com/auth/cloud-platform", "https://www.googleapis.com/auth/userinfo.email")
_FLAVOR = {"Metadata-Flavor": "Google", "Server": "Metadata Server for VM"}


def root(_call: Call) -> Response:
    """Say that this is a metadata server: clients ask that first."""
    return PlainTextResponse("computeMetadata/\n", headers=_FLAVOR)


def token(call: Call) -> Response:
    """Give an access token; whoever can reach the machine gets one."""
    _account(call)
    return JSONResponse(call.world.account.new_token(), headers=_FLAVOR)


def identity(call: Call) -> Response:
    """Give an ID token."""
    _account(call)
    audience = call.query("audience")
    if not audience:
        return PlainTextResponse("non-empty audience parameter required\n", 400, _FLAVOR)
    return PlainTextResponse(call.world.account.identity(audience, call.base_url), headers=_FLAVOR)


def account(call: Call) -> Response:
    """Describe the machine's service account."""
    email = _account(call)
    if call.query("recursive") != "true":
        return PlainTextResponse("aliases\nemail\nidentity\nscopes\ntoken\n", headers=_FLAVOR)
    return JSONResponse({"aliases": ["default"], "email": email, "scopes": list(_SCOPES)}, headers=_FLAVOR)


def _text(value: Callable[[Call], str]) -> Callable[[Call], Response]:
    """Make a handler that answers with a text."""

    def handler(call: Call) -> Response:
        _check_flavor(call)
        return PlainTextResponse(value(call), headers=_FLAVOR)

    return handler


def _account(call: Call) -> str:
    """Return the account's address; there is one, which is also the default."""
    _check_flavor(call)
    email = call.world.account.email
    if call.path["account"] not in ("default", email):
        raise GoogleError(404, f"There is no service account {call.path['account']}.")
    return email


def _check_flavor(call: Call) -> None:
    """Refuse callers who may not know whom they talk to."""
    if call.request.headers.get("metadata-flavor") != "Google":
        raise GoogleError(403, "Missing Metadata-Flavor:Google header.")


ROUTES = [
    Entry("GET", "/", root),
    Entry("GET", _ROOT + "/", root),
    Entry("GET", _ACCOUNT + "/", account),
    Entry("GET", _ACCOUNT + "/email", _text(_account)),
    Entry("GET", _ACCOUNT + "/scopes", _text(lambda _call: "\n".join(_SCOPES) + "\n")),
    Entry("GET", _ACCOUNT + "/token", token),
    Entry("GET", _ACCOUNT + "/identity", identity),
    Entry("GET", _ROOT + "/project/project-id", _text(lambda call: call.world.settings.project)),
    Entry(
        "GET",
        _ROOT + "/project/numeric-project-id",
        _text(lambda call: call.world.projects.number(call.world.settings.project)),
    ),
    Entry("GET", _ROOT + "/universe/universe-domain", _text(lambda _call: "googleapis.com")),
]
