"""Rules of the house that no linter knows."""

import ast
import functools
import re
import resource
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tutelage.data.schemas import (
    EXPERIMENT_TABLES,
    FAULT_SHARES,
    RUN_TABLES,
    column_facts,
)

ROOT = Path(__file__).parent.parent
SOURCES = sorted((ROOT / "src").rglob("*.py"))
BROAD_EXCEPTIONS = ("pipeline", "distributed")
"""Packages that turn the failure of one example into a row with its reason."""


@functools.cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_a_file_fits_a_sitting(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 600


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_a_function_fits_a_screen(path: Path) -> None:
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[1:] if ast.get_docstring(node) else node.body
            lines = (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0
            assert lines <= 60, f"{path.name}:{node.lineno} {node.name} has {lines} lines"


def _imported(path: Path) -> list[tuple[str, str]]:
    """The modules of this package that a script imports, each with the name it takes from there."""
    nodes = ast.walk(ast.parse(path.read_text()))
    return [
        (node.module, alias.name)
        for node in nodes
        if isinstance(node, ast.ImportFrom)
        and node.module is not None
        and node.module.split(".")[0] == "tutelage"
        for alias in node.names
    ]


def _is_there(module: str, name: str) -> bool:
    """Whether a module binds a name; nothing is imported."""
    place = ROOT / "src" / Path(*module.split("."))
    source = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
    if (place / f"{name}.py").is_file() or (place / name).is_dir():
        return True
    return source.is_file() and re.search(rf"\b{re.escape(name)}\b", source.read_text()) is not None


def test_scripts_outside_the_package_import_what_is_there() -> None:
    scripts = [p for folder in ("benchmarks", "examples") for p in (ROOT / folder).rglob("*.py")]
    assert scripts
    missing = [
        f"{path.relative_to(ROOT)}: {module}.{name}"
        for path in scripts
        for module, name in _imported(path)
        if not _is_there(module, name)
    ]
    assert not missing


def test_no_room_is_a_drawer_for_everything() -> None:
    names = {
        part for path in SOURCES for part in path.relative_to(ROOT / "src").with_suffix("").parts
    }
    assert not names & {"utils", "util", "common", "helpers", "manager", "base", "misc"}


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_a_package_front_door_only_names_what_is_inside(path: Path) -> None:
    if path.name != "__init__.py" or path.parent.name == "tutelage":
        return
    for node in _tree(path).body:
        docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        names = isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__"
        assert docstring or names or isinstance(node, ast.ImportFrom)


def _definitions(node: ast.AST) -> Iterator[ast.AST]:
    """A module, class or function and those inside it."""
    yield node
    for child in getattr(node, "body", ()):
        if isinstance(child, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            yield from _definitions(child)


def test_a_docstring_begins_by_saying_what_the_thing_is() -> None:
    riddles = []
    for path in SOURCES:
        for node in _definitions(_tree(path)):
            text = ast.get_docstring(node, clean=False)
            first = re.split(r"(?<=[.?!])\s", text.strip())[0] if text else None
            if first is not None and (first.endswith("?") or len(first.split()) < 4):
                riddles.append(f"{path.name} {getattr(node, 'name', 'module')}: {first}")
    assert riddles == []


def test_a_public_function_of_three_arguments_documents_them() -> None:
    undocumented = []
    for path in SOURCES:
        for node in _tree(path).body:
            # the arguments of a command are documented by its options
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) or "cli" in path.parts:
                continue
            count = len(node.args.posonlyargs + node.args.args + node.args.kwonlyargs)
            # "Args:", or a reference to the function whose arguments these are
            has_args = re.search(r"\b(Args:|arguments)", ast.get_docstring(node, clean=False) or "")
            overloads = [getattr(d, "id", "") == "overload" for d in node.decorator_list]
            if count >= 3 and node.name[0] != "_" and not has_args and not any(overloads):
                undocumented.append(f"{path.name}:{node.lineno} {node.name}")
    assert undocumented == []


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_no_exception_is_swallowed(path: Path) -> None:
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.ExceptHandler):
            assert node.type is not None, f"{path.name}:{node.lineno}: bare except"
            broad = isinstance(node.type, ast.Name) and node.type.id in (
                "Exception",
                "BaseException",
            )
            reraises = any(isinstance(inner, ast.Raise) for inner in ast.walk(node))
            assert not broad or reraises or path.parent.name in BROAD_EXCEPTIONS, (
                f"{path.name}:{node.lineno}"
            )


_PAGES = {
    "experiments/audit": (FAULT_SHARES,),
    **{f"experiments/{name}": tuple(t.values()) for name, t in EXPERIMENT_TABLES.items()},
    "pipeline": tuple(RUN_TABLES.values()),
    "reporting": tuple(RUN_TABLES.values()),
}
"""Packages with pages, and the stored tables that their pages show."""
_OTHER_COLUMNS = {
    ("reporting", "value"),  # of a list of names and values
}


def _written_headings(path: Path) -> Iterator[str]:
    """Texts that a file gives to the columns of its tables."""
    for node in ast.walk(_tree(path)):
        names: list[ast.expr] = []
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Column":
            names = [k.value for k in node.keywords if k.arg == "name"]
        elif (
            isinstance(node, ast.GeneratorExp)
            and getattr(getattr(node.elt, "func", None), "id", "") == "Column"
        ):
            names = [inner for g in node.generators for inner in getattr(g.iter, "elts", ())]
        yield from (n.value for n in names if isinstance(n, ast.Constant))


@pytest.mark.parametrize("package", _PAGES)
def test_a_page_takes_headings_of_stored_columns_from_their_schema(package: str) -> None:
    facts = [column_facts(field) for table in _PAGES[package] for field in table]
    stored = {one.heading for one in facts} | {one.title for one in facts}
    written = {
        (path.name, heading)
        for path in (ROOT / "src/tutelage" / package).rglob("*.py")
        for heading in _written_headings(path)
        if heading in stored and (package, heading) not in _OTHER_COLUMNS
    }
    assert not written


def test_no_file_names_a_path_of_one_machine() -> None:
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listed.returncode:
        pytest.skip("not a git checkout")
    pattern = re.compile(r"(^|[^A-Za-z0-9_.])/(" + "work|farm|root" + r")/[A-Za-z]")
    for name in listed.stdout.splitlines():
        path = ROOT / name
        if (
            path.suffix in {".py", ".md", ".toml", ".yaml", ".yml", ".txt", ".json", ".jsonl", ""}
            and path.is_file()
        ):
            assert not pattern.search(path.read_text(errors="replace")), name


def test_help_answers_quickly_and_without_torch() -> None:
    script = (
        "import sys; from tutelage.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = ('torch', 'transformers', 'openai', 'ray', 'datasets')\n"
        "print([m for m in heavy if m in sys.modules])"
    )
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    # processor time: the wall clock of a busy machine says nothing about us
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    assert done.stdout.splitlines()[-1] == "[]"
    assert seconds < 1, f"--help took {seconds:.2f} s"


def test_stages_and_front_doors_are_imported_without_torch() -> None:
    script = (
        "import sys, tutelage.distributed, tutelage.evaluation, tutelage.pipeline.stages\n"
        "import tutelage.training\n"
        "print([m for m in ('torch', 'transformers', 'openai', 'ray') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"


def test_the_extra_all_installs_every_extra() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    (everything,) = extras["all"]
    names = everything.removeprefix("tutelage[").removesuffix("]").split(",")
    assert sorted(names) == sorted(extras.keys() - {"all"})
