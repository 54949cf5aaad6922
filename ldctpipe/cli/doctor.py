"""Temporary."""


def command() -> None:
    """Temporary."""
