"""YAML settings: a reader that rejects duplicate keys, and suggestions for mistyped keys.

A key that a settings model does not have is compared with the keys it has at that place, at any
depth: inside optional settings, lists, mappings and choices between several models.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from difflib import SequenceMatcher, get_close_matches
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, TypeAlias, Union, get_args, get_origin

import yaml
from pydantic import BaseModel

from tutelage.errors import SettingsError

MOST_NODES = 100_000
"""Most values of a document once its aliases are written out."""

_MERGE = "tag:yaml.org,2002:merge"


def settings_text(path: Path, *, hint: str) -> str:
    """Text of a file that a setting or an option names.

    Args:
        path: The file.
        hint: The next step where it cannot be read.

    Raises:
        SettingsError: It cannot be read, or is not UTF-8.

    Examples:
        >>> settings_text(Path("no-such.yaml"), hint="give the path of a YAML file")
        Traceback (most recent call last):
            ...
        tutelage.errors.SettingsError: no-such.yaml: cannot be read: No such file or directory
        hint: give the path of a YAML file
    """
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: {reading_problem(error)}", hint=hint) from error


def reading_problem(error: OSError | UnicodeDecodeError) -> str:
    """Why a text file cannot be read, without its path.

    Examples:
        >>> reading_problem(FileNotFoundError(2, "No such file or directory", "a.yaml"))
        'cannot be read: No such file or directory'
    """
    if isinstance(error, UnicodeDecodeError):
        return f"is not UTF-8 text: {error.reason} at byte {error.start}"
    return f"cannot be read: {error.strerror or error}"


def yaml_value(text: str, *, place: str, hint: str) -> Any:
    r"""Value of a YAML text.

    Args:
        text: One YAML document.
        place: File or option, for messages.
        hint: The next step where it cannot be read.

    Raises:
        SettingsError: It is not YAML, gives a key twice, refers to itself, or is written out
            larger than `MOST_NODES`.

    Examples:
        >>> yaml_value("rule: srt\nseed: 3", place="c.yaml", hint="")
        {'rule': 'srt', 'seed': 3}
        >>> yaml_value("rule: srt\nseed: 3\nrule: grape", place="c.yaml", hint="delete one")
        Traceback (most recent call last):
            ...
        tutelage.errors.SettingsError: c.yaml:3: rule is given twice: line 1 has it already
        hint: delete one
    """
    loader = None
    try:
        loader = yaml.SafeLoader(text)
        loader.name = place  # for the marks in messages
        node = loader.get_single_node()
        problems = [] if node is None else _problems(node)
        value = None if node is None or problems else loader.construct_document(node)
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: a 13th month
        raise SettingsError(f"{place}: is not valid YAML: {error}", hint=hint) from error
    finally:
        if loader is not None:
            loader.dispose()
    if problems:
        raise SettingsError("\n".join(f"{place}{problem}" for problem in problems), hint=hint)
    return value


def _problems(root: yaml.Node) -> list[str]:
    """Problems of a document that is valid YAML, as messages that follow the file's name."""
    if _size(root, {}, set()) > MOST_NODES:
        return [f": its aliases (*name) write out more than {MOST_NODES:,} values"]
    return list(_repeated(root, "", set()))


def _size(node: yaml.Node, known: dict[int, int], above: set[int]) -> int:
    """Number of values of a node, those of its aliases counted each time."""
    if id(node) in above:
        raise ValueError(f"line {node.start_mark.line + 1} refers to itself")
    if id(node) not in known:
        above.add(id(node))
        inner = (child for pair in _children(node) for child in pair)
        known[id(node)] = 1 + sum(_size(child, known, above) for child in inner)
        above.remove(id(node))
    return known[id(node)]


def _children(node: yaml.Node) -> list[tuple[yaml.Node, ...]]:
    if isinstance(node, yaml.MappingNode):
        return list(node.value)
    return [(child,) for child in node.value] if isinstance(node, yaml.SequenceNode) else []


def _repeated(node: yaml.Node, place: str, seen: set[int]) -> Iterator[str]:
    """Every key that its mapping has already."""
    if id(node) in seen:
        return
    seen.add(id(node))
    lines: dict[tuple[str, str], int] = {}
    for at, pair in enumerate(_children(node)):
        name = str(at)
        if len(pair) > 1 and isinstance(pair[0], yaml.ScalarNode):
            name, line = pair[0].value, pair[0].start_mark.line + 1
            key = (pair[0].tag, name)
            if key in lines:
                earlier = "this line" if lines[key] == line else f"line {lines[key]}"
                yield f":{line}: {place}{name} is given twice: {earlier} has it already"
            elif pair[0].tag != _MERGE:
                lines[key] = line
        yield from _repeated(pair[-1], f"{place}{name}.", seen)


