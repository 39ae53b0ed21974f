"""Version numbers of the package and of installed libraries."""

from functools import cache

__version__ = "0.4.0"


@cache
def installed_version(library: str) -> str | None:
    """Version of an installed library; None where it is not installed."""
    from importlib.metadata import (  # noqa: PLC0415  (`tutelage --help` needs none of it)
        PackageNotFoundError,
        version,
    )

    try:
        return version(library)
    except PackageNotFoundError:
        return None
