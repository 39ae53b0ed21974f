"""Colour palette of all figures, light and dark, distinguishable by colour-blind readers.

Blue, orange and green are those of Okabe and Ito, darkened or lightened until they stand out from
the page by 3 to 1; texts by 4.5 to 1. A picture is drawn in the light hexadecimal colours; on the
page each becomes a CSS variable that follows the reader's light or dark setting.
"""

from collections.abc import Mapping
from types import MappingProxyType

LIGHT: Mapping[str, str] = MappingProxyType(
    {
        "page": "#ffffff",
        "panel": "#f5f6f8",
        "ink": "#1b1f24",
        "quiet": "#565e69",
        "line": "#c9ced6",
        "grid": "#e6e8ec",
        "original": "#0b6aa8",
        "refinement": "#c05800",
        "chosen": "#00805c",
        "refused": "#7b828c",
        "lost": "#a8368a",
        "region": "#d9efe6",
        "minus3": "#b35806",
        "minus2": "#f1a340",
        "minus1": "#fee0b6",
        "zero": "#f2f2f5",
        "plus1": "#d8daeb",
        "plus2": "#998ec3",
        "plus3": "#542788",
        "on_strong": "#fffffe",
    }
)
DARK: Mapping[str, str] = MappingProxyType(
    {
        "page": "#14171b",
        "panel": "#1d2127",
        "ink": "#e8eaed",
        "quiet": "#a6adb8",
        "line": "#4a515c",
        "grid": "#2b3038",
        "original": "#5bb4ee",
        "refinement": "#f39a3f",
        "chosen": "#2fc796",
        "refused": "#8b929d",
        "lost": "#e07cc4",
        "region": "#173d31",
        "minus3": "#d97a1a",
        "minus2": "#935412",
        "minus1": "#5a3a17",
        "zero": "#2a2e35",
        "plus1": "#3a3557",
        "plus2": "#6458a0",
        "plus3": "#9d8fdc",
        "on_strong": "#101317",
    }
)


def colour(name: str) -> str:
    """Colour of the palette as CSS, falling back to the light one without CSS variables."""
    return f"var(--{name.replace('_', '-')}, {LIGHT[name]})"


def css_variables(palette: Mapping[str, str]) -> str:
    """CSS declarations of the palette."""
    return "".join(f"--{name.replace('_', '-')}:{value};" for name, value in palette.items())
