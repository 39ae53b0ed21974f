"""Sandbox in which chat templates are rendered, with limits on time and memory.

It has what transformers gives a chat template (the tag `generation`, loop controls, `tojson`,
`raise_exception`, `strftime_now`), with three differences: the date is a setting, a template that
takes too long is stopped, and so is one that builds a huge value. Time is checked at each turn of
every loop; sizes where a text, a list or a number can grow faster than the template is long.
"""

import json
import re
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, datetime
from functools import wraps
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer

RENDER_SECONDS = 10.0
"""Seconds after which the rendering of one conversation is stopped."""
_LARGEST = 10_000_000
"""Most characters, items or bits of a value that a template builds."""

TEMPLATE_ERRORS = (
    jinja2.TemplateError,
    ArithmeticError,
    AttributeError,
    LookupError,
    MemoryError,
    RecursionError,
    TypeError,
    ValueError,
)
"""Exceptions that a template can raise, from Jinja or from its expressions."""

_TICK, _JOIN = "check_time", "join_parts"
_WIDTH = re.compile(r"(?:%[^a-zA-Z%]*?|:[^{}]*?)(\d{7,})")
"""A width or precision of seven digits or more in a format."""
_WIDTH_FROM_VALUE = re.compile(r"%[^a-zA-Z%]*\*|:[^{}]*\{")
_SIZED_FILTERS = ("batch", "center", "indent", "round", "slice", "truncate", "wordwrap")
_SIZED_METHODS = frozenset(("ljust", "rjust", "center", "zfill", "expandtabs"))


class _GenerationTag(Extension):
    """Jinja tag `{% generation %}`, which marks the assistant's text and does not change it."""

    tags = {"generation"}  # noqa: RUF012  (as Jinja declares it)

    def parse(self, parser: Parser) -> nodes.Node | list[nodes.Node]:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        # A scope of its own, as the macro has that transformers makes of it.
        return nodes.CallBlock(self.call_method("_written"), [], [], body).set_lineno(line)

    def _written(self, caller: Callable[[], str]) -> str:
        return caller()


class _Limits(NodeTransformer):
    """Syntax tree with a check at each turn of a loop, and with `~` as a filter that checks."""

    def visit_For(self, node: nodes.For) -> nodes.For:  # noqa: N802  (Jinja's name)
        self.generic_visit(node)
        node.body.insert(0, nodes.ExprStmt(_filtered(nodes.Const(True), _TICK, node.lineno)))
        if node.test is not None:
            node.test = nodes.And(_filtered(nodes.Const(True), _TICK, node.lineno), node.test)
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Expr:  # noqa: N802
        self.generic_visit(node)
        return _filtered(nodes.List(node.nodes), _JOIN, node.lineno)


def _filtered(value: nodes.Expr, name: str, line: int) -> nodes.Filter:
    found = nodes.Filter(value, name, [], [], None, None)
    found.set_lineno(line)
    return found


def joined(parts: Iterable[str]) -> str:
    """Parts of a text as one, if it is not huge.

    Raises:
        jinja2.TemplateError: It is.
    """
    pieces = []
    size = 0
    for part in parts:
        pieces.append(part)
        size += len(part)
        if size > _LARGEST:
            _check_size(size)
    return "".join(pieces)


