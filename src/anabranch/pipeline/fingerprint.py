"""The fingerprint: a hash of what decides an asset's content, and of nothing else.

``H(code, config, {input: version}, environment-independent resource identity)``. Never in it: secrets, names of
environments, credentials, file paths, times. Needs the standard library only, and neither files nor a catalog:
`CodeReader` reads files, and what its result and the others' hashes come to is computed here.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from anabranch.pipeline.canonical import digest
from anabranch.pipeline.code import CodeFingerprint, CodeReader, Part, PartKind
from anabranch.pipeline.values import config_hash

__all__ = ["CodeFingerprint", "CodeReader", "Part", "PartKind", "combine", "config_hash", "fingerprint"]

_NONE: Mapping[str, str] = MappingProxyType({})


def combine(*parts: str) -> str:
    """32 hexadecimal digits of strings: each counts with its length, so ``("ab", "c")`` is not ``("a", "bc")``."""
    return digest(*parts)


def fingerprint(
    *,
    code: str,
    config: str,
    inputs: Mapping[str, str],
    resources: Mapping[str, str] = _NONE,
    outside: str | None = None,
    extra: Mapping[str, str] = _NONE,
) -> str:
    """What decides an asset's content, as 32 hexadecimal digits; the mappings' order does not count.

    Args:
        code: `CodeFingerprint.hash`, or a query's hash.
        config: The first of `config_hash`.
        inputs: Input → the version that is read.
        resources: Parameter → an identity that no environment decides.
        outside: What ``observe`` returned, or None.
        extra: What else decides content, such as partitions and keys.
    """

    def section(name: str, mapping: Mapping[str, str]) -> list[str]:
        return [name, str(len(mapping)), *(piece for key in sorted(mapping) for piece in (key, mapping[key]))]

    return digest(
        "fingerprint 1",
        code,
        config,
        *section("inputs", inputs),
        *section("resources", resources),
        *(("outside",) if outside is None else ("outside", outside)),
        *section("extra", extra),
    )
