"""Web application of the viewer: routes, handlers and JSON responses with visible text."""

import hashlib
import json
import math
from collections.abc import Callable, Iterable
from importlib.resources import files
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp

from tutelage.errors import DataError, SettingsError, TutelageError
from tutelage.metrics import METRICS
from tutelage.pipeline.overrides import overrule, withdraw
from tutelage.pipeline.resources import Doors
from tutelage.reporting.blocks import visible
from tutelage.reporting.number_format import reason_words
from tutelage.reporting.svg import DARK, LIGHT, css_variables
from tutelage.viewer.counterfactuals import judgement_of, otherwise, would_be
from tutelage.viewer.example_detail import differences_of, example_named, lineage_of, lost_rows
from tutelage.viewer.list_view import (
    FORMATS,
    PAGE_ROWS,
    facets_of,
    handed_out,
    map_of,
    plot_of,
    rows_of,
)
from tutelage.viewer.query import FACETS, Question, question_of
from tutelage.viewer.run_store import Answers, Shelf
from tutelage.viewer.search import NO_MODEL, NO_MODEL_HINT
from tutelage.viewer.security import Guard
from tutelage.viewer.token_heatmap import Heat

# ----------------------------------------------------------------------------------------------
# What the page needs at its start: the run in one line, and the names that it offers.
# ----------------------------------------------------------------------------------------------


RATIOS = ("ifd", "r_ifd", "ifd_loss")
"""Metrics with a reference line at 1."""


def about(shelf: Shelf) -> dict[str, Any]:
    """Summary of the run in one line, and the names that the page offers."""
    meta, manifest = shelf.meta, shelf.manifest
    student = manifest.get("student", {})
    rule = manifest.get("stages", {}).get("select", {}).get("tally", {}).get("rule", {})
    return {
        "title": shelf.run.root.resolve().name,
        "examples": meta.examples,
        "candidates": meta.candidates,
        "kept": shelf.ask("select count(*) from e where kept")[0][0],
        "overruled": len(shelf.overrides),
        "decided": shelf.run.decisions.exists(),
        "student": student.get("model"),
        "dtype": student.get("dtype"),
        "rule": rule.get("rule"),
        "mode": rule.get("mode") if rule.get("rule") == "srt" else None,
        "margin": rule.get("margin", 0.0),
        "lost": [[s, reason_words(s), n] for s, n in meta.lost.items()],
        "metrics": [_metric(name) for name in meta.metrics],
        "ranges": meta.ranges,
        "facets": [
            facet
            for facet in FACETS
            if (facet != "beside" or shelf.second) and (facet != "fault" or meta.faults)
        ],
        "by_meaning": None if shelf.embedder is None else shelf.embedder.name,
        "no_model": [NO_MODEL, NO_MODEL_HINT],
        "gate": rule.get("quality_gate") == "calibrated",
        "second": None if shelf.second is None else shelf.second.name,
        "version": shelf.version,
        "has_report": shelf.run.report.exists(),
    }


def _metric(name: str) -> dict[str, Any]:
    known = METRICS.get(name)
    return {
        "name": name,
        "better": None if known is None else known.better,
        "ratio": name in RATIOS,
    }


# ----------------------------------------------------------------------------------------------
# App.
# ----------------------------------------------------------------------------------------------


MAX_BODY_BYTES = 64 * 1024
KEPT_ANSWERS = 200
_KINDS = {
    "js": "text/javascript; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "svg": "image/svg+xml",
}
_FOREVER = "public, max-age=31536000, immutable"
_NOT_SHOWN = frozenset(("value",))


