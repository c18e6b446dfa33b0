"""The server's application: the JSON API, pages for people, and the guard before both."""

from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, FastAPI, Header, HTTPException, Query, UploadFile
from fastapi.responses import HTMLResponse, RedirectResponse
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from pipelines.web.access import Guard
from pipelines.web.api import Api, Asked, TimeS, asked_about, row_of, sent_picture
from pipelines.web.failing import handlers
from pipelines.web.pages import Dialogue, Pages
from pipelines.web.places import Places
from pipelines.web.questions import address_of, question_of_picture
from pipelines.web.routes import add_get
from pipelines.web.stills import Stills
from pipelines.web.uploads import BoundedBodies
from pipelines.web.view import CatalogView
from transforms.dialogue.limits import MOST_CHARACTERS

if TYPE_CHECKING:
    from transforms.decoder.stills import StillDrawer

Language = Annotated[str | None, Header(alias="accept-language")]


def make_app(view: CatalogView, hosts: Collection[str], token: str | None, drawers: int = 1) -> ASGIApp:
    """Makes the application. The guard is the outermost part, so that even an answer to a fault of ours is guarded.

    Args:
        view: the catalog.
        hosts: names by which this server may be addressed.
        token: what a request must carry; None to answer everybody.
        drawers: child processes that draw pictures.
    """
    stills = Stills(partial(_open_drawer, drawers))

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        stills.close()

    app = FastAPI(
        title="reelbeam",
        description="Searches a catalog of videos and shows what is in it. Nothing here changes the catalog.",
        version="1",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url="/api/v1/openapi.json",
        form_limits={"max_files": 1, "max_fields": 20},
    )
    places = Places(lambda: stills.drawer)
    app.include_router(Api(view, stills, places).router(), prefix="/api/v1")
    pages = Pages(places.can_find)
    app.include_router(Site(view, stills, pages).router(), include_in_schema=False)
    app.mount("/static", StaticFiles(packages=[("pipelines.web", "static"), ("pipelines.pages", "static")]))
    for kind, handler in handlers(pages).items():
        app.add_exception_handler(kind, handler)
    app.add_middleware(BoundedBodies)
    return Guard(app, hosts, token)


def _open_drawer(children: int) -> "StillDrawer":
    from transforms.decoder.stills import StillDrawer  # FFmpeg, OpenCV and their limits: pages do not need them

    return StillDrawer(children)


class Site:
    """Answers with pages. Its methods are the routes."""

    def __init__(self, view: CatalogView, stills: Stills, pages: Pages) -> None:
        self._view = view
        self._stills = stills
        self._pages = pages

    def router(self) -> APIRouter:
        """Returns the routes."""
        router = APIRouter(default_response_class=HTMLResponse)
        add_get(router, "/", self.search)
        router.add_api_route("/", self.search_picture, methods=["POST"])
        add_get(router, "/videos/{video_id}", self.video)
        add_get(router, "/nights", self.nights)
        add_get(router, "/nights/{run_id}", self.night)
        add_get(router, "/failures", self.failures)
        add_get(router, "/labels", self.labels)
        return router

    def search(self, asked: Asked, language: Language = None) -> HTMLResponse:
        """Shows the answers to a question, or the newest videos that the filters leave."""
        page, code = self._pages.search(self._view.snapshot(), asked, language)
        return HTMLResponse(page, code)

    def search_picture(self, picture: UploadFile) -> RedirectResponse:
        """Leads to the page with the videos that look like a picture. Its address can be kept and sent."""
        asked = question_of_picture(self._view.snapshot(), sent_picture(self._stills, picture))
        return RedirectResponse(address_of(asked), 303)

    def video(
        self,
        video_id: str,
        t: Annotated[TimeS, Query()] = 0.0,
        q: str = "",
        ask: Annotated[str, Query(max_length=MOST_CHARACTERS)] = "",
        language: Language = None,
    ) -> str:
        """Shows one video at a moment, with the answer to a question about it, or why it failed."""
        snapshot = self._view.snapshot()
        failure = None if snapshot.video(video_id) else snapshot.failure(video_id)
        if failure is not None:
            return self._pages.failed(failure, language)
        answer = asked_about(snapshot, ask, video_id) if ask.strip() else None
        return self._pages.video(snapshot, row_of(snapshot, video_id), t, q, language, Dialogue(ask, answer))

    def nights(self, before: str = "", language: Language = None) -> str:
        """Shows the newest runs, or those before one."""
        return self._pages.nights(self._view.snapshot(), before, language)

    def night(self, run_id: str, language: Language = None) -> str:
        """Shows what one run did."""
        snapshot = self._view.snapshot()
        report = snapshot.night(run_id)
        if report is None:
            raise HTTPException(404, "the catalog has no such run")
        return self._pages.night(snapshot, report, language)

    def failures(self, language: Language = None) -> str:
        """Shows the videos that fail."""
        return self._pages.failures(self._view.snapshot(), language)

    def labels(self, language: Language = None) -> str:
        """Shows what the archive shows most."""
        return self._pages.labels(self._view.snapshot(), language)
