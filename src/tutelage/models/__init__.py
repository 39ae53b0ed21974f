"""Model folders: locating, checking, hashing and loading with transformers.

Nothing here knows what a student or a teacher is.
"""

from tutelage.models.bundled import BUNDLED, BundledModel, bundled_model
from tutelage.models.config import DtypeName, ModelSettings, give_memory_back
from tutelage.models.folder import locate_model, resolve_device, resolve_dtype

__all__ = [
    "BUNDLED",
    "BundledModel",
    "DtypeName",
    "ModelSettings",
    "bundled_model",
    "give_memory_back",
    "locate_model",
    "resolve_device",
    "resolve_dtype",
]
