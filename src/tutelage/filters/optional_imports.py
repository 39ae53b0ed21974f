"""Libraries of the extra `filters`, imported when a filter needs them."""

import importlib
from typing import Any

from tutelage.errors import MissingExtraError


def need(module: str, *, package: str) -> Any:
    """Import a library that only some filters need.

    Args:
        module: What to import.
        package: What to install, as the package index calls it.

    Raises:
        MissingExtraError: It is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtraError(
            f"this filter needs {package}, which is not installed ({error})",
            hint="pip install 'tutelage[filters]'",
        ) from error
