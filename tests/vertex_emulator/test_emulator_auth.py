"""OAuth: the token exchange and the check of tokens."""

import json
import subprocess
import sys
import time

import httpx
import jwt
import pytest
from google.auth.transport.requests import Request
from google.oauth2 import service_account

from tests.vertex_emulator.clients import SCOPES, make_genai_client
from vertex_emulator.auth import GRANT_TYPE, ServiceAccount, load_key, new_key
from vertex_emulator.process import Emulator

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


def test_storage_may_be_open_to_clients_that_send_no_token():
    with Emulator(storage_auth="optional", bucket="data") as emulator:
        assert httpx.get(emulator.url + "/storage/v1/b/data").status_code == 200
        wrong = httpx.get(emulator.url + "/storage/v1/b/data", headers={"Authorization": "Bearer nonsense"})
        assert wrong.status_code == 401


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
    assert account.caller(header) == key["client_email"]
    clock[0] += 3600
    assert account.caller(header) is None


def test_expired_and_foreign_tokens_are_refused():
    with Emulator(token_lifetime=0) as short, Emulator() as other:
        reply = short.request("GET", PATH)
        assert (reply.status_code, reply.json()["error"]["status"]) == (401, "UNAUTHENTICATED")
        assert other.request("GET", PATH).status_code == 200
        foreign = {"Authorization": f"Bearer {other.token()}"}
        assert short.request("GET", PATH, headers=foreign).status_code == 401


def test_a_plain_token():
    from google.oauth2.credentials import Credentials

    with Emulator(token="open-sesame") as emulator:
        with make_genai_client(emulator, Credentials(token="open-sesame"), "v1") as client:
            assert list(client.tunings.list()) == []
        for token in ("open-sesam", "open-sesame!", "x"):
            headers = {"Authorization": f"Bearer {token}"}
            assert httpx.get(emulator.url + PATH, headers=headers).status_code == 401
        assert httpx.get(emulator.url + OBJECTS).status_code == 401
        callers = [entry["caller"]["account"] for entry in emulator.requests()]
        assert callers == ["--token", None, None, None, None]


class TestMetadataServer:
    def get(self, emulator, path, **headers):
        return httpx.get(f"{emulator.url}/computeMetadata/v1/{path}", headers={"Metadata-Flavor": "Google", **headers})

    def test_google_auth_finds_it(self, emulator):
        """google-auth reads the address when it is imported, so it needs a process of its own."""
        program = (
            "import google.auth, google.auth.transport.requests as transport\n"
            "credentials, project = google.auth.default(scopes=['https://www.googleapis.com/auth/cloud-platform'])\n"
            "credentials.refresh(transport.Request())\n"
            "print(project, credentials.service_account_email, credentials.universe_domain)\n"
            "print(transport.AuthorizedSession(credentials).get('" + emulator.url + PATH + "').status_code)\n"
        )
        address = emulator.url.removeprefix("http://")
        environment = {"GCE_METADATA_HOST": address, "GCE_METADATA_IP": address, "CLOUDSDK_CONFIG": "/nowhere"}
        done = subprocess.run(
            [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False
        )
        email = emulator.key()["client_email"]
        assert done.stdout.splitlines() == [f"demo-project {email} googleapis.com", "200"], done.stderr

    def test_what_it_knows(self, emulator):
        email = emulator.key()["client_email"]
        account = "instance/service-accounts"
        assert self.get(emulator, f"{account}/default/email").text == email
        assert self.get(emulator, f"{account}/{email}/?recursive=true").json()["email"] == email
        assert SCOPES[0] in self.get(emulator, f"{account}/default/scopes").text
        assert self.get(emulator, "project/numeric-project-id").text.isdigit()
        reply = self.get(emulator, f"{account}/default/token")
        assert reply.headers["Metadata-Flavor"] == "Google"
        headers = {"Authorization": f"Bearer {reply.json()['access_token']}"}
        assert httpx.get(emulator.url + PATH, headers=headers).status_code == 200
        token = self.get(emulator, f"{account}/default/identity?audience=me").text
        assert jwt.decode(token, options={"verify_signature": False})["aud"] == "me"

    def test_what_it_refuses(self, emulator):
        account = "instance/service-accounts"
        assert self.get(emulator, f"{account}/default/token", **{"Metadata-Flavor": "Other"}).status_code == 403
        assert self.get(emulator, f"{account}/somebody@else/token").status_code == 404
        assert self.get(emulator, f"{account}/default/identity").status_code == 400


def test_key_file_is_made_once(tmp_path):
    path = tmp_path / "sub" / "key.json"
    key = load_key(path, "demo-project")
    assert json.loads(path.read_text()) == key == load_key(path, "another")
    assert path.stat().st_mode & 0o777 == 0o600


def test_the_key_names_the_address_that_was_asked(emulator):
    reply = httpx.get(f"{emulator.url}/_emulator/key", headers={"Host": "emulator.test:99"}).json()
    assert reply["token_uri"] == "http://emulator.test:99/token"
    assert reply["type"] == "service_account"