Place: TypeAlias = tuple[int | str, ...]

_MATCHES = 3
_CLOSE = 0.75
_SIMILAR = 0.6
"""Least similarity of a suggestion; the same name at another place is ranked between this and
`_CLOSE`.
"""

_TIE = 0.05
"""Suggestions this much less similar than the closest one are left out."""

_LENGTH = re.compile(r"^\w+ should have (at (?:least|most) \d+ \w+)(?: after validation)?")
_BY_NAME = frozenset(("dict_type", "mapping_type", "model_attributes_type", "model_type"))
_LISTED = frozenset(("frozen_set_type", "list_type", "set_type", "tuple_type"))
"""Types of pydantic's problems whose messages name kinds of values of Python."""

_MOST_DEPTH = 6
"""Deepest nesting of settings that is searched."""


def problem_in_words(kind: type[BaseModel], problem: Mapping[str, Any]) -> str:
    """Message for an invalid setting, with a suggestion where its key or value is unknown.

    Args:
        kind: The model that was checked.
        problem: One of the `errors()` of pydantic's ValidationError, with its context.

    Returns:
        A sentence without the place. A value is repeated only where it is close to one that is
        allowed: it may be a secret in the wrong place.
    """
    place = tuple(problem["loc"])
    if problem["type"] == "extra_forbidden":
        return _unknown_key(kind, place)
    if problem["type"] in ("literal_error", "enum"):
        return f"{_plain_words(problem)}{_close_value(problem)}"
    if problem["type"] == "string_pattern_mismatch":
        return _wrong_form(kind, place) or _plain_words(problem)
    if problem["type"] in _BY_NAME:
        return f"must be settings by name{_such_as(kind, place)}"
    if problem["type"] in _LISTED:
        return "must be a list"
    return _plain_words(problem)


def _plain_words(problem: Mapping[str, Any]) -> str:
    """Message of a problem without the words for kinds of values that only Python has.

    Examples:
        >>> _plain_words({"msg": "Tuple should have at least 2 items after validation, not 1"})
        'must have at least 2 items, not 1'
    """
    message = str(problem["msg"]).removeprefix("Value error, ")
    message = _LENGTH.sub(r"must have \1", message)
    message = "is missing" if message == "Field required" else message
    return message.replace("Input should be", "must be", 1)


def _such_as(kind: type[BaseModel], place: Place) -> str:
    """Example of settings, with the first one that has no default."""
    for model in models_at(kind, place):
        needed = [f.alias or name for name, f in model.model_fields.items() if f.is_required()]
        name = next(iter(needed or names_of(model)), None)
        if name is not None:
            return f", such as {{{name}: ...}}"
    return ""


def _wrong_form(kind: type[BaseModel], place: Place) -> str | None:
    """Description of a text of a special form, in the words of the setting itself."""
    for model in models_at(kind, place[:-1]):
        field = model.model_fields.get(str(place[-1]))
        if field is not None and field.description:
            return f"expected {field.description[0].lower()}{field.description[1:].rstrip('.')}"
    return None


def _unknown_key(kind: type[BaseModel], place: Place) -> str:
    key = str(place[-1])
    models = models_at(kind, place[:-1])
    known = list(dict.fromkeys(name for model in models for name in names_of(model)))
    elsewhere: dict[str, list[str]] = {}
    for path in paths_of(kind):
        elsewhere.setdefault(path.rpartition(".")[2], []).append(path)
    found = (
        close_matches(key, known, cutoff=_CLOSE)
        or elsewhere.get(_plain(key), [])
        or close_matches(key, known, cutoff=_SIMILAR)
    )
    if not found:
        names = close_matches(key, list(elsewhere), cutoff=_CLOSE)
        found = [path for name in names for path in elsewhere[name]]
    if not found:
        return f"unknown key `{key}`; known keys are {', '.join(sorted(known))}"
    return f"unknown key `{key}`; did you mean {_alternatives(found[:_MATCHES])}?"


