"""OAuth: the service-account key, the exchange of a signed assertion for a token, and the check of tokens.

Like Google, the server takes two kinds of bearer token: access tokens from ``/token`` or the metadata server, and
JWTs that the service account signed itself (https://google.aip.dev/auth/4111), which Google's generated clients send
when they may. And it takes the plain token of ``--token``. Tokens expire in real time, whatever the virtual clock
says; they hold their expiry and a signature of the key, so that a server with the same key knows them again.
"""

import base64
import hashlib
import hmac
import json
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from .errors import GoogleError

TOKEN_SECONDS = 3599
GRANT_TYPE = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_GOOGLE_TOKEN_URI = "https://oauth2.googleapis.com/token"  # noqa: S105  (an address, and what google-auth puts in aud)
_LEEWAY = 10
PLAIN_CALLER = "--token"
"""Who the journal says has sent the plain token."""


class GrantError(GoogleError):
    """A refused token request, in OAuth's own error shape (RFC 6749, 5.2)."""

    def __init__(self, error: str, description: str) -> None:
        super().__init__(400, description)
        self.error = error

    def body(self) -> dict[str, Any]:
        """Return the OAuth error body."""
        return {"error": self.error, "error_description": self.message}


class KeyFileError(ValueError):
    """The file given as key is none."""


class ServiceAccount:
    """The one service account: its key, and the tokens made with it.

    :param key: a service-account key file's contents.
    :param now: real time in seconds since the epoch.
    :param lifetime: seconds that an access token is valid.
    :param plain: a token that is always valid; none if empty.
    """

    def __init__(
        self,
        key: dict[str, str],
        now: Callable[[], float] = time.time,
        *,
        lifetime: int = TOKEN_SECONDS,
        plain: str = "",
    ) -> None:
        self._key = key
        self._now = now
        self._lifetime = lifetime
        self._plain = plain
        private = serialization.load_pem_private_key(key["private_key"].encode(), password=None)
        self._public = private.public_key()
        self._secret = hashlib.sha256(key["private_key"].encode()).digest()

    @property
    def email(self) -> str:
        """The account's address."""
        return self._key["client_email"]

    def key_file(self, base_url: str) -> dict[str, str]:
        """Return an ordinary key file for callers that reach this server at ``base_url``."""
        return {**self._key, "token_uri": f"{base_url}/token"}

    def exchange(self, grant_type: str, assertion: str, base_url: str) -> dict[str, Any]:
        """Give an access token for a signed assertion (RFC 7523)."""
        if grant_type != GRANT_TYPE:
            raise GrantError("unsupported_grant_type", f"Invalid grant_type: {grant_type}")
        try:
            claims = self._verify(assertion, [f"{base_url}/token", _GOOGLE_TOKEN_URI])
        except jwt.InvalidTokenError as error:
            raise GrantError("invalid_grant", f"Invalid JWT: {error}") from error
        return {**self.new_token(), **({"scope": claims["scope"]} if "scope" in claims else {})}

    def new_token(self) -> dict[str, Any]:
        """Make an access token."""
        expires = self._now() + self._lifetime
        return {
            "access_token": self._sign(f"{expires * 1000:.0f}.{secrets.token_hex(8)}"),
            "token_type": "Bearer",
            "expires_in": self._lifetime,
        }

    def identity(self, audience: str, issuer: str) -> str:
        """Make an ID token, as the metadata server gives."""
        now = int(self._now())
        claims = {
            "aud": audience,
            "azp": self._key["client_id"],
            "email": self.email,
            "email_verified": True,
            "exp": now + self._lifetime,
            "iat": now,
            "iss": issuer,
            "sub": self._key["client_id"],
        }
        return jwt.encode(claims, self._key["private_key"], "RS256", {"kid": self._key["private_key_id"]})

    def caller(self, authorization: str) -> str | None:
        """Whose token an Authorization header holds; None unless it is valid now."""
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer" or not token:
            return None
        if self._plain and hmac.compare_digest(token.encode(), self._plain.encode()):
            return PLAIN_CALLER
        if token.startswith("ya29."):
            return self.email if self._is_access_token(token) else None
        try:
            self._verify(token, None)
        except jwt.InvalidTokenError:
            return None
        return self.email

    def _verify(self, token: str, audience: list[str] | None) -> dict[str, Any]:
        claims: dict[str, Any] = jwt.decode(
            token,
            self._public,  # type: ignore[arg-type]
            algorithms=["RS256"],
            audience=audience,
            issuer=self._key["client_email"],
            leeway=_LEEWAY,
            options={"require": ["iss", "exp", "iat"], "verify_aud": audience is not None},
        )
        return claims

    def _sign(self, payload: str) -> str:
        mac = hmac.new(self._secret, payload.encode(), hashlib.sha256).digest()
        return f"ya29.{payload}.{base64.urlsafe_b64encode(mac).decode().rstrip('=')}"

    def _is_access_token(self, token: str) -> bool:
        payload = token.removeprefix("ya29.").rpartition(".")[0]
        expires = payload.partition(".")[0]
        signed = hmac.compare_digest(self._sign(payload).encode(), token.encode())
        return signed and expires.isdigit() and int(expires) > self._now() * 1000


def new_key(project: str) -> dict[str, str]:
    """Make a service account's key (RSA 2048) for a project id."""
    private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    email = f"emulator@{project}.iam.gserviceaccount.com"
    return {
        "type": "service_account",
        "project_id": project,
        "private_key_id": secrets.token_hex(20),
        "private_key": pem.decode(),
        "client_email": email,
        "client_id": str(10**20 + secrets.randbelow(10**20)),
        "auth_uri": "https://accounts.google.com/o/oauth2/auth",
        "token_uri": _GOOGLE_TOKEN_URI,
        "auth_provider_x509_cert_url": "https://www.googleapis.com/oauth2/v1/certs",
        "client_x509_cert_url": f"https://www.googleapis.com/robot/v1/metadata/x509/{email.replace('@', '%40')}",
        "universe_domain": "googleapis.com",
    }


def load_key(path: Path | None, project: str) -> dict[str, str]:
    """Read the key at ``path``, or make one there; with no path, make one that lasts as long as the process."""
    if path is None:
        return new_key(project)
    if path.exists():
        try:
            key: dict[str, str] = json.loads(path.read_text())
            ServiceAccount(key)
        except (ValueError, KeyError, TypeError) as error:
            raise KeyFileError(f"{path} is not a service-account key") from error
        return key
    key = new_key(project)
    write_private(path, json.dumps(key, indent=2) + "\n")
    return key


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner can read (mode 0600), replacing what was there in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    temporary.touch(mode=0o600)
    temporary.write_text(text)
    temporary.replace(path)
