"""What a request gets that cannot be answered: the status code and one line, as JSON or as a page."""

from collections.abc import Awaitable, Callable
from typing import Any, Final

from fastapi.exception_handlers import http_exception_handler, request_validation_exception_handler
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response

from models.errors import ReelbeamError
from pipelines.web.pages import Pages
from pipelines.web.questions import cannot_be_asked

API: Final = "/api/"
"""Paths that are answered in JSON begin like this."""

Handler = Callable[[Request, Any], Awaitable[Response]]


def handlers(pages: Pages) -> dict[type[Exception], Handler]:
    """Returns what answers requests that raise, by the kind of error.

    A question that cannot be asked is 400, and what the catalog does not have is 404. Other errors that are written for
    people, and files that cannot be read, are 503: a later request may be answered.
    """

    def page(request: Request, code: int, line: str, headers: Any = None) -> Response:
        return HTMLResponse(pages.failure(code, line, request.headers.get("accept-language")), code, headers)

    async def reelbeam_error(request: Request, error: ReelbeamError) -> Response:
        code, line = 400 if cannot_be_asked(error) else 503, " ".join(str(error).split())
        return JSONResponse({"detail": line}, code) if _is_api(request) else page(request, code, line)

    async def os_error(request: Request, error: OSError) -> Response:
        line = f"a file cannot be read now: {error.strerror or error}"
        return JSONResponse({"detail": line}, 503) if _is_api(request) else page(request, 503, line)

    async def http_error(request: Request, error: HTTPException) -> Response:
        if _is_api(request):
            return await http_exception_handler(request, error)
        return page(request, error.status_code, error.detail, error.headers)

    async def invalid(request: Request, error: RequestValidationError) -> Response:
        if _is_api(request):
            return await request_validation_exception_handler(request, error)
        first = error.errors()[0]
        return page(request, 400, f"{first['loc'][-1]}: {first['msg']}")

    return {
        ReelbeamError: reelbeam_error,
        OSError: os_error,
        HTTPException: http_error,
        RequestValidationError: invalid,
    }


def _is_api(request: Request) -> bool:
    return request.url.path.startswith(API)
