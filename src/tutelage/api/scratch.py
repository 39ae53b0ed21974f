"""A temporary folder that lives as long as the objects that hold it."""

import shutil
import weakref
from pathlib import Path
from tempfile import mkdtemp


class ScratchFolder:
    """A temporary folder, removed when nothing refers to it any more or when Python ends.

    `tempfile.TemporaryDirectory` warns when it is cleaned up that way; here it is the purpose.
    """

    def __init__(self) -> None:
        self.path = Path(mkdtemp(prefix="tutelage-"))
        self._removal = weakref.finalize(self, shutil.rmtree, self.path, ignore_errors=True)
