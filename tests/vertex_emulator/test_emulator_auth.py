"""OAuth: the token exchange and the check of tokens."""

import json
import time

import httpx
import jwt
import pytest
from google.auth.transport.requests import Request
from google.oauth2 import service_account

from tests.vertex_emulator.clients import SCOPES
from vertex_emulator.auth import GRANT_TYPE, ServiceAccount, load_key, new_key

PATH = "/v1/projects/demo-project/locations/us-central1/tuningJobs"
OBJECTS = "/storage/v1/b/data/o"


def grant(emulator, key, **claims):
    now = int(time.time())
    payload = {
        "iss": key["client_email"],
        "aud": f"{emulator.url}/token",
        "iat": now,
        "exp": now + 600,
        "scope": SCOPES[0],
        **claims,
    }
    form = {"grant_type": GRANT_TYPE, "assertion": jwt.encode(payload, key["private_key"], "RS256")}
    return httpx.post(f"{emulator.url}/token", data=form)


def test_google_auth_gets_a_token(emulator):
    credentials = service_account.Credentials.from_service_account_info(emulator.key(), scopes=SCOPES)
    credentials.refresh(Request())
    reply = httpx.get(emulator.url + PATH, headers={"Authorization": f"Bearer {credentials.token}"})
    assert reply.json() == {}


def test_the_reply_of_the_token_endpoint(emulator):
    reply = grant(emulator, emulator.key()).json()
    assert reply.pop("access_token").startswith("ya29.")
    assert reply == {"token_type": "Bearer", "expires_in": 3599, "scope": SCOPES[0]}


@pytest.mark.parametrize(
    "claims", [{"iss": "somebody@else"}, {"aud": "http://elsewhere/token"}, {"exp": int(time.time()) - 60}]
)
def test_bad_claims(emulator, claims):
    reply = grant(emulator, emulator.key(), **claims)
    assert (reply.status_code, reply.json()["error"]) == (400, "invalid_grant")


def test_foreign_signature(emulator):
    stranger = {**new_key("demo-project"), "client_email": emulator.key()["client_email"]}
    assert grant(emulator, stranger).json()["error"] == "invalid_grant"


def test_other_grants(emulator):
    reply = httpx.post(f"{emulator.url}/token", data={"grant_type": "refresh_token"})
    assert (reply.status_code, reply.json()["error"]) == (400, "unsupported_grant_type")


@pytest.mark.parametrize(
    "header", [None, "Bearer nonsense", "Bearer ya29.9999999999.x.y", "Basic eDp5", "Bearer a.b.c"]
)
def test_no_valid_token_is_401(emulator, header):
    headers = {"Authorization": header} if header else {}
    error = httpx.get(emulator.url + PATH, headers=headers).json()["error"]
    assert (error["code"], error["status"]) == (401, "UNAUTHENTICATED")
    storage = httpx.get(emulator.url + OBJECTS, headers=headers)
    assert storage.status_code == 401
    assert storage.json()["error"]["errors"][0]["reason"] == "required"


def test_self_signed_jwt_of_generated_clients(emulator):
    key = emulator.key()
    now = int(time.time())
    claims = {"iss": key["client_email"], "sub": key["client_email"], "scope": SCOPES[0], "iat": now, "exp": now + 600}
    token = jwt.encode(claims, key["private_key"], "RS256")
    assert httpx.get(emulator.url + PATH, headers={"Authorization": f"Bearer {token}"}).status_code == 200


def test_tokens_expire():
    now = time.time()
    clock = [now]
    key = new_key("p")
    account = ServiceAccount(key, lambda: clock[0])
    claims = {"iss": key["client_email"], "aud": "http://x/token", "iat": int(now), "exp": int(now) + 600}
    reply = account.exchange(GRANT_TYPE, jwt.encode(claims, key["private_key"], "RS256"), "http://x")
    header = f"Bearer {reply['access_token']}"
    assert account.accepts(header)
    clock[0] += 3600
    assert not account.accepts(header)


def test_key_file_is_made_once(tmp_path):
    path = tmp_path / "sub" / "key.json"
    key = load_key(path, "demo-project")
    assert json.loads(path.read_text()) == key == load_key(path, "another")
    assert path.stat().st_mode & 0o777 == 0o600


def test_the_key_names_the_address_that_was_asked(emulator):
    reply = httpx.get(f"{emulator.url}/_emulator/key", headers={"Host": "emulator.test:99"}).json()
    assert reply["token_uri"] == "http://emulator.test:99/token"
    assert reply["type"] == "service_account"
