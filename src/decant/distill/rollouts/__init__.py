"""Whose tokens the student is taught on."""