class TemplateEnvironment(ImmutableSandboxedEnvironment):
    """Jinja sandbox with a fixed clock and limits on time and memory."""

    intercepted_binops = frozenset({"*", "**", "+", "%"})
    concat = staticmethod(joined)

    def __init__(self, *, today: date) -> None:
        super().__init__(
            trim_blocks=True, lstrip_blocks=True, extensions=[_GenerationTag, loopcontrols]
        )
        self._today = datetime(today.year, today.month, today.day)  # noqa: DTZ001  (a date)
        self._limit = threading.local()  # another thread may render at the same time
        self.asked_for_date = False
        for name in _SIZED_FILTERS:
            self.filters[name] = _sized(self.filters[name])
        self.filters["format"] = _format
        self.filters["join"] = _after(self.filters["join"])
        self.filters["replace"] = _after(self.filters["replace"])
        self.filters |= {"tojson": _sized(_to_json), _TICK: self._tick, _JOIN: _join}
        del self.globals["lipsum"]
        self.globals["raise_exception"] = _raise
        self.globals["strftime_now"] = self._strftime_now

    def timed(self, render: Callable[[], str]) -> str:
        """Call a rendering that ends with an error when it takes too long."""
        self._limit.ends_at = time.monotonic() + RENDER_SECONDS
        try:
            return render()
        finally:
            del self._limit.ends_at

    def call(self, context: Any, obj: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Call a function from a template."""
        self._check_time()
        method = getattr(obj, "__wrapped__", obj)
        owner, name = getattr(method, "__self__", None), getattr(method, "__name__", "")
        if isinstance(owner, str):
            if name in _SIZED_METHODS:
                _check_sizes(args, kwargs)
            elif name in ("format", "format_map"):
                _check_format(owner, (*args, *kwargs.values()))
            elif name == "replace":
                _check_replaced(owner, args)
            elif name == "join" and args:
                args = (_parts(args[0], separator=owner), *args[1:])
        return super().call(context, obj, *args, **kwargs)

    def getattr(self, obj: Any, attribute: str) -> Any:
        """Read an attribute from a template."""
        self._check_time()
        return super().getattr(obj, attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        """Read an item from a template."""
        self._check_time()
        return super().getitem(obj, argument)

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        """Evaluate a binary operator, and reject one with a huge result."""
        sized = [len(side) for side in (left, right) if isinstance(side, str | list | tuple)]
        whole = [side for side in (left, right) if isinstance(side, int)]
        if operator == "*" and sized and whole:
            _check_size(sized[0] * whole[0])
        elif operator == "+" and sized:
            _check_size(sum(sized))
        elif operator == "*" and len(whole) > 1:
            _check_size(left.bit_length() + right.bit_length())
        elif operator == "**" and len(whole) > 1:
            _check_size(left.bit_length() * abs(right))
        elif operator == "%" and isinstance(left, str):
            _check_format(left, right if isinstance(right, tuple) else (right,))
        return super().call_binop(context, operator, left, right)

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        tree: nodes.Template = _Limits().visit(super()._parse(source, name, filename))
        tree.set_environment(self)
        return tree

    def _strftime_now(self, pattern: str) -> str:
        self.asked_for_date = True
        return self._today.strftime(pattern)

    @jinja2.pass_context  # so that it is not evaluated once, when the template is compiled
    def _tick(self, _context: Any, value: Any) -> Any:
        self._check_time()
        return value

    def _check_time(self) -> None:
        if time.monotonic() > getattr(self._limit, "ends_at", float("inf")):
            raise jinja2.TemplateError(f"takes more than {RENDER_SECONDS:.0f} seconds")


@jinja2.pass_context
def _join(_context: Any, parts: Sequence[Any]) -> str:
    return joined(map(str, parts))


def _parts(values: Iterable[Any], *, separator: str) -> list[Any]:
    """Items of what is joined, if the result is not huge."""
    found, size = [], 0
    for value in values:
        found.append(value)
        size += len(separator) + (len(value) if isinstance(value, str) else 0)
        _check_size(size)
    return found


def _check_size(size: int) -> None:
    if size > _LARGEST:
        raise jinja2.TemplateError(f"a value of {size} characters, items or bits")


def _check_sizes(values: Iterable[Any], named: Mapping[str, Any]) -> None:
    """Refuse widths and counts that make a huge text."""
    for value in (*values, *named.values()):
        if isinstance(value, int):
            _check_size(abs(value))


def _check_format(text: str, values: Sequence[Any]) -> None:
    """Refuse a format with a huge width, written in it or taken from a value."""
    _check_size(max((int(digits[:20]) for digits in _WIDTH.findall(text)), default=0))
    if _WIDTH_FROM_VALUE.search(text):
        inner = [v for value in values if isinstance(value, Mapping) for v in value.values()]
        _check_sizes((*values, *inner), {})


def _format(value: Any, *args: Any, **kwargs: Any) -> str:
    """Filter `format` of Jinja: `%` with values, or with values by name."""
    _check_format(str(value), (*args, *kwargs.values()))
    return str(value) % (kwargs or args)


def _check_replaced(text: str, args: Sequence[Any]) -> None:
    old, new = (*args, "", "")[:2]
    if isinstance(old, str) and isinstance(new, str):
        _check_size(len(text) + text.count(old) * len(new))


def _sized(function: Callable[..., Any]) -> Callable[..., Any]:
    """Filter that rejects huge widths and counts."""

    @wraps(function)
    def checked(*args: Any, **kwargs: Any) -> Any:
        _check_sizes(args[1:], kwargs)
        return function(*args, **kwargs)

    return checked


def _after(function: Callable[..., Any]) -> Callable[..., Any]:
    """Filter `join` or `replace` that rejects a huge result."""

    @wraps(function)
    def checked(context: Any, value: Any, *args: Any, **kwargs: Any) -> Any:
        if function.__name__ == "do_join":
            separator = args[0] if args else kwargs.get("d", "")
            value = _parts(value, separator=str(separator))
        else:
            given = (*args, *(kwargs[name] for name in ("old", "new") if name in kwargs))
            _check_replaced(str(value), given)
        return function(context, value, *args, **kwargs)

    return checked


def _to_json(
    value: Any,
    ensure_ascii: bool = False,  # noqa: FBT001, FBT002  (the filter's own signature)
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,  # noqa: FBT001, FBT002
) -> str:
    return json.dumps(
        value,
        ensure_ascii=ensure_ascii,
        indent=indent,
        separators=separators,
        sort_keys=sort_keys,
    )


def _raise(message: str) -> None:
    raise jinja2.TemplateError(message)
