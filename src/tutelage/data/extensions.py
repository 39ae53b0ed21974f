"""Extensions: user-defined metrics, rules, filters, checks and export formats.

An extension is one decorated function in a Python file that the configuration names
(`extensions: my_ext.py`) or the command line (`tutelage --extensions my_ext.py ...`). The file is
run only because the user named it. A hash of it is part of the keys of the stages that use it.
"""

import hashlib
import importlib.util
import math
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, TypeAlias, TypeVar, get_args

from tutelage.errors import DataError, SettingsError

ExtensionKind: TypeAlias = Literal["metric", "rule", "filter", "check", "export"]
KINDS: tuple[ExtensionKind, ...] = get_args(ExtensionKind)

_OPTIONS: Mapping[ExtensionKind, frozenset[str]] = MappingProxyType(
    {
        "metric": frozenset(("better", "statistics", "views")),
        "rule": frozenset(("metrics",)),
        "filter": frozenset(),
        "check": frozenset(),
        "export": frozenset(),
    }
)

Function = TypeVar("Function", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True, kw_only=True)
class Extension:
    """A user-defined function with its kind, name and options.

    Attributes:
        kind: Kind of the extension.
        name: The function's name, as settings give it.
        function: The function.
        options: What the decorator was given.
        summary: The first line of its docstring.
    """

    kind: ExtensionKind
    name: str
    function: Callable[..., Any]
    options: Mapping[str, Any] = field(default_factory=dict)
    summary: str = ""

    def call(self, *given: Any, about: str) -> Any:
        """Call the function and return its result.

        Args:
            *given: Arguments of the function.
            about: The candidate or example it is about, for the error.

        Raises:
            DataError: It failed, with the exception's type and message.
        """
        try:
            return self.function(*given)
        except Exception as error:
            raise DataError(
                f"extension {self.kind} {self.name}: failed on {about}: "
                f"{type(error).__name__}: {error}",
                hint="fix the function; nothing was written",
            ) from error


@dataclass(slots=True)
class _Loaded:
    """The loaded file of extensions and what it defines."""

    path: Path | None = None
    digest: str | None = None
    found: dict[tuple[ExtensionKind, str], Extension] = field(default_factory=dict)


_loaded = _Loaded()
_listeners: list[Callable[[], None]] = []


def extension(kind: ExtensionKind, **options: Any) -> Callable[[Function], Function]:
    """Decorator that makes a function an extension.

    Args:
        kind: metric, rule, filter, check or export.
        **options: metric: `better` (higher, lower or neither), `statistics` (nll, ranks or full)
            and `views`. rule: `metrics`, the columns of the scores that it compares.

    Raises:
        SettingsError: The kind or an option is not one there is.
    """
    if kind not in KINDS:
        raise SettingsError(
            f"extension: unknown kind {kind!r}", hint=f"kinds are {', '.join(KINDS)}"
        )
    unknown = sorted(set(options) - _OPTIONS[kind])
    if unknown:
        named = ", ".join(sorted(_OPTIONS[kind])) or "no options"
        raise SettingsError(
            f"extension {kind}: unknown option {unknown[0]!r}", hint=f"a {kind} takes {named}"
        )

    def add(function: Function) -> Function:
        summary = (function.__doc__ or "").strip().partition("\n")[0]
        name = function.__name__
        _loaded.found[kind, name] = Extension(
            kind=kind, name=name, function=function, options=options, summary=summary
        )
        return function

    return add


def load_extensions(path: Path) -> str:
    """Run a file of extensions; those of a file loaded before are forgotten.

    Returns:
        The SHA-256 of the file.

    Raises:
        SettingsError: The file cannot be read or run, or defines no extension.
    """
    try:
        source = path.read_bytes()
    except OSError as error:
        raise SettingsError(
            f"extensions: {path}: cannot be read: {error.strerror}", hint="give a Python file"
        ) from error
    digest = hashlib.sha256(source).hexdigest()
    if digest == _loaded.digest:
        return digest
    before = (_loaded.path, _loaded.digest, _loaded.found)
    _loaded.path, _loaded.digest, _loaded.found = path, digest, {}
    name = f"tutelage_extensions_{digest[:12]}"
    spec = importlib.util.spec_from_loader(name, loader=None, origin=str(path))
    if spec is None:
        raise SettingsError(f"extensions: {path}: cannot be loaded", hint="give a Python file")
    module = importlib.util.module_from_spec(spec)
    module.__file__ = str(path)
    sys.modules[name] = module
    try:
        exec(compile(source, str(path), "exec"), module.__dict__)  # noqa: S102  (the user's own)
        _tell()
    except (Exception, SystemExit) as error:  # a file that ends the program would end it silently
        _loaded.path, _loaded.digest, _loaded.found = before
        _tell()
        del sys.modules[name]
        what = (
            str(error) if isinstance(error, SettingsError) else f"{type(error).__name__}: {error}"
        )
        raise SettingsError(
            f"extensions: {path}: {what}", hint="see docs/extensions.md for a complete file"
        ) from error
    return digest


def _tell() -> None:
    """Notify the listeners that the loaded extensions have changed.

    Raises:
        SettingsError: There is none, or one cannot be taken.
    """
    if _loaded.path is not None and not _loaded.found:
        raise SettingsError("it defines no extension")
    for listener in _listeners:
        listener()


def when_loaded(listener: Callable[[], None]) -> None:
    """Register a function that is called each time a file of extensions is loaded."""
    _listeners.append(listener)


def extensions_of(kind: ExtensionKind) -> Mapping[str, Extension]:
    """Loaded extensions of one kind, by name."""
    return {name: found for (of, name), found in _loaded.found.items() if of == kind}


def extension_named(kind: ExtensionKind, name: str | None) -> Extension:
    """Loaded extension of this kind and name.

    Raises:
        SettingsError: There is none of that kind and name; the hint lists those there are.
    """
    there = extensions_of(kind)
    if name is not None and name in there:
        return there[name]
    if _loaded.path is None:
        raise SettingsError(
            f"{kind} {name!r}: no file of extensions is loaded",
            hint="`extensions: my_ext.py` in the configuration, or "
            "`tutelage --extensions my_ext.py`",
        )
    raise SettingsError(
        f"{kind} {name!r}: {_loaded.path} does not define it",
        hint=f"it defines {', '.join(there) or f'no {kind}'}",
    )


def extensions_digest(kind: ExtensionKind) -> str | None:
    """SHA-256 of the loaded file if it defines an extension of this kind, else None."""
    return _loaded.digest if extensions_of(kind) else None


def finite_or_none(value: Any, *, who: Extension, about: str) -> float | None:
    """Check that an extension returned a finite number or None, and return it.

    Args:
        value: What the extension returned.
        who: The extension, for the error.
        about: The candidate or example, for the error.

    Raises:
        DataError: It is neither a finite number nor None.
    """
    if value is None:
        return None
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not math.isfinite(value):
        raise DataError(
            f"extension {who.kind} {who.name}: gave {value!r} for {about}",
            hint="give a finite number, or None where there is none",
        )
    return float(value)
