"""Errors of a picture that the function has not seen, so that another run may answer it."""

from action.request import ActionError


class UnreadableError(ActionError):
    """The file cannot be read or converted; the text says why."""


class UndeliveredError(ActionError):
    """The function was not reached: nothing answers, or something else does."""
