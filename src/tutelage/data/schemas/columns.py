"""Columns with a title, a unit and a description, which are stored in the Arrow schema."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

_TITLE, _UNIT, _ABOUT = b"title", b"unit", b"about"


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnFacts:
    """Title, unit and description of a column.

    Attributes:
        title: For the head of a table.
        unit: Such as `nats per token`; empty where the values have none.
        about: Where null, which values, or what else there is to know; may be empty.
    """

    title: str
    unit: str = ""
    about: str = ""

    @property
    def heading(self) -> str:
        """The title with the unit in brackets."""
        return f"{self.title} ({self.unit})" if self.unit else self.title


def column(name: str, kind: Any, *, title: str = "", unit: str = "", about: str = "") -> Any:
    """Arrow field with a title, unit and description.

    Args:
        name: In the table.
        kind: Its Arrow type.
        title: For the head of a table; the name in words where it is empty.
        unit: Unit of the values.
        about: What else there is to know.
    """
    facts = {_TITLE: title, _UNIT: unit, _ABOUT: about}
    stored = {key: value.encode() for key, value in facts.items() if value}
    return pa.field(name, kind, metadata=stored or None)


def columns_of(names: Iterable[str], kind: Any) -> list[Any]:
    """Columns of the same type, one for each name."""
    return [column(name, kind) for name in names]


def table_schema(*parts: Any) -> pa.Schema:
    """Schema from columns and from the columns of other schemas, in that order."""
    fields: list[Any] = []
    for part in parts:
        fields += [part] if isinstance(part, pa.Field) else list(part)
    return pa.schema(fields)


def only_columns(schema: pa.Schema, names: Iterable[str]) -> pa.Schema:
    """Schema reduced to some columns, in the order of the names."""
    return pa.schema([schema.field(name) for name in names])


def column_facts(field: Any) -> ColumnFacts:
    """Stored facts about a column; the title is derived from its name where none is stored.

    Examples:
        >>> column_facts(column("kept_fraction", pa.float64(), unit="share")).heading
        'kept fraction (share)'
    """
    stored = field.metadata or {}
    return ColumnFacts(
        title=stored.get(_TITLE, b"").decode() or field.name.replace("_", " "),
        unit=stored.get(_UNIT, b"").decode(),
        about=stored.get(_ABOUT, b"").decode(),
    )
