import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from tests.reporting.synthetic import MANIFEST, NASTY, synthetic
from tests.reporting.tables import kept, original, reflection, refused, tables
from tutelage.reporting import (
    Column,
    ReportTables,
    Section,
    Table,
    facts,
    opening,
    render_html,
    render_markdown,
    render_text,
    summarise,
)
from tutelage.reporting.blocks import visible

VOID = {"meta", "link", "br", "img", "input", "hr"}


class Page(HTMLParser):
    """What a browser would see: elements, ids, texts, and whether everything is closed."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.texts: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def tags(self) -> set[str]:
        return {tag for tag, _ in self.elements}


@pytest.fixture(scope="module")
def run() -> ReportTables:
    return synthetic(120)


@pytest.fixture(scope="module")
def html(run: ReportTables) -> str:
    return render_html(summarise(run))


@pytest.fixture(scope="module")
def page(html: str) -> Page:
    return Page(html)


def test_every_element_is_closed_and_every_id_is_unique(page: Page) -> None:
    assert page.open == []
    ids = [a["id"] for _, a in page.elements if "id" in a]
    assert len(ids) == len(set(ids))


def test_nothing_can_run_and_nothing_is_fetched(page: Page) -> None:
    assert not page.tags() & {
        "script",
        "img",
        "iframe",
        "object",
        "embed",
        "link",
        "form",
        "foreignobject",
        "base",
    }
    for tag, attributes in page.elements:
        assert not any(name.startswith("on") for name in attributes), tag
        assert not attributes.keys() & {"src", "srcset", "action", "data", "xlink:href"}
        assert (attributes.get("href") or "#").startswith("#")
        assert "url(" not in (attributes.get("style") or "")


def test_no_address_stands_outside_the_texts_of_the_data(html: str) -> None:
    assert not re.search(r"https?://(?!example\.org)", html)


def test_the_policy_allows_styles_and_nothing_else(page: Page) -> None:
    (policy,) = [
        a["content"] for _, a in page.elements if a.get("http-equiv") == "Content-Security-Policy"
    ]
    assert policy is not None
    assert policy.startswith("default-src 'none'; style-src 'unsafe-inline'; img-src data:")
    assert "script-src" not in policy


def test_no_character_that_hides_reaches_the_page(html: str) -> None:
    assert html.replace("\n", "") == visible(html).replace("\n", "")
    assert "⟦U+202E⟧" in html


def test_nasty_text_is_shown_as_text() -> None:
    for place, nasty in enumerate(NASTY):
        run = tables(
            rows=[{"row": 0, "example_id": "a", "status": "ok"}, {"row": 1, "status": nasty}],
            examples=[{"example_id": "a", "row": 0, "source": nasty}],
            candidates=[
                original("a", messages=_turns(nasty, nasty)),
                reflection("a", messages=_turns(nasty, f"{nasty}!"), teacher=nasty),
                reflection("b", status=nasty, detail=nasty, teacher=nasty),
            ],
            scores=[
                {"candidate_id": "ao", "ifd": 0.5, "r_ifd": 0.9},
                {"candidate_id": "ar", "ifd": 0.6, "r_ifd": 0.5},
            ],
            decisions=[{**kept("a", "ar"), "reason": nasty, "rule": nasty}],
            nulls=[{"null": nasty, "seed": 0, "example_id": "a", "candidate_id": "ao"}],
            manifest={nasty: nasty, "student": {"model": nasty, "fingerprint": nasty}},
            title=nasty,
        )
        found = render_html(summarise(run), pictures=place == 0)
        page = Page(found)
        assert page.open == []
        assert not page.tags() & {"script", "img", "b"}
        assert visible(nasty) in page.texts
        render_text(summarise(run)).encode()


def _turns(instruction: str, response: str) -> list[dict[str, str]]:
    return [
        {"role": "user", "content": instruction},
        {"role": "assistant", "content": response},
    ]


def test_a_template_in_the_data_is_not_run() -> None:
    found = render_html(summarise(tables(title="{{ 7 * 7 }} {% for x in y %}")), pictures=False)
    assert "{{ 7 * 7 }} {% for x in y %}" in found


def test_a_secret_of_the_manifest_does_not_show(html: str) -> None:
    assert "sk-this-must-never-show" in str(MANIFEST)
    assert "must-never-show" not in html


def test_a_typical_run_stays_small(html: str) -> None:
    assert len(html.encode()) < 1_500_000


def test_every_figure_has_a_title_a_description_and_its_data(page: Page) -> None:
    figures = [t for t, _ in page.elements if t == "figure"]
    captions = [t for t, _ in page.elements if t == "figcaption"]
    folded = "".join(page.texts).count("Data behind this picture")
    assert len(figures) == len(captions) == folded > 20
    for tag, attributes in page.elements:
        if tag == "svg":
            assert attributes.get("role") == "img"
            assert attributes.get("aria-label")


def test_every_place_that_is_linked_to_is_there(page: Page) -> None:
    ids = {a.get("id") for _, a in page.elements}
    links = {(a.get("href") or "#")[1:] for tag, a in page.elements if tag == "a"}
    assert links <= ids


def test_the_headline_is_the_same_on_the_page_in_markdown_and_as_text(run: ReportTables) -> None:
    summary = summarise(run)
    page = " ".join("".join(Page(render_html(summary, pictures=False)).texts).split())
    text = " ".join(render_text(summary).split())
    markdown = " ".join(re.sub(r"\\(.)", r"\1", render_markdown(summary)).split())
    for rendered in (page, text, markdown):
        for paragraph in opening(summary):
            assert " ".join(paragraph.split()) in rendered
        for fact in facts(summary):
            assert fact.label in rendered
            assert fact.value in rendered


def test_a_section_of_another_room_goes_before_the_settings(run: ReportTables) -> None:
    proved = Section(
        key="prove",
        title="What training showed",
        paragraphs=("It helped.",),
        tables=(
            Table(
                caption="gain",
                columns=(Column(name="set"), Column(name="gain", style="number")),
                rows=(("chosen", 0.031),),
            ),
        ),
    )
    summary = summarise(run)
    found = render_html(summary, more=[proved], pictures=False)
    assert found.index('id="cost"') < found.index('id="prove"') < found.index('id="settings"')
    assert "0.031" in render_text(summary, more=[proved])
    assert "0.031" in render_markdown(summary, more=[proved])


ONE = tables(
    rows=[{"row": 0, "example_id": "a", "status": "ok"}],
    examples=[{"example_id": "a", "row": 0}],
    candidates=[original("a"), reflection("a")],
    scores=[
        {"candidate_id": "ao", "ifd": 0.5, "r_ifd": 0.7, "response_tokens": 3},
        {"candidate_id": "ar", "ifd": 0.6, "r_ifd": 0.5, "response_tokens": 4},
    ],
    decisions=[kept("a", "ar")],
    nulls=[{"null": "random", "seed": 0, "example_id": "a", "candidate_id": "ao"}],
)

ODD = {
    "nothing at all": ReportTables(),
    "one example": ONE,
    "an empty selection": replace(
        ONE, decisions=tables(decisions=[refused("a")]).decisions, nulls=None
    ),
    "an empty selection with empty nulls": replace(
        ONE,
        decisions=tables(decisions=[refused("a")]).decisions,
        nulls=tables(nulls=[]).nulls,
    ),
    "scored but not decided": replace(ONE, decisions=None, nulls=None),
    "read but not scored": replace(ONE, scores=None, decisions=None, nulls=None),
    "zero refinements": tables(
        rows=[{"row": 0, "example_id": "a", "status": "ok"}],
        examples=[{"example_id": "a", "row": 0}],
        candidates=[original("a")],
        scores=[{"candidate_id": "ao", "ifd": 0.5, "r_ifd": 0.7, "response_tokens": 3}],
        decisions=[kept("a", "ao", "original")],
    ),
    "no row could be read": tables(rows=[{"row": 0, "status": "bad_json"}]),
    "nothing could be scored": tables(
        rows=[{"row": 0, "example_id": "a", "status": "ok"}],
        examples=[{"example_id": "a", "row": 0}],
        candidates=[original("a")],
        scores=[{"candidate_id": "ao", "status": "too_long"}],
        decisions=[refused("a", "original_too_long")],
        nulls=[],
    ),
    "a pool of samples": tables(
        rows=[{"row": 0, "example_id": "a", "status": "ok"}],
        examples=[{"example_id": "a", "row": 0}],
        candidates=[
            {"candidate_id": c, "example_id": "a", "step": "sample", "teacher": "t"} for c in "xy"
        ],
        scores=[{"candidate_id": c, "grape": -1.0, "response_tokens": 5} for c in "xy"],
        decisions=[kept("a", "x", "sample")],
        metrics=("grape",),
    ),
    "a metric that nobody knows": tables(
        candidates=[original("a")],
        scores=[{"candidate_id": "ao", 'a "new" {one}': 3.0, "response_tokens": 1}],
        metrics=('a "new" {one}',),
    ),
    "two students": tables(
        candidates=[original("a")],
        scores=[
            {"candidate_id": "ao", "ifd": 0.1},
            {"candidate_id": "ao", "ifd": 0.9, "student": "g"},
        ],
        manifest={"student": {"model": "the second", "fingerprint": "g"}},
    ),
}


DRAWN = ("one example", "a pool of samples", "a metric that nobody knows")
"""Drawing takes most of the time; the others have the same pictures with fewer marks."""


@pytest.mark.parametrize("name", ODD)
def test_a_report_makes_sense_of(name: str) -> None:
    summary = summarise(ODD[name])
    page = Page(render_html(summary, pictures=name in DRAWN))
    assert page.open == []
    assert "nan" not in " ".join(page.texts).lower().split()
    assert summary.flow.rows() == sum(p.rows for p in summary.flow.paths)
    assert render_text(summary)
    assert render_markdown(summary)


def test_only_the_student_that_decided_is_shown() -> None:
    summary = summarise(ODD["two students"])
    assert (summary.student, summary.other_students) == ("the second", ("f",))
    (spread,) = [s for s in summary.spreads if s.candidates]
    assert spread.mean == 0.9


def test_an_empty_selection_says_so() -> None:
    said = render_text(summarise(ODD["an empty selection with empty nulls"]))
    assert "kept 0 of 1 example" in said


def test_paths_and_tables_give_the_same_report(run: ReportTables, tmp_path) -> None:
    import pyarrow.parquet as pq

    names = ("rows", "examples", "candidates", "scores", "decisions", "nulls")
    for name in names:
        pq.write_table(getattr(run, name), tmp_path / f"{name}.parquet")
    paths = {name: tmp_path / f"{name}.parquet" for name in names}
    assert summarise(replace(run, **paths)) == summarise(run)
