"""The page over a loop of rounds."""

from pathlib import Path

from tutelage.runs.rounds_folder import RoundsFolder


def write_rounds_report(folder: RoundsFolder) -> Path | None:
    """Write report.html of a loop of rounds.

    Returns:
        Its path, or None where the libraries that draw are not installed.
    """
    del folder
    return None
