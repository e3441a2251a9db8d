"""Whether a step that failed is tried again, and after which pause.

Exceptions are meant by name, so that settings can name them, too, and nothing is imported before something fails. How
long to wait is tenacity's business: exponential, with jitter, so that steps that failed together do not come again
together.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from datetime import timedelta

from anabranch.dataclass import dataclass

LONGEST = timedelta(minutes=10)
DELAY = timedelta(seconds=1)


@dataclass(frozen=True)
class RetryPolicy:
    """How a step is tried again.

    Attributes:
        retries: How often.
        delay: Before the second try; doubles with each further one, up to ten minutes (or itself, where that is more).
        on: Full names of the exceptions that are worth another try; none: all.
    """

    retries: int = 0
    delay: timedelta = DELAY
    on: tuple[str, ...] = ()

    def pause(self, attempt: int) -> float:
        """Seconds to wait after the failure of an attempt (1, 2, …); up to one delay of it is chance."""
        from tenacity import RetryCallState, Retrying, wait_exponential, wait_random

        seconds = self.delay.total_seconds()
        state = RetryCallState(Retrying(), None, (), {})
        state.attempt_number = attempt
        longest = max(LONGEST, self.delay).total_seconds()
        return float((wait_exponential(multiplier=seconds, max=longest) + wait_random(max=seconds))(state))


def worth_another_try(names: Sequence[str], error: BaseException) -> bool:
    """Whether an exception, or one that it was raised from, is of a named kind. Without names: always.

    Args:
        names: ``httpx.TransportError``, ``requests.Timeout`` (wherever it may really be defined), ``TimeoutError``.
        error: What was raised.
    """
    if not names:
        return True
    chain = list(_chain(error))
    kinds = {_name(kind) for one in chain for kind in type(one).__mro__}
    for name in names:
        if name in kinds:
            return True
        known = _find(name)
        if known is not None and any(isinstance(one, known) for one in chain):
            return True
    return False


def unknown(names: Sequence[str]) -> list[str]:
    """The names that stand for no exception here: most likely mistyped."""
    return [name for name in names if "<locals>" not in name and _find(name) is None]


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    at: BaseException | None = error
    while at is not None and id(at) not in seen:
        seen.add(id(at))
        yield at
        at = at.__cause__


def _name(kind: type) -> str:
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _find(name: str) -> type[BaseException] | None:
    """The class of that name: its module is imported if need be, for something has failed and time is no matter."""
    parts = name.split(".")
    for cut in range(len(parts) - 1, -1, -1):
        try:
            found: object = importlib.import_module(".".join(parts[:cut]) or "builtins")
            for part in parts[cut:]:
                found = getattr(found, part)
        except (ImportError, AttributeError):
            continue
        return found if isinstance(found, type) and issubclass(found, BaseException) else None
    return None
