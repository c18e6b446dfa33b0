"""Asks a language model behind an OpenAI-compatible endpoint: llama.cpp, Ollama, vLLM or a service."""

import ipaddress
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec
import requests

from models.errors import ReelbeamError

KEY: Final = "REELBEAM_LLM_KEY"
"""The environment variable with the endpoint's key."""

MOST_BYTES: Final = 1 << 20
"""Bytes of a response that are read."""

CONNECT_S: Final = 5.0
READ_S: Final = 120.0
"""Seconds in which a connection must stand, and in which the model must go on answering."""

MOST_TOKENS: Final = 256


class EndpointError(ReelbeamError):
    """The language model cannot be asked, or does not answer as it should."""


@dataclass(frozen=True)
class Endpoint:
    """An OpenAI-compatible endpoint.

    Attributes:
        url: its address up to and with ``/v1``.
        model: the model's name.
        key: sent as a bearer token; empty for none.
    """

    url: str
    model: str = "default"
    key: str = field(default="", repr=False)

    @classmethod
    def of(cls, url: str, model: str) -> "Endpoint":
        """Makes an endpoint of what a user gives; the key comes from the environment (`KEY`).

        Args:
            url: ``http://localhost:8080``, with or without ``/v1``.
            model: the model's name.

        Raises:
            EndpointError: this is no address of http or https, or a key would be sent unencrypted to another machine.
        """
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None:
            raise EndpointError(f"{_without_secrets(url)} is no address of a language model: give http://host:port/v1")
        key = os.environ.get(KEY, "")
        if key and parts.scheme == "http" and not _is_this_machine(parts.hostname):
            raise EndpointError(
                f"the key in {KEY} would be sent unencrypted to {parts.hostname}: give an https address"
            )
        path = parts.path.rstrip("/").removesuffix("/chat/completions")
        return cls(f"{parts.scheme}://{parts.netloc}{path or '/v1'}", model, key)

    def complete(self, messages: Sequence[dict[str, str]]) -> str:
        """Returns the model's answer to messages with ``role`` and ``content``. No redirect is followed.

        Raises:
            EndpointError: it does not answer, in time and in the form of the protocol.
        """
        body = {"model": self.model, "messages": list(messages), "temperature": 0, "max_tokens": MOST_TOKENS}
        try:
            with requests.post(
                f"{self.url}/chat/completions",
                json=body,
                auth=self._authorize,
                timeout=(CONNECT_S, READ_S),
                allow_redirects=False,
                stream=True,
            ) as response:
                return _content(response.status_code, _read(response), self.url)
        except requests.RequestException as error:
            why = (
                "does not answer" if isinstance(error, requests.ConnectionError | requests.Timeout) else "answers oddly"
            )
            raise EndpointError(
                f"the language model at {self.url} {why}: is it running? Leave out its address to do without"
            ) from error

    def _authorize(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Adds the key; with an `auth` of its own, `requests` looks for no other password on this machine."""
        if self.key:
            request.headers["Authorization"] = f"Bearer {self.key}"
        return request


def _read(response: requests.Response) -> bytes:
    data = b""
    for block in response.iter_content(1 << 16):
        data += block
        if len(data) > MOST_BYTES:
            break
    return data[: MOST_BYTES + 1]


class _Message(msgspec.Struct):
    content: str | None = None


class _Choice(msgspec.Struct):
    message: _Message


class _Completion(msgspec.Struct):
    choices: list[_Choice]


def _content(status: int, data: bytes, url: str) -> str:
    if status != requests.codes.ok:
        raise EndpointError(f"the language model at {url} answers with HTTP status {status}")
    try:
        choices: list[Any] = msgspec.json.decode(data, type=_Completion).choices
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise EndpointError(f"what answers at {url} is no OpenAI-compatible endpoint: {error}") from error
    return (choices[0].message.content or "") if choices else ""


def _is_this_machine(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _without_secrets(url: str) -> str:
    """Returns an address without what may be a password."""
    return url.rsplit("@", 1)[-1]