class Viewer:
    """Request handlers of one opened run.

    Args:
        shelf: The opened run.
        doors: How the student is reached.
    """

    def __init__(self, shelf: Shelf, *, doors: Doors | None = None) -> None:
        self.shelf = shelf
        self.heat = Heat(shelf, doors=doors)
        self.answers = Answers(KEPT_ANSWERS)

    def question(self, request: Request) -> Question:
        """Parsed query of a request."""
        return question_of(request.query_params.multi_items(), self.shelf.names)

    def kept(self, key: tuple[object, ...], work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Cached answer of a query; incomplete answers are not cached."""
        answer: dict[str, Any] = self.answers.of(
            (self.shelf.version, *key), work, keep=lambda found: found["progress"] == 1.0
        )
        return answer

    def about(self, _: Request) -> dict[str, Any]:
        """Data that the page needs at its start."""
        return about(self.shelf)

    def rows(self, request: Request) -> dict[str, Any]:
        """Rows of the list from a position on."""
        question = self.question(request)
        start = _whole(request, "start", 0)
        count = _whole(request, "count", PAGE_ROWS)
        found = rows_of(self.shelf, question, start=start, count=count)
        return {**found, "version": self.shelf.version, "stale": self.shelf.is_stale}

    def facets(self, request: Request) -> dict[str, Any]:
        """Counts of the filters."""
        question = self.question(request)
        return self.kept(("facets", question.key), lambda: facets_of(self.shelf, question))

    def plot(self, request: Request) -> dict[str, Any]:
        """Data of the scatter plot."""
        question = self.question(request)
        x, y = (request.query_params.get(name, "") for name in ("x", "y"))
        whose = request.query_params.get("whose", "any")
        if whose not in ("original", "chosen", "any"):
            raise DataError(f"whose may not be {whose!r}", hint="original, chosen or any")
        return self.kept(
            ("plot", question.key, x, y, whose),
            lambda: plot_of(self.shelf, question, x=x, y=y, whose=whose),  # type: ignore[arg-type]
        )

    def map(self, request: Request) -> dict[str, Any]:
        """Data of the map of rows by embedding."""
        question = self.question(request)
        return self.kept(("map", question.key), lambda: map_of(self.shelf, question))

    def example(self, request: Request) -> dict[str, Any]:
        """One example with its versions."""
        return lineage_of(self.shelf, request.path_params["example"])

    def named(self, request: Request) -> dict[str, Any]:
        """Example that a name such as row:3 refers to."""
        return {"id": example_named(self.shelf, request.query_params.get("name", ""))}

    def differences(self, request: Request) -> dict[str, Any]:
        """Word-by-word comparison of two versions."""
        left, right = (request.query_params.get(name, "") for name in ("left", "right"))
        example = request.path_params["example"]
        return dict(differences_of(self.shelf, example, left=left, right=right))

    def judgement(self, request: Request) -> dict[str, Any]:
        """Explanation of the decision on an example."""
        return judgement_of(self.shelf, request.path_params["example"])

    def otherwise(self, request: Request) -> dict[str, Any]:
        """Decisions of other rules on an example."""
        return otherwise(self.shelf, request.path_params["example"])

    def would_be(self, request: Request) -> dict[str, Any]:
        """Decision of one other rule on an example."""
        given = request.query_params
        values: dict[str, Any] = {n: given[n] for n in ("rule", "mode", "margin") if n in given}
        return would_be(self.shelf, request.path_params["example"], values)

    def tokens(self, request: Request) -> dict[str, Any]:
        """Token heat map of a version."""
        candidate = request.query_params.get("candidate", "")
        return self.heat.of(
            request.path_params["example"], candidate, read=request.method == "POST"
        )

    def lost(self, _: Request) -> dict[str, Any]:
        """Input rows that are not examples."""
        return {"rows": lost_rows(self.shelf)}

    def overrule(self, request: Request, body: dict[str, Any]) -> dict[str, Any]:
        """Record a manual decision."""
        example, candidate = request.path_params["example"], body.get("candidate_id")
        note = body.get("note", "")
        if not isinstance(note, str) or not isinstance(candidate, str | None):
            raise DataError("candidate_id must be an id or null, and note a text")
        if body.get("withdraw"):
            withdraw(self.shelf.run, example, note=note)
        else:
            overrule(self.shelf.run, example, candidate_id=candidate, note=note)
        self.shelf.refresh()
        return lineage_of(self.shelf, example)

    def close(self) -> None:
        """Close everything that is open."""
        self.heat.close()
        self.shelf.close()


def build_app(
    shelf: Shelf, *, token: str, port: int, doors: Doors | None = None
) -> tuple[ASGIApp, Viewer]:
    """Web application of one run.

    Args:
        shelf: The opened run.
        token: The secret of the link.
        port: Where it will listen; only requests to that port are answered.
        doors: How the student is reached; tests put a fake behind them.

    Returns:
        The guarded application, and its handlers, which have to be closed.
    """
    viewer = Viewer(shelf, doors=doors)
    page, assets = _page()
    example = "/api/examples/{example}"
    gets: Iterable[tuple[str, Callable[[Request], dict[str, Any]]]] = (
        ("/api/about", viewer.about),
        ("/api/rows", viewer.rows),
        ("/api/facets", viewer.facets),
        ("/api/plot", viewer.plot),
        ("/api/map", viewer.map),
        ("/api/named", viewer.named),
        ("/api/lost", viewer.lost),
        (example, viewer.example),
        (f"{example}/differences", viewer.differences),
        (f"{example}/judgement", viewer.judgement),
        (f"{example}/otherwise", viewer.otherwise),
        (f"{example}/would-be", viewer.would_be),
        (f"{example}/tokens", viewer.tokens),
    )

    async def serve_page(_: Request) -> Response:
        return HTMLResponse(page)

    async def serve_asset(request: Request) -> Response:
        name = request.path_params["name"]
        if name not in assets:
            return JSONResponse({"error": f"there is no {name!r}"}, status_code=404)
        kind = _KINDS[name.rpartition(".")[2]]
        return Response(assets[name], media_type=kind, headers={"cache-control": _FOREVER})

    async def serve_export(request: Request) -> Response:
        return await _exported(viewer, request)

    async def serve_overrule(request: Request) -> Response:
        return await _changed(viewer.overrule, request)

    routes = [
        Route("/", serve_page),
        Route("/assets/{digest}/{name}", serve_asset),
        *(Route(path, _answering(handler), methods=["GET"]) for path, handler in gets),
        Route(f"{example}/tokens", _answering(viewer.tokens), methods=["POST"]),
        Route(f"{example}/overrule", serve_overrule, methods=["POST"]),
        Route("/api/export", serve_export, methods=["GET"]),
    ]
    app = Starlette(routes=routes, exception_handlers={TutelageError: _said})
    return Guard(app, token=token, port=port), viewer


def _answering(handler: Callable[[Request], dict[str, Any]]) -> Callable[[Request], Any]:
    async def answer(request: Request) -> Response:
        return _answer(await run_in_threadpool(handler, request))

    return answer


async def _changed(
    handler: Callable[[Request, dict[str, Any]], dict[str, Any]], request: Request
) -> Response:
    raw = b""
    async for piece in request.stream():
        raw += piece
        if len(raw) > MAX_BODY_BYTES:
            raise DataError("the request is too large")
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise DataError(f"the request is not JSON: {error}") from error
    if not isinstance(body, dict):
        raise DataError("the request is not a JSON object")
    return _answer(await run_in_threadpool(handler, request, body))


async def _exported(viewer: Viewer, request: Request) -> Response:
    form = request.query_params.get("format", "jsonl")
    question = viewer.question(request)
    lines = await run_in_threadpool(handed_out, viewer.shelf, question, form=form)
    name = f"attachment; filename=shown.{form}"
    return StreamingResponse(lines, media_type=FORMATS[form], headers={"content-disposition": name})


def _answer(value: dict[str, Any]) -> Response:
    """JSON response with all characters visible, except in `value`s, which return as filters."""
    return JSONResponse(_shown(value))


def _shown(value: Any) -> Any:
    if isinstance(value, str):
        return visible(value)
    if isinstance(value, dict):
        return {k: v if k in _NOT_SHOWN else _shown(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_shown(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None  # JSON has no word for it
    return value


async def _said(_: Request, error: Exception) -> Response:
    """Error response in the page's format."""
    status = 400 if isinstance(error, DataError | SettingsError) else 500
    hint = getattr(error, "hint", None)
    return JSONResponse(_shown({"error": str(error), "hint": hint}), status_code=status)


def _whole(request: Request, name: str, otherwise_: int) -> int:
    given = request.query_params.get(name, "")
    if not given:
        return otherwise_
    if not (given.isascii() and given.isdigit() and len(given) < 10):  # noqa: PLR2004
        raise DataError(f"{name} must be a whole number, not {given!r}")
    return int(given)


def _page() -> tuple[str, dict[str, bytes]]:
    """Page with its assets, under an address with a hash of their content."""
    folder = files("tutelage.viewer").joinpath("assets")
    assets = {
        entry.name: entry.read_bytes()
        for entry in folder.iterdir()
        if entry.name.rpartition(".")[2] in _KINDS
    }
    # Shades of heat stay pale enough for the ink on them.
    light, dark = f"--heat:1;{css_variables(LIGHT)}", f"--heat:0.7;{css_variables(DARK)}"
    assets["palette.css"] = (
        f":root{{color-scheme:light;{light}}}"
        f"@media (prefers-color-scheme:dark){{:root{{color-scheme:dark;{dark}}}}}"
        f":root[data-theme=light]{{color-scheme:light;{light}}}"
        f":root[data-theme=dark]{{color-scheme:dark;{dark}}}"
    ).encode()
    digest = hashlib.sha256(b"".join(name.encode() + assets[name] for name in sorted(assets)))
    page = folder.joinpath("page.html").read_text(encoding="utf-8")
    return page.replace("{assets}", f"/assets/{digest.hexdigest()[:16]}"), assets
