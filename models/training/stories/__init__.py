"""Generator of simple English stories, chats about them, and recall tasks."""
from stories.generator import Generator

__all__ = ['Generator']
