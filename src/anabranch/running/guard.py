"""What may be computed in a world of masked copies: fail closed, whatever planned it.

The plan of such a world is made of masked copies alone. Should it ever not be, by a mistake here or in a floor above, the
step is refused before it opens a file: every pointer that it was given must lie below the folders of that world. Knows
tasks and folders; knows nothing of rules or of the catalog.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import TYPE_CHECKING

from anabranch.errors import IsolationError, MaskError
from anabranch.pipeline.graph import Graph
from anabranch.planning.world import World

if TYPE_CHECKING:
    from anabranch.running.io import Source
    from anabranch.running.step import StepTask


class Guard:
    """Judges assets and tasks of one world; in the world of all data it lets everything pass.

    Args:
        world: What is computed from.
        graph: The assets.
        folders: Where the world's files lie, each with a slash at its end; asked when the first task comes.
    """

    def __init__(self, world: World, graph: Graph, folders: Callable[[], Collection[str]]) -> None:
        self._world = world
        self._graph = graph
        self._ask = folders
        self._folders: tuple[str, ...] | None = None

    def asset(self, key: str) -> None:
        """Raises MaskError where an asset would bring what is not masked from the outside world."""
        if self._world.outside(self._graph[key]):
            where = self._world.environment
            what = "reads the outside world" if self._graph[key].inputs else "is a source"
            raise MaskError(
                f"{key} {what}, and what it brings is not masked: it can't run on {where}",
                hint=f"leave it out with --select, try it in a sandbox on another base, or name it in"
                f" unmasked_sources of [environments.{where}] if it holds nothing to hide",
                asset=key,
            )

    def task(self, task: StepTask) -> None:
        """Raises MaskError or IsolationError where a step would see what is not masked."""
        if not self._world.masked:
            return
        if task.kind != "check":
            self.asset(task.asset or task.key)
        if self._folders is None:
            self._folders = tuple(self._ask())
        for source in _pointers(task):
            if not source.location.startswith(self._folders):
                raise IsolationError(
                    f"{task.key} was to read {source.key} from outside of the masked environment {self._world.environment}",
                    hint="nothing was read; this is a mistake in anabranch itself",
                    location=source.location,
                )


def _pointers(task: StepTask) -> Iterator[Source]:
    yield from task.inputs.values()
    if task.previous is not None:
        yield task.previous
    if task.increment is not None:
        yield from task.increment.since.values()
