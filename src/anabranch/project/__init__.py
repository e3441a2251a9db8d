"""The product's verbs, for Python: everything below wired together."""

from anabranch.project.project import Project

__all__ = ["Project"]
