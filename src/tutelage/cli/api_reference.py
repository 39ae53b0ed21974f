"""Generator of docs/api.md, the reference of the Python API, from signatures and docstrings."""

import ast
import inspect
import re
import textwrap
from collections.abc import Iterator
from typing import get_type_hints

WORKFLOWS = {
    "Data and runs": ("read", "load", "sample", "refine", "run", "demo"),
    "Scores": ("score", "recompute", "delta", "list_metrics"),
    "Checks and filters": ("verify", "filter"),
    "Decisions": ("select", "explain", "export", "report", "view"),
    "Training and proof": ("train", "evaluate", "prove"),
    "Experiments": ("rank_teachers", "rank_sources", "agreement", "rounds", "drift", "frontier"),
    "This machine": ("doctor",),
}
"""Functions in the order of a user's work; those without a group come last."""

_SECTION = r"^(Args|Attributes|Returns|Raises|Examples):$"

_INTRODUCTION = """\
# Python API

Every command of the command line is also a function with the same name and arguments.

```python
import tutelage as tt

scores = tt.score("data.jsonl", "smollm2-135m", metrics=["ifd", "r_ifd"])
chosen = tt.select(scores, "srt")
print(chosen)                       # how many were kept, how many dropped, and why
train_set = tt.export(chosen, "trl").to_dataset()
```

**Data** may be a path, a folder, a pattern, the id of a hub dataset or a list of these; a list of
dicts or any iterable of mappings; a pyarrow table; a `datasets.Dataset`; a pandas or polars frame;
or the result of `tt.read`. Keywords of the reader (`limit`, `fields`, `shape`, ...) are accepted.

**Models** are given by name, with their settings as keywords or as a mapping
(`teacher={"model": "qwen", "base_url": "http://127.0.0.1:8081/v1"}`). A `tt.Student` that is
already open is used as it is. Unknown keywords are errors with a suggestion.

**Results** contain an Arrow table. In a notebook, they show what was kept and dropped, and why.

**Folders.** Without `out`, a function works in a temporary folder, which is deleted with the last
result that needs it. Teacher replies are then kept in
`~/.cache/tutelage/replies.sqlite`, so that no reply is paid for twice. Rows given in memory are
written to the run folder as `input.jsonl` or `input.arrow`, so that a run can be resumed.

**Progress.** `progress=None` shows bars in a terminal or a notebook and nothing elsewhere; `True`
always shows them, `False` never. An object with the methods `begin`, `advance`, `tell` and `end`
receives the progress directly.

**Errors** are `tutelage.TutelageError`: the message names the value and the place, `hint` gives the
next step. If a command finishes its other work before it fails, for example because a teacher
became unavailable, the function raises at the end; finished work is kept, and the same call
resumes.
"""


def api_page() -> str:
    """Text of docs/api.md: every public function and class."""
    from tutelage import api

    names = [name for name in api.__all__ if name[0].islower()]
    grouped = {name for group in WORKFLOWS.values() for name in group}
    rest = tuple(name for name in names if name not in grouped)
    groups = {**WORKFLOWS, **({"More": rest} if rest else {})}
    lines = [_INTRODUCTION]
    for title, functions in groups.items():
        lines += [f"## {title}", ""]
        for name in functions:
            lines += [f"### tutelage.{name}", "", *_signature(getattr(api, name)), ""]
            lines += _body(inspect.getdoc(getattr(api, name)) or "")
    lines += [*_keywords(), "## Results", ""]
    first = ["Run", "Result"]
    classes = [name for name in api.__all__ if name[0].isupper() and name not in first]
    for name in [*first, *classes]:
        lines += list(_class(getattr(api, name), name))
    return "\n".join(lines)


def _keywords() -> Iterator[str]:
    """Groups of keywords that appear as `**options` in signatures."""
    from tutelage.api import options

    yield from ("## Keywords", "")
    yield "The keywords that functions take as `**options`, by group. docs/configuration.md"
    yield from ("explains each setting.", "")
    for group in options.GROUPS:
        names = ", ".join(f"`{name}`" for name in get_type_hints(group))
        yield f"- `{group.__name__}`: {_paragraph(inspect.getdoc(group) or '')} {names}."
    yield ""


def _class(kind: type[object], name: str) -> Iterator[str]:
    shown = name if name in ("Run", "Result") else f"{name}({kind.__bases__[0].__name__})"
    yield from (f"### {shown}", "")
    yield from _body(inspect.getdoc(kind) or "")
    for member, value in vars(kind).items():
        if member.startswith("_") or (not isinstance(value, property) and not callable(value)):
            continue
        text = inspect.getdoc(value)
        if text:
            call = "" if isinstance(value, property) else "()"
            yield f"- `{member}{call}`: {_paragraph(text)}"
    yield ""


def _paragraph(text: str) -> str:
    return " ".join(text.split("\n\n", maxsplit=1)[0].split())


def _signature(function: object) -> Iterator[str]:
    """Signature as in the code, with one parameter per line."""
    source = textwrap.dedent(inspect.getsource(function))  # type: ignore[arg-type]
    node = ast.parse(source).body[0]
    assert isinstance(node, ast.FunctionDef)  # noqa: S101  (a public function is one)
    yield from ("```python", f"tutelage.{node.name}(")
    for text in _parameters(node.args):
        yield f"    {text},"
    returned = "" if node.returns is None else f" -> {ast.unparse(node.returns)}"
    yield from (f"){returned}", "```")


def _parameters(taken: ast.arguments) -> Iterator[str]:
    missing: list[ast.expr | None] = [None] * (len(taken.args) - len(taken.defaults))
    for one, default in zip(taken.args, [*missing, *taken.defaults], strict=True):
        yield _parameter(one, default)
    if taken.vararg is not None:
        yield f"*{_parameter(taken.vararg, None)}"
    elif taken.kwonlyargs:
        yield "*"
    for one, default in zip(taken.kwonlyargs, taken.kw_defaults, strict=True):
        yield _parameter(one, default)
    if taken.kwarg is not None:
        yield f"**{_parameter(taken.kwarg, None)}"


def _parameter(one: ast.arg, default: ast.expr | None) -> str:
    kind = "" if one.annotation is None else f": {ast.unparse(one.annotation)}"
    return f"{one.arg}{kind}" if default is None else f"{one.arg}{kind} = {ast.unparse(default)}"


def _body(text: str) -> Iterator[str]:
    """Markdown of a docstring with Google's sections."""
    opening, *parts = re.split(_SECTION, text, flags=re.MULTILINE)
    yield from (opening.strip(), "")
    for title, part in zip(parts[::2], parts[1::2], strict=True):
        inner = textwrap.dedent(part).strip("\n")
        if title == "Examples":
            code = re.sub(r"\s*# doctest: \+SKIP", "", inner)
            yield from ("```pycon", code.strip(), "```", "")
        elif title == "Returns":
            yield from (f"**Returns.** {' '.join(inner.split())}", "")
        else:
            yield from (f"**{title}.**", "", *_items(inner), "")


def _items(text: str) -> Iterator[str]:
    """Markdown list of `name: text` entries over several lines."""
    for item in re.split(r"\n(?=\S)", text):
        name, _, meaning = item.partition(":")
        yield f"- `{name.strip()}`: {' '.join(meaning.split())}"
