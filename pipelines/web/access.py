"""Who may ask what: the token, the host's name, the origin of a request, and the headers of every answer."""

import hmac
from collections.abc import Collection
from typing import Final
from urllib.parse import parse_qsl, urlencode, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

COOKIE: Final = "reelbeam_token"

LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "::1"})
"""Names by which this machine calls itself."""

CONTENT_SECURITY_POLICY: Final = "; ".join(
    [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' blob:",
        "media-src 'self'",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    ]
)
"""Nothing is loaded from elsewhere, and no script or style inside a page runs (W3C, Content Security Policy 3)."""

HEADERS: Final = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}


class Guard:
    """An ASGI middleware that every request passes first.

    - A `Host` that is not ours is refused. A page elsewhere could otherwise let its own name point to this machine and
      read the answers (DNS rebinding).
    - With a token, a request must carry it: in a cookie, as ``Authorization: Bearer`` or once as ``?token=``, which
      sets the cookie.
    - A request that is sent by a page of another origin may not post.
    """

    def __init__(self, app: ASGIApp, hosts: Collection[str], token: str | None) -> None:
        self._app = app
        self._hosts = frozenset(host.lower() for host in hosts)
        self._token = token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        refused = self._refused(scope)

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await (refused or self._app)(scope, receive, with_headers)

    def _refused(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        if host_name(headers.get("host", "")) not in self._hosts:
            return PlainTextResponse("this server has another name; see reelbeam serve --name", 421)
        if scope["method"] not in ("GET", "HEAD", "POST"):
            return PlainTextResponse("this server only reads", 405)
        if scope["method"] == "POST" and not _same_origin(headers):
            return PlainTextResponse("only this server's own pages may post", 403)
        if self._token is None:
            return None
        return self._without_token(scope, headers, self._token)

    def _without_token(self, scope: Scope, headers: Headers, token: str) -> Response | None:
        query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        asked = next((value for name, value in query if name == "token"), None)
        if asked is not None and scope["method"] == "GET" and _equal(asked, token):
            rest = urlencode([pair for pair in query if pair[0] != "token"])
            # Two slashes at the beginning would name another server.
            path = "/" + scope["path"].lstrip("/\\")
            answer = RedirectResponse(path + (f"?{rest}" if rest else ""), 303)
            is_https = scope.get("scheme") == "https"
            answer.set_cookie(COOKIE, token, httponly=True, samesite="strict", path="/", secure=is_https)
            return answer
        scheme, _, bearer = headers.get("authorization", "").partition(" ")
        kept = cookie_parser(headers.get("cookie", "")).get(COOKIE, "")
        if _equal(kept, token) or (scheme.lower() == "bearer" and _equal(bearer, token)):
            return None
        return PlainTextResponse("open the address with ?token=... once", 401)


def host_name(host: str) -> str:
    """Returns the name in a `Host` header without the port, in small letters; "" if there is none."""
    try:
        return (urlsplit(f"//{host}").hostname or "").lower()
    except ValueError:
        return ""


def _same_origin(headers: Headers) -> bool:
    """Whether a request comes from one of our own pages, or from a program that is no browser."""
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site in ("same-origin", "none")
    origin = headers.get("origin")
    return origin is None or urlsplit(origin).netloc == headers.get("host")


def _equal(given: str, token: str) -> bool:
    """Compares in a time that does not depend on where they differ."""
    return hmac.compare_digest(given.encode(), token.encode())
