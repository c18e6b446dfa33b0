"""Bounds what a request may send, before anything of it is kept."""

from typing import Final

from fastapi import HTTPException
from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

UPLOAD_BYTES: Final = 20 << 20
"""Bytes that a sent picture may have."""

BODY_BYTES: Final = UPLOAD_BYTES + (64 << 10)
"""Bytes of a request with such a picture: the lines between the parts of a form come to it."""

TOO_LARGE: Final = f"send at most {UPLOAD_BYTES >> 20} MiB"


class BoundedBodies:
    """An ASGI middleware that ends requests whose body is too large.

    Forms are written to temporary files while they arrive. A length that is announced is refused at once; where none
    is announced, bytes are counted as they come.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        announced = Headers(scope=scope).get("content-length", "0")
        if not announced.isdecimal() or int(announced[:20]) > BODY_BYTES:
            await PlainTextResponse(TOO_LARGE, 413)(scope, receive, send)
            return
        come = 0

        async def counted() -> Message:
            nonlocal come
            message = await receive()
            come += len(message.get("body", b""))
            if come > BODY_BYTES:
                raise HTTPException(413, TOO_LARGE)
            return message

        await self._app(scope, counted, send)
