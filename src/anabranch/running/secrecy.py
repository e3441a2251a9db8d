"""Which variables a step's process must not have: those that belong to other environments, and to no step at all.

What can't be told from declarations can't be known here: a variable that some code reads by `os.environ` belongs to an
environment only if anabranch.toml says so. Knows names, never values.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from anabranch.dataclass import dataclass, field
from anabranch.pipeline.definitions import Definitions


@dataclass(frozen=True)
class Withheld:
    """What anabranch.toml says of variables.

    Attributes:
        always: No step has them, whatever its resources say: keys of masked environments.
        settings: anabranch.toml itself refers to them (the catalog's password, a clone's); a step has them only where its
            own resources name them.
        others: Set of resources → variables that are another environment's alone: names, or ``BEGINNING*``.
    """

    always: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()
    others: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def foreign_variables(
    definitions: Definitions, resources: str, withheld: Withheld, environ: Iterable[str]
) -> tuple[str, ...]:
    """The variables that a step with a set of resources must not have, sorted.

    Args:
        definitions: Their resources say which variables each set needs.
        resources: Name of the step's set.
        withheld: What anabranch.toml says.
        environ: Names of the variables that there are.
    """
    own = definitions.variables(resources)
    found = {*definitions.foreign_variables(resources), *withheld.settings}
    for pattern in withheld.others.get(resources, ()):
        if pattern.endswith("*"):
            found.update(name for name in environ if name.startswith(pattern[:-1]))
        else:
            found.add(pattern)
    return tuple(sorted({*(found - own), *withheld.always}))
