"""Lets the tests of this room share an oracle and a strategy: pytest imports files one by one."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
