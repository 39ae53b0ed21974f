"""Train a student on a selected set."""
