"""Private launch page that redirects the browser to the viewer.

The address of the viewer holds its token. A browser is started as a process, and every user of a
machine can read the arguments of every process: so the browser is given the path of this file,
which only its owner can read.
"""

import html
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

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
