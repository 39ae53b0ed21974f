"""The viewer in a real browser, from the link to the export; by mouse and by keyboard only.

Every test fails on a console error, an uncaught exception, a violation of the content-security
policy, and a request to any other host.
"""

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.viewer.browser import counted, query, rows, settled, until
from tests.viewer.conftest import EXAMPLES, TOKEN, Served
from tutelage.viewer import Shelf
from tutelage.viewer import app as viewer_app

_WATCH = """
window.violations = [];
document.addEventListener("securitypolicyviolation", (e) =>
  window.violations.push(`${e.violatedDirective} ${e.blockedURI}`));
window.alert = () => window.violations.push("alert");
"""


@pytest.fixture
def page(chromium: Any, served: Served) -> Iterator[Any]:
    context = chromium.new_context(viewport={"width": 1440, "height": 900})
    context.grant_permissions(["clipboard-read", "clipboard-write"], origin=served.origin)
    context.add_init_script(_WATCH)
    opened = context.new_page()
    opened.set_default_timeout(15_000)
    problems: list[str] = []
    opened.on("console", lambda m: m.type in ("error", "warning") and problems.append(m.text))
    opened.on("pageerror", lambda error: problems.append(str(error)))
    opened.on(
        "request",
        lambda r: r.url.startswith(("data:", served.origin)) or problems.append(r.url),
    )
    opened.goto(served.link)
    opened.wait_for_selector(".row")
    yield opened
    assert opened.evaluate("window.violations") == []
    assert problems == []
    context.close()


def test_the_link_opens_the_run_and_the_token_leaves_the_address(page: Any) -> None:
    assert TOKEN not in page.url
    assert counted(page) == EXAMPLES
    assert page.inner_text("#title") == "a run <b>& more"
    assert "examples kept" in page.inner_text("#summary")
    assert page.evaluate("document.cookie") == ""
    page.reload()
    page.wait_for_selector(".row")


def test_searching_filtering_and_reloading_show_the_same_rows(page: Any) -> None:
    page.fill("#q", "maple")
    until(page, "location.search.includes('q=maple')")
    searched = counted(page)
    assert 0 < searched < EXAMPLES
    page.click("#facet-outcome .choice >> nth=0")
    page.wait_for_selector(".chip >> nth=1")
    found = rows(page)
    assert 0 < len(found) < searched
    assert query(page) == {"q": ["maple"], "outcome": ["kept_refined"]}
    page.reload()
    page.wait_for_selector(".row")
    assert rows(page) == found
    assert page.input_value("#q") == "maple"
    page.click(".chip >> nth=0")
    until(page, "!location.search.includes('maple')")
    assert counted(page) > len(found)
    page.go_back()


def test_sorting_and_a_range_of_numbers(page: Any) -> None:
    page.select_option("#sort", "-ifd:chosen")
    until(page, "location.search.includes('sort')")
    before = counted(page)
    form = page.locator("#facet-numbers form")
    form.locator("select >> nth=0").select_option("ifd")
    form.locator("select >> nth=1").select_option("chosen")
    form.locator("input >> nth=0").fill("0.5")
    form.locator("input >> nth=1").fill("0.8")
    form.locator("button").click()
    page.wait_for_selector(".chip")
    assert 0 < counted(page) < before
    assert query(page)["range"] == ["ifd:chosen:0.5:0.8"]


def test_a_brush_over_the_picture_filters_the_list(page: Any) -> None:
    page.wait_for_selector("#picture .dot")
    box = page.locator("#picture svg").bounding_box()
    x, y, w, h = (box[name] for name in ("x", "y", "width", "height"))
    page.mouse.move(x + 0.35 * w, y + 0.35 * h)
    page.mouse.down()
    page.mouse.move(x + 0.6 * w, y + 0.8 * h, steps=4)
    page.mouse.up()
    page.wait_for_selector(".chip >> nth=1")
    assert 0 < counted(page) < EXAMPLES
    wanted = sorted(r.split(":")[0] for r in query(page)["range"])
    assert wanted == ["ifd", "r_ifd"]
    dots = page.locator("#picture .dot").count()
    assert dots > 10  # what was not selected is still there to be seen
    page.mouse.click(x + w - 14, y + 12)  # a click beside the points lets go
    until(page, "!location.search.includes('range')")
    assert counted(page) == EXAMPLES


