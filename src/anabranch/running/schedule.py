"""What may start now, given what runs: the longest way to the end first, within the limits of tags and of memory.

Pure: it reads no clock, no file and no machine, and knows nothing of assets, workers or results. Whoever carries steps
out adds what has become ready, asks for the next, and says what has ended. Three rules hold at every moment:

- Of the steps that carry a limited tag, no more run than the limit says.
- The recorded peaks of what runs fit into the memory budget together; a step alone may always start, however large.
- No step starves. While the foremost step waits for memory, another may start only if the two, with all that has started
  since, could run at the same time. So it waits at most for what ran when its turn came.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable, Mapping

from anabranch.dataclass import dataclass


@dataclass(frozen=True)
class Demand:
    """What one step asks for.

    Attributes:
        key: The step's name; unique among those that wait and run.
        rank: Seconds of the longest way from it to the end; the greatest goes first.
        tags: Its tags; those without a limit do not count.
        memory: Recorded peak in bytes; 0 where nothing is known.
    """

    key: str
    rank: float = 0.0
    tags: frozenset[str] = frozenset()
    memory: int = 0


_Group = tuple[frozenset[str], int, int]


class Schedule:
    """The steps that are ready, and those under way. One thread uses it.

    Args:
        limits: Tag → how many steps that carry it may run at a time.
        memory: Bytes that the steps under way may take together, or None for any.
    """

    def __init__(self, limits: Mapping[str, int] | None = None, memory: int | None = None) -> None:
        self._limits = dict(limits or {})
        self._limited = frozenset(self._limits)
        self._memory = memory
        # Steps that ask for much the same are alike: where the first of them may not start, no other is tried.
        self._waiting: dict[_Group, list[tuple[float, str, Demand]]] = {}
        self._running: dict[str, Demand] = {}
        self._held = ""
        self._before: frozenset[str] = frozenset()

    def __len__(self) -> int:
        """How many steps wait."""
        return sum(len(heap) for heap in self._waiting.values())

    @property
    def running(self) -> frozenset[str]:
        """What has started and not ended."""
        return frozenset(self._running)

    def add(self, demand: Demand) -> None:
        """Adds a step that is ready."""
        group = self._group(demand)
        heapq.heappush(self._waiting.setdefault(group, []), (-demand.rank, demand.key, demand))

    def start(self) -> str | None:
        """The step that is to start now, which counts as running from here on; None where none may."""
        held: Demand | None = None
        for _, _, demand in sorted((heap[0] for heap in self._waiting.values()), key=lambda head: head[:2]):
            if not self._within_limits(demand, self._running.values()):
                continue
            if not self._fits(demand, self._running.values()):
                if held is None:
                    held = demand
                    self._hold(demand)
                continue
            if held is None or self._leaves_room(demand, held):
                self._take(demand)
                return demand.key
        return None

    def ended(self, key: str) -> None:
        """A step has ended, well or badly; it may be added again."""
        del self._running[key]

    def clear(self) -> list[str]:
        """Forgets what waits, and returns it."""
        keys = sorted(key for heap in self._waiting.values() for _, key, _ in heap)
        self._waiting.clear()
        return keys

    def _group(self, demand: Demand) -> _Group:
        # Within 1/16 of each other, so that thousands of like steps make few groups.
        bits = 0 if self._memory is None else demand.memory.bit_length()
        return demand.tags & self._limited, bits, demand.memory >> max(0, bits - 5) if bits else 0

    def _take(self, demand: Demand) -> None:
        group = self._group(demand)
        heap = self._waiting[group]
        heapq.heappop(heap)
        if not heap:
            del self._waiting[group]
        self._running[demand.key] = demand
        if demand.key == self._held:
            self._held = ""

    def _hold(self, demand: Demand) -> None:
        """Keeps room for a step from now on, so that it waits for what runs now and for nothing that comes later."""
        if demand.key != self._held:
            self._held, self._before = demand.key, self.running

    def _leaves_room(self, demand: Demand, held: Demand) -> bool:
        since = [one for key, one in self._running.items() if key not in self._before]
        beside = [*since, demand]
        return self._within_limits(held, beside) and self._fits(held, beside)

    def _within_limits(self, demand: Demand, beside: Iterable[Demand]) -> bool:
        counted = demand.tags & self._limited
        if not counted:
            return True
        carried = Counter(tag for one in beside for tag in one.tags & counted)
        return all(carried[tag] < self._limits[tag] for tag in counted)

    def _fits(self, demand: Demand, beside: Iterable[Demand]) -> bool:
        if self._memory is None:
            return True
        others = [one.memory for one in beside]
        return not others or demand.memory + sum(others) <= self._memory


def unknown_limits(limits: Mapping[str, int], tags: Iterable[Iterable[str]]) -> list[str]:
    """The limited tags that nothing carries: most likely mistyped.

    Args:
        limits: Tag → limit.
        tags: The tags of each asset.
    """
    carried = {tag for one in tags for tag in one}
    return sorted(tag for tag in limits if tag not in carried)
