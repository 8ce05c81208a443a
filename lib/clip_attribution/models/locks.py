"""One re-entrant lock a model: a pass that hooks or differentiates it runs by itself.

Hooks, `requires_grad` and the watched layers belong to the model, so a second thread's forward
would be seen by the first one's trace. Threads on different models do not wait for one another.
"""

from functools import wraps
from threading import RLock
from weakref import WeakKeyDictionary

from torch import nn

_LOCKS: WeakKeyDictionary = WeakKeyDictionary()
_MAKING = RLock()


def lock_of(holder):
    """The lock of a torch module, or of the model that a Clip or a Blip holds."""
    with _MAKING:
        module = holder if isinstance(holder, nn.Module) else holder.model
        return _LOCKS.setdefault(module, RLock())


def locked(function):
    """Let a function of a Clip, a Blip or a module run in one thread at a time for each model."""

    @wraps(function)
    def run(holder, *args, **kwargs):
        with lock_of(holder):
            return function(holder, *args, **kwargs)

    return run