def close_matches(name: str, known: Sequence[str], *, cutoff: float = 0.6) -> list[str]:
    """Known names that are similar to a mistyped one, the closest first.

    Args:
        name: As it was typed. Case, and hyphens or spaces instead of underscores, do not count.
        known: The names there are.
        cutoff: The least similarity, from 0 to 1 for equal names.

    Examples:
        >>> close_matches("selct", ["select", "score", "out"])
        ['select']
        >>> close_matches("Max-Length", ["max_length", "model"])
        ['max_length']
    """
    plain = {_plain(one): one for one in reversed(known)}
    found = get_close_matches(_plain(name), list(plain), n=_MATCHES, cutoff=cutoff)
    likeness = [SequenceMatcher(None, one, _plain(name)).ratio() for one in found]
    least = likeness[0] - _TIE if likeness else 1.0
    return [plain[one] for one, near in zip(found, likeness, strict=True) if near > least]


def _plain(name: str) -> str:
    return name.strip().lower().replace("-", "_").replace(" ", "_")


def _close_value(problem: Mapping[str, Any]) -> str:
    given = problem.get("input")
    expected = str(problem.get("ctx", {}).get("expected", ""))
    allowed = [part for index, part in enumerate(expected.split("'")) if index % 2]
    found = close_matches(given, allowed) if isinstance(given, str) else []
    return f"; did you mean {_alternatives(found[:1])}?" if found else ""


def _alternatives(names: Sequence[str]) -> str:
    quoted = [f"`{name}`" for name in names]
    return " or ".join([", ".join(quoted[:-1]), quoted[-1]] if len(quoted) > 1 else quoted)


def models_at(kind: type[BaseModel], place: Place) -> list[type[BaseModel]]:
    """Settings models that are possible at a place.

    Args:
        kind: The model of the whole.
        place: Names of fields, positions in lists, keys of mappings, and the names or tags by
            which pydantic tells the models of a choice apart.
    """
    types: list[Any] = [kind]
    for part in place:
        types = [inner for one in types for inner in _step(one, part)]
    return list(dict.fromkeys(model for one in types for model in _models_in(one)))


def _step(kind: Any, part: int | str) -> list[Any]:
    """Types reached by one part of a place."""
    models = list(_models_in(kind))
    if len(models) > 1:  # pydantic then says by which model it checked
        tagged = [m for m in models if part == m.__name__ or part in _tags_of(m)]
        if tagged:
            return list(tagged)
    fields = [m.model_fields[str(part)].annotation for m in models if part in m.model_fields]
    return fields or list(_elements(kind))


def _elements(kind: Any) -> Iterator[Any]:
    """Element types of lists and value types of mappings, also inside unions."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is None:
        return
    if origin is Annotated:
        yield from _elements(arguments[0])
    elif isinstance(origin, type) and issubclass(origin, Mapping):
        yield arguments[1]
    elif isinstance(origin, type) and issubclass(origin, Sequence | set | frozenset):
        yield from (one for one in arguments if one is not Ellipsis)
    else:
        for one in arguments:
            yield from _elements(one)


def _models_in(kind: Any) -> Iterator[type[BaseModel]]:
    """Models of a type or of its union, but not those inside lists and mappings."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        yield kind
        return
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        yield from _models_in(arguments[0])
    elif origin in (Union, UnionType):
        for one in arguments:
            yield from _models_in(one)


def _tags_of(model: type[BaseModel]) -> set[object]:
    """Literal values that tag a model, such as `length` of `kind: Literal["length"]`."""
    return {
        value
        for field in model.model_fields.values()
        if get_origin(field.annotation) is Literal
        for value in get_args(field.annotation)
    }


def names_of(model: type[BaseModel]) -> list[str]:
    """Keys of a model as they are written in a file."""
    return [field.alias or name for name, field in model.model_fields.items()]


def paths_of(kind: type[BaseModel], *, prefix: str = "", depth: int = 0) -> Iterator[str]:
    """Dotted names of all settings of a model and of the models inside it.

    Args:
        kind: The model.
        prefix: The name of the place of this model, with its dot.
        depth: How deeply this model is nested.
    """
    if depth > _MOST_DEPTH:
        return
    for name, field in kind.model_fields.items():
        yield f"{prefix}{name}"
        for model in _models_in(field.annotation):
            yield from paths_of(model, prefix=f"{prefix}{name}.", depth=depth + 1)
