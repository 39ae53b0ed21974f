"""The report page of a run folder: whether it can be drawn, and how it is written."""

from importlib.util import find_spec
from pathlib import Path

from tutelage.data import write_text
from tutelage.pipeline.run_dir import RunFolder


def can_draw() -> bool:
    """Whether the libraries that draw are installed."""
    return all(find_spec(name) is not None for name in ("altair", "vl_convert"))


def write_page(run: RunFolder, page: str) -> Path:
    """Write the page of a run in one step."""
    write_text(run.report, page)
    return run.report
