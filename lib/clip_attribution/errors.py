"""Errors that a user can act on: one line that says what is wrong and what to do instead.

And how a command ends with them: `exit_status`.
"""

import os
import signal
import sys
import threading
from contextlib import contextmanager


class UserError(ValueError):
    """Bad argument or unusable input. The command line prints the message and exits with 2."""


class ImageError(UserError):
    """One image that cannot be used. Scoring writes the message into that row's `error`."""


class Stopped(SystemExit):
    """The process was asked to stop; `code` is 128 and the signal's number, as shells count."""

    code: int


def one_line(reason: BaseException) -> str:
    """The first line of an exception's message, at most 200 characters; else its type."""
    lines = str(reason).strip().splitlines()
    return lines[0][:200] if lines else type(reason).__name__


def exit_status(prog: str, run, hint: str = "give the same command to go on") -> int:
    """What a command exits with: that of run(), 2 for a UserError or a full or read-only disk,
    130 or 143 when it was stopped. Whatever it says then is one line on stderr.
    """
    try:
        with stoppable():
            status = run()
            sys.stdout.flush()
            return status or 0
    except UserError as error:
        return say(2, f"{prog}: error: {' '.join(str(error).split())}")
    except BrokenPipeError:  # whoever read our output has gone: nothing to say to him
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        return say(2, f"{prog}: error: {error.strerror or one_line(error)}{where}")
    except KeyboardInterrupt:
        return say(130, f"{prog}: stopped; {hint}")
    except Stopped as stopped:
        return say(stopped.code, f"{prog}: stopped; {hint}")


def say(status: int, line: str) -> int:
    """Print a line on stderr; the status is handed on."""
    print(line, file=sys.stderr, flush=True)
    return status


@contextmanager
def stoppable():
    """Let SIGTERM and SIGINT end the block by `Stopped`, once: what cleans up is not stopped."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread is told of signals
        return
    stops = (signal.SIGINT, signal.SIGTERM)

    def stop(number, frame):
        for one in stops:
            signal.signal(one, signal.SIG_IGN)
        raise Stopped(128 + number)

    before = {one: signal.signal(one, stop) for one in stops}
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


def stop_while_importing(prog: str) -> None:
    """The same while a command of its own imports what takes seconds; nothing is open yet."""

    def stop(number, frame):
        os._exit(say(128 + number, f"{prog}: stopped; give the same command to go on"))

    for one in (signal.SIGINT, signal.SIGTERM):
        signal.signal(one, stop)
