"""Experiments over runs; each package has its own plan, run, comparison and page."""
