"""How far a set, and the student trained on it, have moved."""
