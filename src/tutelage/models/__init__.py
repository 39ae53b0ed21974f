"""Model folders: found, checked, hashed and loaded with transformers.

Nothing here knows what a student or a teacher is.
"""

from tutelage.models.bundled import BUNDLED, BundledModel, bundled_model
from tutelage.models.config import DtypeName, ModelSettings
from tutelage.models.folder import resolve_device, resolve_dtype
from tutelage.models.memory import give_memory_back

__all__ = [
    "BUNDLED",
    "BundledModel",
    "DtypeName",
    "ModelSettings",
    "bundled_model",
    "give_memory_back",
    "resolve_device",
    "resolve_dtype",
]
