"""Fixtures of runs without a model."""

from pathlib import Path
from typing import Any

import pytest

from tutelage.pipeline import RunFolder, jobs


@pytest.fixture
def blank_report(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw the page in slow tests only: it takes longer than all the rest of a run."""

    def blank(root: Path, **_: Any) -> Path:
        page = RunFolder(root=root).report
        page.write_text("blank")
        return page

    if request.node.get_closest_marker("slow") is None:
        monkeypatch.setattr(jobs, "write_report", blank)
