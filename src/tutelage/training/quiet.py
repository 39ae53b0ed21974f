"""Suppression of progress bars, warnings and advice of the training libraries."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from transformers.utils import logging as hf_logging


@contextmanager
def quiet() -> Iterator[None]:
    """Context manager without progress bars and repeated advice of the libraries."""
    import datasets

    shown, level = hf_logging.is_progress_bar_enabled(), hf_logging.get_verbosity()
    bars = datasets.are_progress_bars_disabled()
    hf_logging.disable_progress_bar()
    hf_logging.set_verbosity_error()
    datasets.disable_progress_bars()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        hf_logging.set_verbosity(level)
        if shown:
            hf_logging.enable_progress_bar()
        if not bars:
            datasets.enable_progress_bars()
