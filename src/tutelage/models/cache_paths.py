"""Where this room keeps files between runs."""

from pathlib import Path


def cache_folder() -> Path:
    """The folder of everything that can be deleted without losing results."""
    return Path.home() / ".cache" / "tutelage"


def models_folder() -> Path:
    """Where bundled models are unpacked, one folder a model."""
    return cache_folder() / "models"


def readings_path() -> Path:
    """Where readings are kept unless the settings say otherwise."""
    return cache_folder() / "readings.sqlite"
