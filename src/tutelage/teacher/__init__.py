"""How do I ask, and what did I pay?"""

from tutelage.teacher.ask import Reply, Request, Teacher

__all__ = ["Reply", "Request", "Teacher"]
