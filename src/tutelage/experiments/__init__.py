"""Experiments over runs; each package owns its plan, its run, its comparison and its page."""
