"""Access control: only requests of our own page, from this machine, with the secret of the link.

* The server binds to the loopback address, and answers only to names of it: a page of another
  site that has its name point here (DNS rebinding) sends another `Host`.
* The link holds a random token. It becomes a cookie that no script can read and no other site
  can have sent, and the page takes it out of the address.
* What changes something must come from our own origin.
* The page may load nothing from elsewhere, runs no inline script, and cannot be framed.
"""

import hmac
import secrets
from collections.abc import Mapping

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOOPBACK = "127.0.0.1"
TOKEN_BYTES = 32

_POLICY = (
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "img-src 'self' data:",
    "connect-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
    "require-trusted-types-for 'script'",
    "trusted-types 'none'",
)
HEADERS: Mapping[str, str] = {
    "content-security-policy": "; ".join(_POLICY),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-embedder-policy": "require-corp",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
}


def new_token() -> str:
    """Random secret of a session."""
    return secrets.token_urlsafe(TOKEN_BYTES)


class Guard:
    """Middleware that rejects requests without permission.

    Args:
        app: What is guarded.
        token: The secret of the link.
        port: Where the server listens.
    """

    def __init__(self, app: ASGIApp, *, token: str, port: int) -> None:
        self._app = app
        self._token = token
        self._hosts = {f"{name}:{port}" for name in (LOOPBACK, "localhost", "[::1]")}
        self.cookie = f"tutelage_{port}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Respond to one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        refusal = self._refusal(request)
        fresh = refusal is None and self._is_token(request.query_params.get("token", ""))

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
                headers.setdefault("cache-control", "no-store")
                if fresh:
                    headers.append(
                        "set-cookie",
                        f"{self.cookie}={self._token}; Path=/; HttpOnly; SameSite=Strict",
                    )
            await send(message)

        await (refusal or self._app)(scope, receive, guarded)

    def _refusal(self, request: Request) -> Response | None:
        headers = request.headers
        host = headers.get("host", "")
        if host not in self._hosts:
            return _refused(403, "this server answers to the loopback address only")
        if not _is_ours(headers, host, changes=request.method not in ("GET", "HEAD")):
            return _refused(403, "this request comes from another site")
        if request.url.path.startswith("/api/") and not self._is_token(
            request.cookies.get(self.cookie, "")
        ):
            return _refused(401, "open the link that `tutelage view` printed")
        return None

    def _is_token(self, given: str) -> bool:
        return hmac.compare_digest(given.encode("utf-8", "replace"), self._token.encode())


def _is_ours(headers: Headers, host: str, *, changes: bool) -> bool:
    """Whether a request was made by our page, or by a person who opens it."""
    origin = headers.get("origin")
    if origin is not None and origin != f"http://{host}":
        return False
    site = headers.get("sec-fetch-site")
    mode = headers.get("sec-fetch-mode")
    if changes:
        return origin is not None and site in (None, "same-origin")
    return site in (None, "same-origin", "none") or (mode == "navigate" and not changes)


def _refused(status: int, why: str) -> Response:
    return JSONResponse({"error": why}, status_code=status)
