import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.reporting.svg import Stop, Way, draw_narrow_sankey, draw_sankey, lay_out_sankey

START = Stop(column=0, name="rows", colour="quiet")
middles = st.sampled_from([Stop(column=1, name=n, colour="quiet") for n in "ab"])
ends = st.sampled_from([Stop(column=2, name=n, colour="chosen") for n in "xyz"])
ways = st.lists(
    st.builds(
        lambda middle, end, rows: Way(stops=(START, middle, *([end] if end else [])), rows=rows),
        middles,
        st.one_of(st.none(), ends),
        st.integers(1, 1000),
    ),
    min_size=1,
    max_size=8,
)


@given(ways)
def test_rows_are_conserved_at_every_stop(drawn: list[Way]) -> None:
    layout = lay_out_sankey(drawn, width=100, labels=10, height=50)
    total = sum(way.rows for way in drawn)
    for box in layout.boxes:
        into = sum(b.rows for b in layout.bands if b.end == box)
        out = sum(b.rows for b in layout.bands if b.start == box)
        ended = sum(way.rows for way in drawn if way.stops[-1] == box.stop)
        assert box.rows == out + ended
        assert into == (box.rows if box.stop.column else 0)
    assert sum(b.rows for b in layout.boxes if not b.stop.column) == total


@given(ways)
def test_bands_leave_side_by_side_and_lie_within_their_box(drawn: list[Way]) -> None:
    layout = lay_out_sankey(drawn, width=100, labels=10, height=500)
    scale = 500 / sum(way.rows for way in drawn)
    for box in layout.boxes:
        y = box.y
        for band in sorted((b for b in layout.bands if b.start == box), key=lambda b: b.y_start):
            assert band.y_start == pytest.approx(y)
            y += band.rows * scale
        assert y <= box.y + box.height + 1e-6


@given(ways)
def test_boxes_of_a_column_do_not_overlap(drawn: list[Way]) -> None:
    layout = lay_out_sankey(drawn, width=100, labels=10, height=50)
    for column in range(3):
        boxes = sorted((b for b in layout.boxes if b.stop.column == column), key=lambda b: b.y)
        for above, below in pairwise(boxes):
            assert above.y + above.height < below.y


def test_names_are_escaped_in_both_pictures() -> None:
    nasty = Way(stops=(START, Stop(column=1, name="</text><script>", colour="lost")), rows=3)
    for svg in (draw_sankey([nasty], heads=["in", "out"]), draw_narrow_sankey([nasty])):
        assert "<script>" not in svg
        assert "&lt;script&gt;" in re.sub(r"</?tspan[^>]*>", "", svg)


def test_a_telephone_sees_every_end() -> None:
    end = Stop(column=2, name="kept", colour="chosen")
    lost = Stop(column=1, name="broken", colour="lost")
    middle = Stop(column=1, name="read", colour="quiet")
    ways = [Way(stops=(START, middle, end), rows=7), Way(stops=(START, lost), rows=2)]
    svg = draw_narrow_sankey(ways)
    assert "9 rows" in svg
    assert "7 kept" in svg
    assert "2 broken" in svg
