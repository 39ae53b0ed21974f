"""Which teacher and which sources teach this student."""
