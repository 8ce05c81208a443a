"""Errors that a user can act on: one line that says what is wrong and what to do instead."""


class UserError(ValueError):
    """Bad argument or unusable input. The command line prints the message and exits with 2."""


class ImageError(UserError):
    """One image that cannot be used. Scoring writes the message into that row's `error`."""


def one_line(reason: BaseException) -> str:
    """The first line of an exception's message, at most 200 characters; else its type."""
    lines = str(reason).strip().splitlines()
    return lines[0][:200] if lines else type(reason).__name__
