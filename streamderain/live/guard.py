"""Who may look at a live page: rules about Host, Origin, methods and the token, from a request's own words."""
from __future__ import annotations

import hashlib
import hmac
import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from streamderain.errors import DerainError

SAFE_METHODS = ("GET", "HEAD")
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",  # with no-referrer, browsers call the origin of the login form "null"
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_LOCAL_NAMES = {"localhost", "localhost.localdomain"}


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request is not served: the HTTP status and a line for whoever asked."""

    status: int
    line: str


class Guard:
    """The rules of one server.

    Args:
        host: the address it is bound to.
        token: what proves who may look; needed for everything but an address of this machine alone.
        allowed_hosts: further names under which people reach it, such as that of a reverse proxy.

    Raises:
        DerainError: the host is reachable from other machines and there is no token, or the token is a short one.
    """

    def __init__(self, host: str, token: str | None = None, allowed_hosts: tuple[str, ...] = ()) -> None:
        if token is None and not is_loopback(host):
            raise DerainError(
                f"{host} can be reached from other machines, so a token is needed: --token or STREAMDERAIN_TOKEN"
            )
        if token is not None and len(token) < 8:
            raise DerainError("the token is too short; give 8 characters or more, as `openssl rand -hex 16` prints")
        self._token = token
        self._names = {name.lower().rstrip(".") for name in (host, *allowed_hosts)} | _LOCAL_NAMES

    @property
    def cookie(self) -> str | None:
        """What a browser keeps instead of the token, None without one."""
        if self._token is None:
            return None
        return hmac.new(_bytes(self._token), b"streamderain page", hashlib.sha256).hexdigest()

    def refuse(self, method: str, headers: Mapping[str, str]) -> Refusal | None:
        """Whether a request comes from where it claims, whoever sends it; None where all is well.

        Args:
            method: of HTTP; "WEBSOCKET" for the beginning of one.
            headers: by name, case not minded.
        """
        host = headers.get("Host", "")
        if not self._known(host):
            return Refusal(403, "this address is not served here; --allow-host NAME adds a name")
        origin = headers.get("Origin")
        if origin is not None and not _same_origin(origin, host):
            return Refusal(403, "requests from other pages are not served")
        foreign = headers.get("Sec-Fetch-Site", "same-origin") not in ("same-origin", "none")
        if foreign and method not in SAFE_METHODS:
            return Refusal(403, "requests from other pages are not served")
        if method == "WEBSOCKET" and origin is None and not headers.get("Authorization"):
            return Refusal(403, "a WebSocket must say its origin, or bring the token")
        if method == "POST" and origin is None and not self._plain_program(headers):
            return Refusal(403, "a change must say its origin, or bring the token")
        return None

    def admits(self, cookie: str | None) -> bool:
        """Whether nobody needs a token here, or this is the cookie of one who brought it."""
        return self._token is None or (cookie is not None and _same(cookie, str(self.cookie)))

    def knows(self, token: str) -> bool:
        """Whether this is the token; any is where none is needed. Takes the same time whatever is wrong with it."""
        return self._token is None or _same(token, self._token)

    @staticmethod
    def bearer(headers: Mapping[str, str]) -> str | None:
        """The token that a program sends along."""
        kind, _, given = headers.get("Authorization", "").partition(" ")
        return given.strip() if kind.lower() == "bearer" else None

    def _known(self, host: str) -> bool:
        """Whether people may call us so: our names, and numbers, which no foreign name server can point at us."""
        try:
            name = (urlsplit(f"//{host}").hostname or "").lower().rstrip(".")
        except ValueError:
            return False
        return name in self._names or _is_number(name)

    def _plain_program(self, headers: Mapping[str, str]) -> bool:
        """A program and not a page: a page cannot send these without asking first, and nobody answers it."""
        return bool(headers.get("Authorization")) or headers.get("Content-Type", "").startswith("application/json")


def _same(given: str, right: str) -> bool:
    """In the same time wherever they differ; what is given may hold bytes that are no text."""
    return hmac.compare_digest(_bytes(given), _bytes(right))


def _bytes(word: str) -> bytes:
    return word.encode("utf-8", "backslashreplace")


def is_loopback(host: str) -> bool:
    """Whether an address can be reached from this machine only."""
    if host.lower() in _LOCAL_NAMES:
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _is_number(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _same_origin(origin: str, host: str) -> bool:
    try:
        parts = urlsplit(origin)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and parts.netloc.lower() == host.lower()
