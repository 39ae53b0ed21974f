"""Reports: the tables of a run as an HTML page, Markdown or text.

Nothing is asked of a model here and nothing is written: `summarise` counts and measures with
DuckDB over Arrow tables or Parquet files, and the renderers turn the summary into text. All text
that came with the data is shown as data: escaped, with what is invisible made visible.
"""

from tutelage.reporting.blocks import (
    Cell,
    Column,
    Comparison,
    Figure,
    Section,
    Side,
    Table,
    schema_columns,
)
from tutelage.reporting.pages import (
    Fact,
    facts,
    opening,
    render_html,
    render_markdown,
    render_markdown_page,
    render_page,
    render_text,
)
from tutelage.reporting.queries import ReportTables
from tutelage.reporting.summary_builder import summarise

__all__ = [
    "Cell",
    "Column",
    "Comparison",
    "Fact",
    "Figure",
    "ReportTables",
    "Section",
    "Side",
    "Table",
    "facts",
    "opening",
    "render_html",
    "render_markdown",
    "render_markdown_page",
    "render_page",
    "render_text",
    "schema_columns",
    "summarise",
]
