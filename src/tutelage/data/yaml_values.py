"""Reader of YAML settings: a key that is given twice is an error, and aliases have a limit."""

from collections.abc import Iterator
from typing import Any

import yaml

from tutelage.errors import SettingsError

MOST_NODES = 100_000
"""Most values of a document once its aliases are written out."""

_MERGE = "tag:yaml.org,2002:merge"


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
    """What is wrong with a document that is valid YAML; each begins behind the file's name."""
    if _size(root, {}, set()) > MOST_NODES:
        return [f": its aliases (*name) write out more than {MOST_NODES:,} values"]
    return list(_repeated(root, "", set()))


def _size(node: yaml.Node, known: dict[int, int], above: set[int]) -> int:
    """How many values a node has, those of its aliases counted each time."""
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
