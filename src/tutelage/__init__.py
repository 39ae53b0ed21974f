"""Let the student choose: which version of each example can this model learn from?"""

__version__ = "0.1.0"