def open_refined(page: Any) -> str:
    page.click("#facet-outcome .choice >> nth=0")
    page.wait_for_selector(".chip")
    settled(page)
    page.click(".row >> nth=0")
    page.wait_for_selector(".pane >> nth=1")
    return query(page)["row"][0]


def test_a_row_shows_its_versions_its_differences_and_why(page: Any) -> None:
    open_refined(page)
    page.wait_for_selector("#panes ins")
    assert page.locator(".pane").count() == 2
    assert "Kept" in page.inner_text(".verdict")
    page.wait_for_selector(".reasons li")
    assert "Kept" in page.inner_text(".reasons li:last-child")
    page.wait_for_selector(".others tr")
    page.wait_for_selector(".wouldbe strong")
    assert "as it was decided" in page.inner_text(".wouldbe")
    page.locator("#would-margin").fill("0.5")
    until(page, "document.querySelector('.wouldbe .differs')")


def test_a_heat_map_reads_token_by_token(page: Any) -> None:
    open_refined(page)
    page.keyboard.press("3")
    page.wait_for_selector(".heat")
    assert page.locator(".heat").count() == 4
    assert query(page)["mode"] == ["given"]
    heat = page.locator(".heat").nth(1)
    heat.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    told = page.locator(".readout").nth(1).inner_text()
    assert "in context" in told
    assert "rank" in told
    assert page.locator(".tok.at").count() == 1
    shades = page.eval_on_selector_all(
        ".heat .tok", "all => new Set(all.map(t => t.className)).size"
    )
    assert shades > 4
    page.keyboard.press("4")
    page.wait_for_selector("#panes[data-mode=effect] .heat")
    assert page.locator(".heat .tok[class*=' b']").count() > 0


def test_a_person_overrules_with_a_note_and_it_lasts(page: Any, served: Served) -> None:
    example = open_refined(page)
    page.click(".person label:has-text('original')")
    page.fill("#overrule-note", "the rewrite <b>lost</b> a fact")
    page.click("button:has-text('Overrule')")
    page.wait_for_selector(".verdict:has-text('a person overrode')")
    assert "Kept: the original" in page.inner_text(".verdict")
    entry = json.loads(served.run.overrides.read_text())
    assert entry["example_id"] == example
    assert entry["note"] == "the rewrite <b>lost</b> a fact"
    page.reload()
    page.wait_for_selector(".verdict:has-text('the rewrite <b>lost</b> a fact')")
    assert "1 overruled" in page.inner_text("#summary")
    page.goto(f"{served.origin}/?outcome=overruled")
    page.wait_for_selector(".row")
    assert rows(page) == [example]
    page.click(".row")
    page.wait_for_selector("button:has-text('Restore the rule')")
    page.click("button:has-text('Restore the rule')")
    page.wait_for_selector(".history li >> nth=1")
    assert "a person overrode" not in page.inner_text(".verdict")


