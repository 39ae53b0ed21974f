import re

import pytest

from tutelage.reporting.svg import DARK, LIGHT, fit_for_page

SVG = (
    '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    ' width="10" height="10" viewBox="0 0 10 10"><defs><clipPath id="c1"><rect width="5"/>'
    "</clipPath></defs>{inner}</svg>"
)


def fitted(inner: str, key: str = "k") -> str:
    return fit_for_page(SVG.format(inner=inner), key=key, label="what it shows")


def test_colours_of_the_palette_follow_the_page() -> None:
    found = fitted(f'<rect fill="{LIGHT["chosen"].upper()}" stroke="#123456"/>')
    assert f'fill="var(--chosen, {LIGHT["chosen"]})"' in found
    assert 'stroke="#123456"' in found


def test_ids_are_unique_in_the_page_and_still_found() -> None:
    found = fitted('<g clip-path="url(#c1)"/>', key="flow-0")
    assert 'id="flow-0-c1"' in found
    assert 'clip-path="url(#flow-0-c1)"' in found


@pytest.mark.parametrize(
    "inner",
    [
        "<script>alert(1)</script>",
        "<foreignObject><b>x</b></foreignObject>",
        '<image href="x.png"/>',
        '<a href="javascript:1"><rect/></a>',
        '<rect onclick="alert(1)"/>',
        '<rect xmlns:xlink="http://www.w3.org/1999/xlink" xlink:href="#x"/>',
    ],
)
def test_nothing_but_shapes_and_text_is_left(inner: str) -> None:
    found = fitted(inner)
    assert not re.search(r"script|foreign|image|<a|href|onclick|http", found)


def test_a_picture_says_what_it_shows() -> None:
    assert 'role="img" aria-label="what it shows"' in fitted("")


def view_box(found: str) -> tuple[float, float]:
    left, _, wide, _ = map(float, re.findall(r'viewBox="([^"]*)"', found)[0].split())
    return left, left + wide


@pytest.mark.parametrize(
    ("inner", "left", "right"),
    [
        ('<text transform="translate(5,5)" font-size="10px">ab</text>', 0, 17.8),
        ('<text text-anchor="end" x="5" font-size="10px">ab</text>', -7.8, 10),
        ('<text text-anchor="middle" x="5" font-size="10">ab</text>', -1.4, 11.4),
        ('<g transform="translate(-5,0)"><text text-anchor="end">a</text></g>', -12.68, 10),
        ('<text transform="translate(2,9) rotate(-90) translate(0,-5)">abcdefghi</text>', 0, 10),
        ('<text transform="rotate(180)" font-size="10px">ab</text>', -12.8, 10),
        ('<text x="4"><tspan>a</tspan><tspan>ab</tspan></text>', 0, 19.36),
        ('<text text-anchor="end" font-size="10px">\u4f60\u597d</text>', -20, 10),
    ],
)
def test_the_frame_is_as_wide_as_the_texts_in_a_wide_font(
    inner: str, left: float, right: float
) -> None:
    assert view_box(fitted(inner)) == pytest.approx((left, right), abs=0.01)


def test_a_wider_frame_is_drawn_at_the_same_scale() -> None:
    found = fitted('<text text-anchor="end" font-size="10px">WWWWW</text>')
    assert view_box(found) == (-50, 10)
    assert "--w:60px" in found


def luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(a: str, b: str) -> float:
    high, low = sorted((luminance(a), luminance(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("palette", [LIGHT, DARK], ids=["light", "dark"])
@pytest.mark.parametrize("behind", ["page", "panel"])
def test_colours_can_be_told_from_what_is_behind_them(palette: dict[str, str], behind: str) -> None:
    for name in ("ink", "quiet", "original"):  # texts; links have the colour of originals
        assert contrast(palette[name], palette[behind]) >= 4.5, name
    for name in ("refinement", "chosen", "refused", "lost"):
        assert contrast(palette[name], palette[behind]) >= 3, name


@pytest.mark.parametrize("palette", [LIGHT, DARK], ids=["light", "dark"])
def test_numbers_can_be_read_on_every_cell(palette: dict[str, str]) -> None:
    for name in ("minus2", "minus1", "zero", "plus1", "plus2"):
        assert contrast(palette["ink"], palette[name]) >= 4.5, name
    for name in ("minus3", "plus3"):
        assert contrast(palette["on_strong"], palette[name]) >= 4.5, name
    assert contrast(palette["ink"], palette["region"]) >= 4.5


def test_every_colour_has_its_own_value_so_that_it_can_be_found_again() -> None:
    assert len(set(LIGHT.values())) == len(LIGHT)
    assert set(LIGHT) == set(DARK)
