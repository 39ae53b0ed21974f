"""Server of the viewer on the loopback address, and the private page that opens it.

The address of the viewer holds its token. A browser is started as a process, and every user of a
machine can read the arguments of every process: so the browser is given the path of a launch page,
which only its owner can read.
"""

import html
import os
import socket
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import uvicorn

from tutelage.errors import DataError, RunError
from tutelage.filters import Embedder, make_embedder
from tutelage.pipeline import RunFolder
from tutelage.pipeline.config import EmbedderChoice, checked
from tutelage.pipeline.resources import Doors
from tutelage.progress import Progress, Silent
from tutelage.viewer.app import build_app
from tutelage.viewer.example_detail import example_named
from tutelage.viewer.index import open_index
from tutelage.viewer.run_store import Shelf, open_second, second_selection
from tutelage.viewer.security import LOOPBACK, new_token

_PAGE = """<!doctype html>
<meta charset="utf-8">
<meta name="referrer" content="no-referrer">
<meta http-equiv="refresh" content="0; url={link}">
<title>tutelage</title>
<p><a href="{link}">Open the viewer</a></p>
"""


@contextmanager
def launch_page(link: str) -> Iterator[Path]:
    """Context manager with a file, readable only by its owner, that leads to a link.

    Args:
        link: Address to open.
    """
    with tempfile.TemporaryDirectory(prefix="tutelage-open-") as folder:  # mode 0700
        path = Path(folder) / "open.html"
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(_PAGE.format(link=html.escape(link, quote=True)))
        yield path


USUAL_PORT = 8347
"""Preferred port, so that a link to a row stays valid."""


def serve(
    root: Path,
    *,
    port: int | None = None,
    row: str | None = None,
    compare_with: Path | None = None,
    selection: str | None = None,
    compared: str | None = None,
    embedder: str | None = None,
    opened: Callable[[str], None],
    progress: Progress | None = None,
    doors: Doors | None = None,
) -> None:
    """Serve the viewer on the loopback address until it is stopped.

    Args:
        root: The run folder.
        port: Where to listen; None takes the usual one, or any that is free.
        row: An example to open, as `tutelage explain` names it.
        compare_with: The run of a second student over the same rows.
        selection: The named selection that is shown; None is the run's own.
        compared: Another selection of the same run, to see where the two differ.
        embedder: A model2vec model, a folder or a name on the hub, for the search by meaning and
            the map; None takes the one that the selection was made with, if any.
        opened: Called with the link once the server listens.
        progress: Notified while the index is made.
        doors: How the student is reached; tests put a fake behind them.

    Raises:
        RunError: There is no run, a table is missing, or the port is taken.
        DataError: There is no such row.
        MissingExtraError: The library of the embedding model is not installed.
    """
    run = RunFolder(root=root).existing().selected_as(selection)
    second = None if compare_with is None else open_second(compare_with)
    if compared is not None:
        second = second_selection(run, compared)
    model = _embedder(run, embedder)
    with tempfile.TemporaryDirectory(prefix="tutelage-view-") as scratch, _listening(port) as door:
        index = open_index(run, scratch=Path(scratch), progress=progress or Silent())
        at = door.getsockname()[1]
        token = new_token()
        shelf = Shelf(run, index, second=second, embedder=model)
        app, viewer = build_app(shelf, token=token, port=at, doors=doors)
        try:
            example = None if row is None else _named(shelf, row)
            server = uvicorn.Server(
                uvicorn.Config(
                    app,
                    log_level="warning",
                    access_log=False,
                    server_header=False,
                    lifespan="off",
                    timeout_graceful_shutdown=1,
                    proxy_headers=False,
                    ws="none",
                )
            )
            opened(link(at, token, row=example))
            server.run(sockets=[door])
        finally:
            viewer.close()


def _embedder(run: RunFolder, model: str | None) -> Embedder | None:
    """Embedding model: the named one, else that of the selection; None for bags of words."""
    named: Any = {"kind": "model2vec", "model": model}
    if model is None:
        named = run.shown_manifest().get("settings", {}).get("select", {}).get("embedder")
        if not isinstance(named, dict) or named.get("kind", "words") == "words":
            return None
    return make_embedder(checked(EmbedderChoice, {"embedder": named}, place="embedder").embedder)


def _named(shelf: Shelf, row: str) -> str:
    example = example_named(shelf, row)
    if example is None:
        raise DataError(
            f"no single example matches {row!r} in this run",
            hint="give an example_id of decisions.parquet, or row:N",
        )
    return example


def link(port: int, token: str, *, row: str | None = None) -> str:
    """Address that opens the viewer.

    Args:
        port: The port.
        token: The secret.
        row: Name of the example to show, or None.
    """
    wanted: Mapping[str, str] = {"token": token, **({"row": row} if row else {})}
    return f"http://{LOOPBACK}:{port}/?{urlencode(wanted)}"


def _listening(port: int | None) -> socket.socket:
    for at in (port,) if port is not None else (USUAL_PORT, 0):
        door = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            door.bind((LOOPBACK, at))
        except OSError as error:
            door.close()
            if port is not None:
                raise RunError(
                    f"port {port} cannot be listened on: {error.strerror}",
                    hint="leave out --port to take one that is free",
                ) from error
            continue
        door.listen(128)
        return door
    raise RunError(f"no port of {LOOPBACK} can be listened on")
