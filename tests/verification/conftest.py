"""Lets the tests of this room share the hostile programs: pytest imports files one by one."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
