"""Faces to other programs; removable leaves, which nothing below imports."""
