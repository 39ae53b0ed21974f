"""Errors and notes name Python arguments where the caller is Python, and options at the terminal.

All messages of the package are looked at, so that a new one cannot name an option in Python that
`in_python` does not know.
"""

import ast
import inspect
import pickle
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_type_hints

import click
import pytest
from click.testing import CliRunner

import tutelage as tt
from tutelage import api
from tutelage.cli import main
from tutelage.errors import DataError, in_python, respell, spelled_in_python

SOURCE = Path(tt.__file__).parent
NAMES = [name for name in api.__all__ if inspect.isfunction(getattr(api, name))]
IN_A_TERMINAL = {"json", "quiet", "verbose", "help", "extensions", "version"}
"""Options about the terminal itself."""
TRACKED = {"tracker", "tracker-project"}
"""In Python a tracker is a context manager: `tutelage.training.tracked`."""
ELSEWHERE = {"run": {"batch", "set"}, "rounds": {"set"}, "frontier": {"served-as"}}
"""In Python: settings of the teacher, `overrides`, and `asked_through`."""


def keywords_of(name: str) -> set[str]:
    """Keywords of a public function, those of its `Unpack` included."""
    function = inspect.unwrap(getattr(tt, name))
    found = set()
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind is parameter.VAR_KEYWORD:
            (group,) = get_args(parameter.annotation)
            found |= set(get_type_hints(group))
        else:
            found.add(parameter.name)
    return found


def commands(group: Any = main, before: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, (*before, name))
        else:
            yield " ".join((*before, name)), command


def options_of(command: Any) -> set[str]:
    given = (p for p in command.params if isinstance(p, click.Option))
    return {
        o.removeprefix("--") for p in given for o in (*p.opts, *p.secondary_opts) if o[:2] == "--"
    }


OPTIONS = {name: options_of(command) for name, command in commands()}
KNOWN = set().union(*OPTIONS.values())
EVERY_KEYWORD = set().union(*map(keywords_of, NAMES))


def keyword_of(option: str) -> str:
    """The keyword that `in_python` names for an option."""
    return re.split(r"=", in_python(f"--{option}").strip("`"))[0]


@pytest.mark.parametrize("command", sorted(OPTIONS))
def test_every_option_is_a_keyword_of_the_function(command: str) -> None:
    called = re.match(r"`tutelage\.(\w+)\(", in_python(f"`tutelage {command}`"))
    assert called is not None
    taken = keywords_of(called[1])
    apart = IN_A_TERMINAL | TRACKED | ELSEWHERE.get(command, set())
    missing = {
        option
        for option in OPTIONS[command] - apart
        if not {keyword_of(option), option.replace("-", "_"), f"{option}s"} & taken
    }
    assert missing == set()


def texts() -> Iterator[tuple[str, str]]:
    """Literal texts of the package outside the command line, with the file of each."""
    for path in sorted(SOURCE.rglob("*.py")):
        if "cli" in path.parts or path.name in ("errors.py", "sandbox.py", "jail.py", "bundled.py"):
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        inside = {
            id(part)
            for node in ast.walk(tree)
            if isinstance(node, ast.JoinedStr | ast.Expr)
            for part in (node.values if isinstance(node, ast.JoinedStr) else [node.value])
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.JoinedStr):
                parts = (v.value if isinstance(v, ast.Constant) else "it" for v in node.values)
                yield path.name, "".join(map(str, parts))
            elif isinstance(node, ast.Constant) and id(node) not in inside:
                yield path.name, str(node.value)


def test_no_message_names_an_option_in_python() -> None:
    named, wrong = 0, []
    for file, text in texts():
        asked = [o for o in re.findall(r"(?<![\w-])--([a-z][a-z-]+)", text) if o in KNOWN]
        if file == "device_check.py" or not (asked or "`tutelage " in text):
            continue
        named += 1
        said = in_python(text)
        left = [o for o in re.findall(r"(?<![\w-])--([a-z][a-z-]+)", said) if o in KNOWN]
        keywords = re.findall(r"(?<=[`(,])\s*(\w+)=", said)
        calls = re.findall(r"`tutelage\.(\w+)\(", said)
        if left or "`tutelage " in said or not set(keywords) <= EVERY_KEYWORD:
            wrong.append((file, said, left, set(keywords) - EVERY_KEYWORD))
        if not set(calls) <= set(NAMES):
            wrong.append((file, said, calls))
    assert wrong == []
    assert named > 100


@pytest.mark.parametrize(
    ("terminal", "python"),
    [
        ("name one with --teacher", "name one with `teacher`"),
        (
            "--map a=b --map c=d, or --as samples",
            "`fields={'a': 'b', 'c': 'd'}`, or `shape='samples'`",
        ),
        ("did you mean --map a=b? c", "did you mean `fields={'a': 'b'}`? c"),
        ("`tutelage rank teachers` writes it", "`tutelage.rank_teachers()` writes it"),
        (
            "`tutelage score 'a b/c' --student M --map x=y --no-cache`",
            "`tutelage.score('a b/c', student=M, use_cache=False, fields={'x': 'y'})`",
        ),
        ("`tutelage select runs/x --seed 3`", "`tutelage.select('runs/x', seed=3)`"),
        ("set dtype (--dtype) to one", "set `dtype` to one"),
        ("a `--keep 0.5` of all", "a `keep_fraction=0.5` of all"),
        ("start one with `ray start --head`", "start one with `ray start --head`"),
        ("a--b and ----- and <!-- x -->", "a--b and ----- and <!-- x -->"),
        ("`tutelage report", "`tutelage report"),
    ],
)
def test_what_an_option_is_called_in_python(terminal: str, python: str) -> None:
    assert in_python(terminal) == python
    assert in_python(python) == python


def test_the_same_fault_is_told_to_each_caller_in_its_own_words(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text('{"instructon": "a", "answr": "b"}\n')
    told = CliRunner().invoke(main, ["load", str(file), "--out", str(tmp_path / "run")]).stderr
    assert "--map instruction=FIELD" in told
    for call in (lambda: tt.load(file), lambda: list(tt.read(file)), lambda: tt.score(file, "m")):
        with pytest.raises(DataError) as caught:
            call()
        assert "fields={'instruction': 'FIELD'" in str(caught.value.hint), caught.value.hint
        assert caught.value.__notes__ == [f"hint: {caught.value.hint}"]
        again = pickle.loads(pickle.dumps(caught.value))  # noqa: S301
        assert (str(again), again.hint) == (str(caught.value), caught.value.hint)


def test_every_public_function_and_class_has_the_spelling_of_python() -> None:
    for name in NAMES:
        assert hasattr(getattr(tt, name), "__wrapped__"), name
        assert pickle.loads(pickle.dumps(getattr(tt, name))) is getattr(tt, name)  # noqa: S301
    for owner in (tt.Run, tt.Student):
        assert hasattr(owner.__init__, "__wrapped__")


def test_a_class_keeps_what_it_is() -> None:
    @spelled_in_python
    class Thing:
        @property
        def broken(self) -> int:
            raise DataError("give --out a folder", hint="or --as samples")

    with pytest.raises(DataError, match="give `out` a folder") as caught:
        _ = Thing().broken
    respell(caught.value)
    assert caught.value.__notes__ == ["hint: or `shape='samples'`"]
