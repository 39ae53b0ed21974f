"""What `import tutelage` offers, whatever else has been imported before."""

import ast
import importlib
import inspect
import pydoc
import subprocess
import sys
from pathlib import Path
from typing import get_type_hints

import pytest

import tutelage as tt
from tutelage import api
from tutelage.api import options
from tutelage.cli import main
from tutelage.errors import SettingsError

FUNCTIONS = [name for name in api.__all__ if inspect.isfunction(getattr(api, name))]
SUBPACKAGES = sorted(p.parent.name for p in Path(tt.__file__).parent.glob("*/__init__.py"))

SAME_NAME = {"filter": "filter", "metrics": "list_metrics", "rank": "rank_teachers"}
"""Commands whose function has another name, or that are groups."""


def python(text: str) -> str:
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_script_ends_without_a_report_of_leaks() -> None:
    pytest.importorskip("torch")
    code = "import tutelage.api, duckdb, torch"  # torch keeps the variants that typing registers
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "nanobind" not in done.stderr


@pytest.mark.parametrize("command", sorted(main.commands))
def test_every_command_is_a_function_of_the_same_name(command: str) -> None:
    assert SAME_NAME.get(command, command) in FUNCTIONS


def test_every_function_is_offered_and_documented() -> None:
    assert set(api.__all__) - {n for n in api.__all__ if n[0].isupper()} <= set(tt.__all__)
    for name in FUNCTIONS:
        text = inspect.getdoc(getattr(tt, name)) or ""
        taken = inspect.signature(getattr(tt, name)).parameters
        for parameter in taken.values():
            stars = {parameter.VAR_KEYWORD: "**", parameter.VAR_POSITIONAL: "*"}
            shown = stars.get(parameter.kind, "") + parameter.name
            assert f"\n    {shown}: " in text, f"{name}: {shown}"
        for part in ("Args:", "Examples:"):
            assert part in text, f"{name}: {part}"
        assert "Returns:" in text or name == "view"


def test_the_names_are_listed_without_loading_anything() -> None:
    code = (
        "import sys, tutelage as tt\n"
        "assert set(tt.__all__) <= set(dir(tt))\n"
        "print([m for m in ('torch', 'pyarrow', 'duckdb', 'pydantic') if m in sys.modules])"
    )
    assert python(code).strip() == "[]"


def test_the_functions_are_loaded_without_torch() -> None:
    code = (
        "import sys, tutelage as tt\n"
        "tt.score, tt.train, tt.Run, tt.view\n"
        "heavy = ('torch', 'transformers', 'openai', 'trl', 'datasets', 'altair')\n"
        "print([m for m in heavy if m in sys.modules])"
    )
    assert python(code).strip() == "[]"


def test_help_shows_the_functions() -> None:
    text = pydoc.plain(pydoc.render_doc(tt))
    for name in FUNCTIONS:
        assert f"    {name}(" in text


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'scroe'"):
        _ = tt.scroe


@pytest.mark.parametrize("name", [name for name in SUBPACKAGES if name in FUNCTIONS])
def test_a_subpackage_does_not_take_the_place_of_a_function(name: str) -> None:
    for order in (f"import tutelage.{name}; import tutelage as tt", "import tutelage as tt"):
        code = f"{order}; tt.{name}; import tutelage.{name}; print(callable(tt.{name}))"
        assert python(code).strip() == "True"
    assert importlib.import_module(f"tutelage.{name}").__name__ == f"tutelage.{name}"


def test_type_checkers_see_every_name() -> None:
    tree = ast.parse(Path(tt.__file__).read_text(encoding="utf-8"))
    seen = {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("tutelage.")
        for alias in node.names
    }
    assert seen | {"__version__"} == set(tt.__all__)


def test_no_module_of_the_api_shares_its_name_with_a_function() -> None:
    modules = {path.stem for path in Path(api.__file__).parent.glob("*.py")}
    assert not modules & set(FUNCTIONS)


def test_the_keywords_are_those_of_the_settings() -> None:
    from tutelage.evaluation import EvaluateSettings
    from tutelage.experiments.frontier import BandSettings
    from tutelage.pipeline.config import DataSettings
    from tutelage.pipeline.student_attempts import AttemptSettings
    from tutelage.refinement import RefineSettings, SampleSettings
    from tutelage.selection import SelectSettings
    from tutelage.student import StudentSettings
    from tutelage.teacher import TeacherSettings
    from tutelage.training import TrainSettings
    from tutelage.verification import VerifySettings

    for group, model, apart in (
        (options.DataOptions, DataSettings, {"path"}),
        (options.StudentOptions, StudentSettings, {"model"}),
        (options.TeacherOptions, TeacherSettings, {"model", "name"}),
        (options.RefineOptions, RefineSettings, {"steps"}),
        (options.SampleOptions, SampleSettings, {"n"}),
        (options.VerifyOptions, VerifySettings, {"check"}),
        (options.SelectOptions, SelectSettings, {"rule"}),
        (options.TrainOptions, TrainSettings, set()),
        (options.EvaluateOptions, EvaluateSettings, set()),
        (options.AttemptOptions, AttemptSettings, set()),
        (options.BandOptions, BandSettings, set()),
    ):
        assert set(get_type_hints(group)) == set(model.model_fields) - apart, group.__name__


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ({"limits": 3}, "did you mean limit?"),
        ({"student_url": "x"}, "did you mean base_url?"),
        ({"no_cache": True}, "did you mean use_cache=False?"),
    ],
)
def test_a_mistyped_keyword_gets_a_suggestion(given: dict[str, object], meant: str) -> None:
    with pytest.raises(SettingsError, match=r"score\(\) takes no keyword") as caught:
        tt.score([{"instruction": "a", "output": "b"}], "m", **given)  # type: ignore[arg-type]
    assert caught.value.hint == meant


def test_a_keyword_works_by_its_old_name_for_a_while() -> None:
    @options.renamed_keyword(old="beside", new="compare_with")
    def told(*, compare_with: str = "nothing") -> str:
        return compare_with

    assert told() == "nothing"
    assert told(compare_with="b") == "b"
    with pytest.warns(DeprecationWarning, match="`beside` is now called `compare_with`"):
        assert told(beside="a") == "a"
    with pytest.raises(SettingsError, match="both"):
        told(beside="a", compare_with="b")
    for function in (tt.report, tt.view, tt.frontier):
        assert "compare_with" in inspect.signature(function).parameters
        assert "beside" not in inspect.signature(function).parameters
    with (
        pytest.warns(DeprecationWarning, match="now called"),
        pytest.raises(SettingsError, match="compares at most two"),
    ):
        tt.view("runs/none", beside="runs/other", selections=("main", "strict"))
