"""Routing table: the best teacher for each domain, from a ranking of teachers."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from tutelage.data import write_text
from tutelage.errors import DataError, SettingsError

ROUTES_FILE = "routes.json"
ALL = "all"
"""Domain of a ranking that covers all questions together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """Best teacher of one domain.

    Attributes:
        domain: The source of the questions, or what `--domain-field` said.
        teacher: The first by the predictor that decides.
        value: Its number.
        low: Lower end of the interval; None where there were too few questions.
        high: Upper end.
        questions: How many questions of the domain it answered.
        runner_up: The second; None where there is none.
        told_apart: Whether the first is surely better than the second.
    """

    domain: str
    teacher: str
    value: float
    low: float | None
    high: float | None
    questions: int
    runner_up: str | None
    told_apart: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Routes:
    """Assignment of rows to teachers.

    Attributes:
        default: The first over all questions, for sources without a route of their own.
        by_domain: Domain to teacher.
    """

    default: str | None
    by_domain: Mapping[str, str]

    def teacher_of(self, source: str | None) -> str | None:
        """Teacher for rows of a source."""
        return self.by_domain.get(source or "", self.default)


def routes_of(standings: pa.Table, pairs: pa.Table, *, by: str) -> list[Route]:
    """First teacher of each domain, the domain `all` first and the others by name.

    Args:
        standings: The standings of a ranking of teachers.
        pairs: Which teachers can be told apart.
        by: The predictor that decides.
    """
    apart = {
        (row["domain"], row["a"], row["b"])
        for row in pairs.to_pylist()
        if row["predictor"] == by and row["told_apart"]
    }
    ranked: dict[str, list[Mapping[str, Any]]] = {}
    for row in standings.to_pylist():
        if row["predictor"] == by and row["value"] is not None and row["rank"] is not None:
            ranked.setdefault(row["domain"], []).append(row)
    found = []
    for domain in sorted(ranked, key=lambda name: (name != ALL, name)):
        first, *others = sorted(ranked[domain], key=lambda r: (r["rank"], r["entrant"]))
        second = others[0]["entrant"] if others else None
        found.append(
            Route(
                domain=domain,
                teacher=first["entrant"],
                value=first["value"],
                low=first["low"],
                high=first["high"],
                questions=first["questions"],
                runner_up=second,
                told_apart=(domain, first["entrant"], second) in apart,
            )
        )
    return found


def write_routes(folder: Path, routes: list[Route], *, by: str) -> Path:
    """Write routes.json, which `tutelage export --to distillation --routes` reads.

    Args:
        folder: The folder to write to.
        routes: The routes.
        by: The predictor that ranked.
    """
    default = next((route.teacher for route in routes if route.domain == ALL), None)
    told: dict[str, Any] = {
        "by": by,
        "default": default,
        "routes": {route.domain: route.teacher for route in routes if route.domain != ALL},
        "table": [asdict(route) for route in routes],
    }
    path = folder / ROUTES_FILE
    write_text(path, json.dumps(told, indent=2, ensure_ascii=False) + "\n")
    return path


def read_routes(path: Path) -> Routes:
    """Read routes from a ranking's folder, or from a JSON file with `routes` and `default`.

    Raises:
        SettingsError: There is no such file.
        DataError: It holds something else.
    """
    file = path / ROUTES_FILE if path.is_dir() else path
    hint = "give the folder that `tutelage rank teachers` wrote, or a JSON file with `routes`"
    try:
        told = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"{file}: cannot be read: {error.strerror}", hint=hint) from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{file}: is not valid JSON: {error}", hint=hint) from error
    routes = told.get("routes") if isinstance(told, dict) else None
    default = told.get("default") if isinstance(told, dict) else None
    named = isinstance(routes, dict) and all(isinstance(t, str) and t for t in routes.values())
    if not isinstance(routes, dict) or not named or not isinstance(default, (str, type(None))):
        raise DataError(f"{file}: `routes` is not a mapping of domains to teachers", hint=hint)
    return Routes(default=default, by_domain=routes)
