"""A local web application over a run folder.

It reads the run's Parquet tables through a narrow index that is made once, asks neither teacher
nor student unless a person does, and writes one thing only: what a person overruled.
"""

from tutelage.viewer.app import build_app
from tutelage.viewer.index import open_index
from tutelage.viewer.run_store import Shelf
from tutelage.viewer.server import launch_page, serve

__all__ = ["Shelf", "build_app", "launch_page", "open_index", "serve"]
