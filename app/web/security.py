"""What is checked of a request before any route sees it, and what every answer asks of browsers."""

import asyncio
import hmac
import logging
import math
import re
import time
from collections.abc import Sequence

from pydantic import SecretStr
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect, HTTPConnection
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.limits import BODY_BYTES, IMAGE_BYTES
from app.web.problems import problem_response

BODY_SECONDS = 30.0
"""How long a client may take to send a request's body."""
SESSION_SECONDS = 7 * 24 * 3600
ATTEMPTS_PER_MINUTE = 10
"""Wrong tokens that one client address may send."""
ADDRESSES_KEPT = 10_000
"""Client addresses that sent a wrong token are remembered, at most as many; the oldest is forgotten first."""
READING = ("GET", "HEAD", "OPTIONS")
SECURITY_HEADERS = {
    # Mantine and plotly.js write style attributes; scripts come from files of our own only.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; worker-src 'self'; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data: blob:; connect-src 'self'; font-src 'self'; frame-ancestors 'none'; base-uri 'none'; "
        "form-action 'self'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}

logger = logging.getLogger(__name__)


class SecurityHeadersMiddleware:
    """Puts `SECURITY_HEADERS` on every answer of the application below it."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_secured(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(SECURITY_HEADERS)
            await send(message)

        await self.app(scope, receive, send_secured)


class CacheHeadersMiddleware:
    """Browsers keep the dashboard's scripts and styles, whose names change with their content; the rest they ask for
    again, and get a short answer if it has not changed."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_header(message: Message) -> None:
            if message["type"] == "http.response.start":
                is_asset = scope["path"].startswith("/assets/") and message["status"] in (200, 304)
                value = "public, max-age=31536000, immutable" if is_asset else "no-cache"
                MutableHeaders(scope=message).setdefault("Cache-Control", value)
            await send(message)

        await self.app(scope, receive, send_with_header)


class Access:
    """Who may use the board: whoever sends its token, or the cookie that was given for it; all, if it has no token."""

    def __init__(self, token: SecretStr | None) -> None:
        self._token = token.get_secret_value().encode() if token else None
        self._wrong = _WrongTokens()
        # Browsers send a cookie to all ports of a host: each board's has a name of its own.
        board = hmac.digest(self._token or b"", b"cctboard board", "sha256").hex()[:12]
        self.cookie = f"cctboard_session_{board}"
        """Name of the cookie that lets a browser in."""

    @property
    def needs_token(self) -> bool:
        return self._token is not None

    def refusal(self, request: HTTPConnection) -> Response | None:
        """The answer to a request that has neither cookie nor token, None for one that may pass."""
        if self._token is None or self._is_session(request.cookies.get(self.cookie, "")):
            return None
        scheme, *given = request.headers.get("authorization", "").split(maxsplit=1) or [""]
        if scheme.lower() == "bearer":
            return self.refusal_of("".join(given), request)
        detail = "log in on the board's page, or send the header `Authorization: Bearer TOKEN`"
        if "text/html" in request.headers.get("accept", ""):
            detail += f"; if this should be the board's page, it is known by another path than {request.url.path!r}: "
            detail += "set CCTBOARD_URL to the address by which it is reached"
        return _unauthorized(detail)

    def refusal_of(self, given: str, request: HTTPConnection) -> Response | None:
        """The answer to a wrong token, None for the right one, also with blanks around it, as pasting brings them.

        After too many wrong ones, any token must wait.
        """
        if self._token is None:
            return None
        address = request.client.host if request.client else ""
        if seconds := self._wrong.wait_seconds(address):
            response = problem_response(429, "Too many attempts", f"too many wrong tokens; try again in {seconds} s")
            response.headers["Retry-After"] = str(seconds)
            return response
        if hmac.compare_digest(given.strip().encode(), self._token):
            return None
        self._wrong.note(address)
        logger.warning("a wrong token came from %s", address)
        return _unauthorized("the token is wrong")

    def new_session(self) -> str:
        """A cookie's value: when it expires, in seconds since 1970, signed with the token."""
        return self._signed(str(int(time.time()) + SESSION_SECONDS))

    def _is_session(self, cookie: str) -> bool:
        expires = cookie.partition(".")[0]
        is_ours = hmac.compare_digest(cookie.encode(), self._signed(expires).encode())
        return is_ours and time.time() < int(expires)

    def _signed(self, expires: str) -> str:
        assert self._token is not None
        return f"{expires}.{hmac.digest(self._token, f'cctboard session {expires}'.encode(), 'sha256').hex()}"


def _unauthorized(detail: str) -> Response:
    response = problem_response(401, "Log in first", detail)
    response.headers["WWW-Authenticate"] = "Bearer"
    return response


class _WrongTokens:
    """Counts per client address and minute."""

    def __init__(self) -> None:
        self._counts: dict[str, tuple[float, int]] = {}  # when the minute began, wrong tokens since

    def wait_seconds(self, address: str) -> int:
        """The seconds until the address may try again; 0 if it may now."""
        began, count = self._counts.get(address, (0.0, 0))
        return max(0, math.ceil(began + 60 - time.monotonic())) if count >= ATTEMPTS_PER_MINUTE else 0

    def note(self, address: str) -> None:
        now = time.monotonic()
        began, count = self._counts.pop(address, (now, 0))
        if len(self._counts) >= ADDRESSES_KEPT:
            del self._counts[next(iter(self._counts))]
        self._counts[address] = (began, count + 1) if now - began < 60 else (now, 1)


def is_public(method: str, path: str) -> bool:
    """What needs no token: the dashboard's own files, which hold no data, logging in, and the probes."""
    if path == "/session":
        return True
    files = ("/", "/board", "/icon.svg", "/healthz", "/readyz")
    return method in ("GET", "HEAD") and (path in files or path.startswith(("/board/", "/assets/")))


class GuardMiddleware:
    """Refuses other host names than the board's, strangers, bodies that are large or slow, and what a page of another
    origin sends through the browser of somebody who may. Any other body is read here; it counts as JSON, whatever type
    `curl -d` gives it, unless its route reads bytes."""

    def __init__(self, app: ASGIApp, access: Access, hosts: Sequence[str]) -> None:
        self.app = app
        self._access = access
        self._hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        most = IMAGE_BYTES if scope["path"] == "/lens/images" else BODY_BYTES
        refusal = self._refusal(scope, most)
        if refusal is None and scope["method"] not in READING:
            try:
                async with asyncio.timeout(BODY_SECONDS):
                    body = await _read(receive, most)
            except ClientDisconnect:
                return
            except TimeoutError:
                refusal = problem_response(408, "Body too slow", f"no body arrived within {BODY_SECONDS:.0f} s")
                refusal.headers["Connection"] = "close"
            else:
                receive = _replay(body, receive)
                MutableHeaders(scope=scope)["content-type"] = "application/json"
                if len(body) > most:
                    refusal = _too_large(most)
        await (refusal or self.app)(scope, receive, send)

    def _refusal(self, scope: Scope, most: int) -> Response | None:
        method, headers = scope["method"], Headers(scope=scope)
        if not _is_one_of(self._hosts, host := headers.get("host", "")):
            detail = (
                f"this board does not answer to the name {host!r}; CCTBOARD_ALLOWED_HOSTS lists those it answers to"
            )
            return problem_response(400, "Unknown host", detail)
        if not is_public(method, scope["path"]) and (refusal := self._access.refusal(HTTPConnection(scope))):
            return refusal
        origin, length = headers.get("origin"), headers.get("content-length", "0")
        if method not in READING and origin is not None and not _is_own(origin, host, headers.get("sec-fetch-site")):
            detail = (
                f"a page of {origin} may not change what is on {host}; use the board's own address. If there is a "
                "proxy in front of the board, it must pass on the host and the port that the browser asks for "
                "(nginx: `proxy_set_header Host $http_host;`)"
            )
            return problem_response(403, "Foreign origin", detail)
        if length.isdecimal() and int(length) > most:
            return _too_large(most)
        return None


def _is_one_of(allowed: Sequence[str], host: str) -> bool:
    """Without the port; `*.example.org` allows all names that end so, and `*` any."""
    name = re.sub(r":\d+$", "", host.lower())
    return any(name == one or (one.startswith("*") and name.endswith(one[1:])) for one in map(str.lower, allowed))


def _is_own(origin: str, host: str, fetch_site: str | None) -> bool:
    """Whether a page of the origin is one of the board's own, which was asked for `host`.

    A port that goes without saying may be left out. Any other is taken for one that a proxy left out if the browser
    says that the page asks its own origin, which no page can make it say.
    """
    scheme, _, address = origin.partition("://")
    usual = {"http": ":80", "https": ":443"}.get(scheme, "")
    host = host.lower()
    if address and address.removesuffix(usual) == host.removesuffix(usual):
        return True
    return fetch_site == "same-origin" and re.sub(r":\d+$", "", address) == host


def _too_large(most: int) -> Response:
    response = problem_response(413, "Body too large", f"at most {most} bytes are read")
    response.headers["Connection"] = "close"
    return response


async def _read(receive: Receive, most: int) -> bytes:
    """The body, or as much of it as shows that it is too large."""
    body = bytearray()
    while len(body) <= most:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    return bytes(body)


def _replay(body: bytes, receive: Receive) -> Receive:
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive_again() -> Message:
        return messages.pop() if messages else await receive()

    return receive_again
