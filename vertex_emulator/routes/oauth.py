"""OAuth's token endpoint."""

from urllib.parse import parse_qs

from vertex_emulator.call import Call, Entry
from vertex_emulator.render import Json


def token(call: Call) -> Json:
    """Exchange a signed assertion for an access token."""
    form = {key: values[0] for key, values in parse_qs(call.body.decode(errors="replace")).items()}
    return call.world.account.exchange(form.get("grant_type", ""), form.get("assertion", ""), call.base_url)


ROUTES = [Entry("POST", "/token", token, reads=True)]
