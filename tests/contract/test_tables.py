"""The columns of every Parquet table, as they are written down in `tables/`.

One file a table, one column a line: its name and its Arrow type. The files are edited by hand
when a table changes on purpose, in the commit that changes it and with a changelog fragment.
"""

import ast
import importlib
from functools import cache
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import tutelage
from tests.contract.conftest import call

TABLES = Path(__file__).parent / "tables"
SOURCE = Path(tutelage.__file__).parent

IN_A_RUN = (
    "candidates", "chosen", "decisions", "examples", "filters", "loaded", "nulls", "rows",
    "scores", "statistics", "verdicts",
)  # fmt: skip
"""Tables that the small run writes; they are read back from the disk."""

BY_NAME = {
    "agreement-of-metrics": "METRIC_AGREEMENT",
    "agreement-of-students": "STUDENT_AGREEMENT",
    "attempts": "ATTEMPTS",
    "comparisons": "COMPARISONS",
    "correlations": "CORRELATIONS",
    "drift": "DRIFT",
    "drift-of-rounds": "ROUND_DRIFT",
    "fates": "FATES",
    "flips": "FLIPS",
    "flips-of-rounds": "ROUND_FLIPS",
    "frontier": "FRONTIER",
    "loops": "COMPARED_LOOPS",
    "pairs": "PAIRS",
    "probes": "PROBES",
    "results": "RESULTS",
    "rewrites": "REWRITES",
    "rewrites-of-rounds": "ROUND_REWRITES",
    "rounds": "ROUNDS",
    "settling": "SETTLING",
    "standings": "STANDINGS",
    "sweep": "SWEEP",
    "tokens": "TOKENS",
}
"""Tables of which the constant that holds the schema is looked up, wherever it is defined."""


@cache
def schemas() -> dict[str, list[pa.Schema]]:
    """Every schema that a module of the project defines, by the name of its constant."""
    found: dict[str, list[pa.Schema]] = {}
    for path in sorted(SOURCE.rglob("*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if not isinstance(node, ast.Assign) or "schema(" not in ast.unparse(node.value):
                continue
            parts = path.relative_to(SOURCE.parent).with_suffix("").parts
            module = importlib.import_module(".".join(parts).removesuffix(".__init__"))
            for target in node.targets:
                value = getattr(module, getattr(target, "id", ""), None)
                if isinstance(value, pa.Schema):
                    found.setdefault(str(getattr(target, "id", "")), []).append(value)
    return found


def lines(schema: pa.Schema) -> list[str]:
    return [f"{field.name}: {field.type}" for field in schema]


def written(name: str) -> list[str]:
    return (TABLES / f"{name}.txt").read_text(encoding="utf-8").splitlines()


def test_every_table_is_written_down() -> None:
    assert sorted([*IN_A_RUN, *BY_NAME, "delta"]) == sorted(
        path.stem for path in TABLES.glob("*.txt")
    )


@pytest.mark.parametrize("name", IN_A_RUN)
def test_the_columns_of_a_table_of_a_run(run: Path, name: str) -> None:
    assert lines(pq.read_schema(run / f"{name}.parquet")) == written(name)


@pytest.mark.parametrize("name", BY_NAME)
def test_the_columns_of_a_table_of_an_experiment(name: str) -> None:
    assert written(name) in [lines(schema) for schema in schemas()[BY_NAME[name]]]


def test_the_columns_of_a_comparison_of_two_students(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "d.parquet"
    assert call("delta", run, run / "scores.parquet", "--out", out).exit_code == 0
    assert lines(pq.read_schema(out)) == written("delta")
