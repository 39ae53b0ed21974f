"""How the browser learns the address without anybody else reading it."""

import html
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from tutelage.cli import main
from tutelage.viewer import launch_page

LINK = "http://127.0.0.1:8347/?token=t0ken&row=a%22b"


def test_only_the_owner_can_read_the_page_and_it_leads_to_the_viewer() -> None:
    with launch_page(LINK) as page:
        text = html.unescape(page.read_text())
        assert f"url={LINK}" in text
        assert stat.S_IMODE(page.stat().st_mode) == 0o600
        assert stat.S_IMODE(page.parent.stat().st_mode) == 0o700
    assert not page.parent.exists()


def test_the_token_is_in_no_argument_of_the_browser(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    launched: list[str] = []

    def serve(_: Path, *, opened: Callable[[str], None], **__: Any) -> None:
        opened(LINK)
        assert "t0ken" in Path(launched[0]).read_text()

    monkeypatch.setattr("tutelage.viewer.serve", serve)
    monkeypatch.setattr("click.launch", launched.append)
    done = CliRunner().invoke(main, ["view", str(tmp_path)])
    assert done.exit_code == 0, done.output
    assert LINK in done.stdout
    assert len(launched) == 1
    assert "t0ken" not in launched[0]
    assert not Path(launched[0]).exists()
