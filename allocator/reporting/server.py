"""The desk's server: one page, and two questions that carry its token. It answers this machine alone.

A page of elsewhere that a browser has open may send requests here, too. So the Host must be ours (against DNS
rebinding), every request carries a token that only the printed address has, GET changes nothing, and a
question is JSON, which no form of another page can send unasked.
"""

from __future__ import annotations

import hmac
import json
import secrets
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from threading import Lock
from typing import Any, TypeAlias
from urllib.parse import urlsplit

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from allocator.book.book import Book
from allocator.errors import AllocatorError, did_you_mean, printable
from allocator.reporting.desk import Desk
from allocator.reporting.page import Documents, as_printable, report

Write: TypeAlias = Callable[[Book, Sequence[str]], Sequence[Path]]
_MOST_BYTES = 100_000
"""Of a question: knobs and fixes are a few hundred."""
_MOVED = (
    "The knobs are not where they were for what is shown: nothing was written. Wait for the answer to the last turn, "
    "or turn back, and write then."
)
_ASKED = ("token", "sequence", "turned", "more", "shown")
"""What a question may hold: a misspelt `turned` would be answered of the book as it stands, or write its orders."""
_HEADERS = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class DeskServer:
    """What a desk answers. `write` plans a book down to whole lots and writes its files; `is_changed` says whether the
    book on disk is another than when the desk was started.
    """

    def __init__(
        self, desk: Desk, documents: Documents, address: str, write: Write, is_changed: Callable[[], bool]
    ) -> None:
        self.token = secrets.token_urlsafe(24)
        self._desk, self._write, self._is_changed, self._one = desk, write, is_changed, Lock()
        self._host = urlsplit(address).netloc
        self._hosts = {self._host, self._host.replace("127.0.0.1", "localhost")}
        if self._host.endswith(":80"):  # which browsers leave out
            self._hosts |= {host.removesuffix(":80") for host in self._hosts}
        page = desk_page(desk)
        self._page = report(documents, page | {"first": self._sealed(page["first"])})

    @property
    def app(self) -> Starlette:
        """The application."""
        routes = [
            Route("/", self._show, methods=["GET"]),
            Route("/solve", self._solve, methods=["POST"]),
            Route("/orders", self._orders, methods=["POST"]),
        ]
        return Starlette(routes=routes)

    def _refusal(self, request: Request, token: object) -> Response | None:
        if request.headers.get("host") not in self._hosts:
            return PlainTextResponse("This desk answers at its own address alone.", 421, _HEADERS)
        if not isinstance(token, str) or not secrets.compare_digest(
            token.encode(errors="surrogatepass"), self.token.encode()
        ):
            told = "The desk wants the token of the address that it printed: open that address."
            return PlainTextResponse(told, 403, _HEADERS)
        return None

    async def _show(self, request: Request) -> Response:
        refusal = self._refusal(request, request.query_params.get("token"))
        return refusal or HTMLResponse(self._page, headers=_HEADERS)

    async def _question(self, request: Request) -> Mapping[str, Any] | Response:
        """What is asked, or why it is not answered."""
        if request.headers.get("host") not in self._hosts:
            return self._refusal(request, None) or Response()
        body = b""
        async for part in request.stream():
            body += part
            if len(body) > _MOST_BYTES:
                return JSONResponse({"error": "The question is too long."}, 413, _HEADERS)
        try:
            asked = json.loads(body)
        except (ValueError, RecursionError):
            asked = None
        if not isinstance(asked, dict) or request.headers.get("content-type", "").split(";")[0] != "application/json":
            return JSONResponse({"error": "A question is a JSON object."}, 400, _HEADERS)
        if (refusal := self._refusal(request, asked.get("token"))) is not None:
            return refusal
        misshapen = _misshapen(asked)
        return JSONResponse({"error": misshapen}, 400, _HEADERS) if misshapen else asked

    async def _solve(self, request: Request) -> Response:
        asked = await self._question(request)
        if isinstance(asked, Response):
            return asked
        sequence = own if type(own := asked.get("sequence")) is int else 0
        answer, status = await run_in_threadpool(
            self._answered, lambda: self._sealed(self._desk.answer(*_setting(asked)))
        )
        return JSONResponse({"sequence": sequence, **as_printable(answer)}, status, _HEADERS)

    async def _orders(self, request: Request) -> Response:
        asked = await self._question(request)
        if isinstance(asked, Response):
            return asked
        answer, status = await run_in_threadpool(self._answered, lambda: self._written(asked))
        return JSONResponse(as_printable(answer), status, _HEADERS)

    def _written(self, asked: Mapping[str, Any]) -> Mapping[str, Any]:
        """Only of the setting whose answer is shown: orders of any other would be of what nobody has seen."""
        overrides, shown = self._desk.overrides(*_setting(asked)), str(asked.get("shown"))
        if not secrets.compare_digest(shown.encode(errors="surrogatepass"), self._seal(overrides).encode()):
            return {"error": _MOVED}
        return {"written": list(map(str, self._write(self._desk.at(overrides), overrides)))}

    def _sealed(self, answer: Mapping[str, Any]) -> Mapping[str, Any]:
        """An answer with what its setting is written by; one that refuses has none."""
        return {**answer, "shown": self._seal(answer["overrides"])} if "weights" in answer else answer

    def _seal(self, overrides: Sequence[str]) -> str:
        return hmac.new(self.token.encode(), json.dumps(list(overrides)).encode(), "sha256").hexdigest()

    def _answered(self, work: Callable[[], Mapping[str, Any]]) -> tuple[Mapping[str, Any], int]:
        """One question at a time: programs are kept, and no two may write to one."""
        with self._one:
            if self._is_changed():
                return {"error": "The book on disk has changed: nothing was written; start the desk again."}, 409
            try:
                answer = work()
                return answer, 409 if "error" in answer else 200
            except AllocatorError as error:
                return {"error": str(error)}, 400


def _misshapen(asked: Mapping[str, Any]) -> str:
    """What is wrong with the form of a question; nothing where it is right."""
    if strange := [printable(key)[:80] for key in asked if key not in _ASKED]:
        return f"A question has no {strange[0]!r}; {did_you_mean(strange[0], _ASKED)}."
    turned, more = _setting(asked)
    if not isinstance(turned, dict) or not isinstance(more, list) or not all(isinstance(one, str) for one in more):
        return "turned is an object of knobs, more a list of fixes."
    return ""


def _setting(asked: Mapping[str, Any]) -> tuple[Mapping[str, Any], Sequence[str]]:
    return asked.get("turned", {}), asked.get("more", [])


def desk_page(desk: Desk) -> dict[str, Any]:
    """What the page knows of the desk: its knobs, and what is best as the book stands."""
    first = as_printable(desk.answer({}))
    weights = first.get("weights", {})
    return {
        "knobs": [
            {key: value for key, value in vars(knob).items() if key != "keys"} | {"label": printable(knob.label)}
            for knob in desk.knobs
        ],
        "names": sorted(weights, key=lambda name: -weights[name])[:MOST_NAMES],
        "currency": desk.book.settings.book.currency,
        "first": first,
    }


MOST_NAMES = 40
"""Names whose weights are drawn, the largest as the book stands."""
