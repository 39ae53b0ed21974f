"""What a page of the viewer shows, once it has settled."""

from typing import Any
from urllib.parse import parse_qs, urlparse


def query(page: Any) -> dict[str, list[str]]:
    return parse_qs(urlparse(page.url).query)


def rows(page: Any) -> list[str]:
    settled(page)
    found: list[str] = page.eval_on_selector_all(".row", "all => all.map(r => r.dataset.id)")
    return found


def until(page: Any, script: str, *, arg: object = None) -> None:
    """Wait until a script is true: Playwright's own way would need `unsafe-eval`."""
    for _ in range(300):
        if page.evaluate(script, arg):
            return
        page.wait_for_timeout(50)
    raise AssertionError(f"never true: {script}")


def settled(page: Any) -> None:
    until(
        page,
        "!document.querySelector('#list').hasAttribute('aria-busy')"
        " && !document.querySelector('#count').textContent.includes('searching')",
    )


def counted(page: Any) -> int:
    settled(page)
    return int(page.inner_text("#count strong").replace(",", ""))


def counts(page: Any, number: int) -> None:
    until(page, "n => document.querySelector('#count strong')?.textContent === n", arg=str(number))
