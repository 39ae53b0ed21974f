"""How a stage tells the person who waits what it is doing. Stages never print."""

from tutelage.data.progress import Progress, Silent

__all__ = ["Progress", "Silent"]
