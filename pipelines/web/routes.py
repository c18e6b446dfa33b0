"""Adds routes that are read with GET or, for the headers alone, with HEAD."""

from collections.abc import Callable
from typing import Any

from fastapi import APIRouter


def add_get(router: APIRouter, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
    """Adds a route for GET and HEAD; the OpenAPI document names GET alone.

    Args:
        router: gets the route.
        path: of the route.
        endpoint: answers both.
        options: more arguments of `APIRouter.add_api_route`.
    """
    router.add_api_route(path, endpoint, methods=["GET"], **options)
    router.add_api_route(path, endpoint, methods=["HEAD"], **{**options, "include_in_schema": False})
