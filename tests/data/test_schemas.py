"""Every schema stands in one package, and what is said of a column is stored with the table."""

import re
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import tutelage
from tutelage.data import schemas
from tutelage.data.schemas import EXPERIMENT_TABLES, RUN_TABLES, SCORES, column_facts

SOURCE = Path(tutelage.__file__).parent
TABLES = {
    **RUN_TABLES,
    **{f"{name}: {file}": one for name, files in EXPERIMENT_TABLES.items()
       for file, one in files.items()},
}  # fmt: skip


def test_no_schema_is_declared_anywhere_else() -> None:
    elsewhere = [
        str(path.relative_to(SOURCE))
        for path in SOURCE.rglob("*.py")
        if re.search(r"pa\.schema\(|pa\.field\(", path.read_text(encoding="utf-8"))
        and path.parent.name != "schemas"
    ]
    assert elsewhere == []


def test_what_is_said_of_a_column_is_stored_with_the_table(tmp_path: Path) -> None:
    file = tmp_path / "scores.parquet"
    pq.write_table(SCORES.empty_table(), file)
    stored = pq.read_schema(file)
    for field in SCORES:
        assert column_facts(stored.field(field.name)) == column_facts(field)
    assert column_facts(stored.field("nll_response")).unit == "nats per token"


@pytest.mark.parametrize("name", TABLES)
def test_units_and_titles_are_the_same_in_every_table(name: str) -> None:
    for field in TABLES[name]:
        facts = column_facts(field)
        assert facts.title
        if field.name.startswith("nll_"):
            assert facts.unit == "nats per token"
        if field.name.endswith("_tokens"):
            assert facts.unit == "tokens"
        if field.name.endswith("_fraction"):
            assert facts.unit == "share"


def test_columns_and_whole_schemas_are_joined_in_order() -> None:
    joined = schemas.table_schema(
        schemas.column("first", pa.int8()),
        schemas.only_columns(SCORES, ("student", "status")),
        schemas.columns_of(("x", "y"), pa.float64()),
    )
    assert joined.names == ["first", "student", "status", "x", "y"]
    assert column_facts(joined.field("student")) == column_facts(SCORES.field("student"))
