"""What does a person see?

A local web application over a run folder. It reads the run's Parquet tables through a narrow
index that is made once, asks neither teacher nor student unless a person does, and writes one
thing only: what a person overruled.
"""

from tutelage.web.app import build_app
from tutelage.web.indexing import open_index
from tutelage.web.launch_page import launch_page
from tutelage.web.serving import serve
from tutelage.web.shelf import Shelf

__all__ = ["Shelf", "build_app", "launch_page", "open_index", "serve"]