def test_nothing_moves_while_a_button_is_held(page: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    answering = threading.Event()
    told = viewer_app.otherwise

    def late(shelf: Shelf, example_id: str) -> dict[str, Any]:
        assert answering.wait(10)
        return told(shelf, example_id)

    monkeypatch.setattr(viewer_app, "otherwise", late)
    open_refined(page)
    page.wait_for_selector(".reasons li")
    page.wait_for_selector(".wouldbe strong")
    page.fill("#overrule-note", "a field that loses the focus is no release")
    page.locator("button:has-text('Overrule')").hover()
    page.mouse.down()
    with page.expect_response("**/otherwise"):
        answering.set()
    page.wait_for_timeout(200)
    assert page.locator(".others tr").count() == 0
    page.mouse.up()
    page.wait_for_selector(".verdict:has-text('a person overrode')")
    page.wait_for_selector(".others tr")


def test_what_is_shown_is_exported(page: Any, tmp_path: Path) -> None:
    open_refined(page)
    wanted = counted(page)
    page.click("#export-button")
    with page.expect_download() as waited:
        page.click(".choicecard >> nth=0")
    waited.value.save_as(tmp_path / "x.jsonl")
    lines = (tmp_path / "x.jsonl").read_text().splitlines()
    assert len(lines) == wanted
    assert all("messages" in json.loads(line) for line in lines)
    with page.expect_download() as waited:
        page.click(".choicecard >> nth=1")
    waited.value.save_as(tmp_path / "x.csv")
    assert len((tmp_path / "x.csv").read_text().splitlines()) == wanted + 1


def test_keyboard_only(page: Any, served: Served) -> None:
    page.keyboard.press("/")
    page.keyboard.type("copper")
    until(page, "location.search.includes('q=copper')")
    settled(page)
    page.keyboard.press("Escape")
    page.keyboard.press("j")
    page.wait_for_selector(".pane")
    first = query(page)["row"]
    page.keyboard.press("j")
    until(page, "id => !location.search.includes(id)", arg=first[0])
    page.keyboard.press("k")
    until(page, "id => location.search.includes(id)", arg=first[0])
    page.keyboard.press("c")
    page.wait_for_selector("#notice:has-text('link is copied')")
    link = page.evaluate("navigator.clipboard.readText()")
    assert f"row={first[0]}" in link
    assert "q=copper" in link
    assert TOKEN not in link
    page.keyboard.press("?")
    page.wait_for_selector("dialog[open]")
    page.keyboard.press("Escape")
    page.wait_for_selector("dialog:not([open])", state="attached")
    page.keyboard.press("p")
    page.wait_for_selector("#picture", state="hidden")
    page.keyboard.press("f")
    assert page.evaluate("document.activeElement.closest('#filters') !== null")
    page.keyboard.press("Escape")
    page.keyboard.press("o")
    assert page.evaluate("document.activeElement.id") == "overrule-note"
    page.keyboard.type("no")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.wait_for_selector(".history li")
    assert served.run.overrides.exists()
    page.keyboard.press("Enter")


def test_a_copied_link_shows_the_same_row(page: Any, served: Served) -> None:
    open_refined(page)
    page.keyboard.press("2")
    page.wait_for_selector(".heat")
    other = page.context.new_page()
    other.goto(page.url)
    other.wait_for_selector(".heat")
    assert other.inner_text(".rowhead h2") == page.inner_text(".rowhead h2")
    other.close()


def test_hostile_rows_are_shown_as_text(page: Any) -> None:
    for words, shown in (
        ("<script>", "<script>alert('instruction')</script>"),
        ("onerror", "<img src=x onerror=alert(1)>"),
        ("txt.exe", "⟦U+202E⟧txt.exe"),
        ("7 * 7", "{{ 7 * 7 }}"),
        ("NUL", "a ␀ NUL and a ␛[31m"),
        ("BOM", "⟦U+200B⟧zero width, ⟦U+FEFF⟧BOM"),
        ("مرحبا", "مرحبا بالعالم"),
    ):
        page.fill("#q", words)
        until(page, "w => new URLSearchParams(location.search).get('q') === w", arg=words)
        settled(page)
        page.click(".row >> nth=0")
        until(page, "t => document.querySelector('#panes')?.textContent.includes(t)", arg=shown)
    for mode in ("2", "1"):
        page.keyboard.press(mode)
        page.wait_for_timeout(100)
    assert page.locator("#panes script, #panes img, #list img").count() == 0
    page.click("#facet-source summary >> nth=0")
    assert "house <b>& garden</b>" in page.text_content("#facet-source")


def test_on_a_telephone_list_and_row_take_turns(page: Any) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    page.wait_for_selector("#detail", state="hidden")
    page.click("#filters-button")
    page.wait_for_selector("#filters.shown")
    page.click("#filters-done")
    page.click(".row >> nth=1")
    page.wait_for_selector(".pane")
    assert not page.is_visible("#list")
    width = page.evaluate("document.documentElement.scrollWidth")
    assert width <= 390
    page.click(".back")
    page.wait_for_selector("#list", state="visible")


def test_rows_that_are_no_example_are_a_click_away(page: Any) -> None:
    page.click(".lost button")
    page.wait_for_selector("dialog tbody tr")
    assert "field missing" in page.inner_text("dialog") or "line 7" in page.inner_text("dialog")


def test_a_page_without_the_link_says_what_to_do(chromium: Any, served: Served) -> None:
    context = chromium.new_context()
    page = context.new_page()
    page.goto(served.origin)
    page.wait_for_selector("#notice.bad:has-text('tutelage view')")
    assert page.locator(".row").count() == 0
    context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_stand_out_from_what_is_behind_them(
    chromium: Any, served: Served, scheme: str
) -> None:
    context = chromium.new_context(viewport={"width": 1440, "height": 900}, color_scheme=scheme)
    page = context.new_page()
    page.goto(f"{served.link}&mode=given")
    page.wait_for_selector(".row")
    page.keyboard.press("j")
    page.wait_for_selector(".heat")
    worst = page.evaluate(_CONTRAST)
    assert worst["ratio"] >= 4.5, worst
    context.close()


_CONTRAST = """
() => {
  const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
  const over = (colours) => {
    canvas.clearRect(0, 0, 1, 1);
    for (const c of colours) { canvas.fillStyle = c; canvas.fillRect(0, 0, 1, 1); }
    return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3);
  };
  const light = (rgb) => {
    const [r, g, b] = rgb.map((v) => v / 255)
      .map((v) => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  let worst = {ratio: 99};
  for (const e of document.querySelectorAll('body *')) {
    const text = [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
    if (!text || !e.offsetParent || e.closest(':disabled, svg')) continue;
    const backs = [];
    for (let at = e; at; at = at.parentElement) backs.unshift(getComputedStyle(at).backgroundColor);
    const colour = getComputedStyle(e).color;
    const [a, b] = [light(over([...backs, colour])), light(over(backs))].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio >= worst.ratio) continue;
    worst = {ratio, text: e.textContent.slice(0, 40), kind: e.className, colour, backs};
  }
  return worst;
}
"""


def test_an_area_of_the_map_filters_the_list(page: Any) -> None:
    page.select_option("#picture [data-axis=plane]", "map")
    page.wait_for_selector("#picture .frame")
    until(page, f"document.querySelectorAll('#picture .dot').length === {EXAMPLES}")
    assert "no model" in page.inner_text("#picture .legend")
    box = page.locator("#picture svg").bounding_box()
    x, y, w, h = (box[name] for name in ("x", "y", "width", "height"))
    page.mouse.move(x + 0.15 * w, y + 0.05 * h)
    page.mouse.down()
    page.mouse.move(x + 0.6 * w, y + 0.85 * h, steps=4)
    page.mouse.up()
    page.wait_for_selector(".chip")
    selected = counted(page)
    assert 0 < selected < EXAMPLES
    assert len(query(page)["area"][0].split(":")) == 4
    assert page.locator("#picture .dot").count() == EXAMPLES
    page.reload()
    page.wait_for_selector(".row")
    assert counted(page) == selected
    page.click(".chip")
    until(page, "!location.search.includes('area')")
    assert counted(page) == EXAMPLES


def test_without_a_model_the_button_says_what_to_install(page: Any) -> None:
    page.keyboard.press("m")
    until(page, "document.querySelector('#notice').textContent.includes('tutelage[filters]')")
    assert page.get_attribute("#meaning", "aria-pressed") == "false"
    assert "near" not in page.url
