"""What a rule does to a column: Arrow arrays in, Arrow arrays out, of the same length and wherever possible the same type.

A null stays null under every rule. A rule that can't be applied to a type is refused before any value is read
(`masked_type`). Knows a rule, a key and arrays; knows nothing of tables, environments or where a rule comes from.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import ROUND_FLOOR, Decimal, localcontext
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from anabranch.columns import Rule
from anabranch.errors import MaskError

if TYPE_CHECKING:
    import pyarrow as pa

    from anabranch.masking.cipher import Key

_NOT_FAKE = ("add_", "del_", "get_", "set_", "seed", "format", "parse", "binary", "password")


def masked_type(rule: Rule, kind: pa.DataType) -> pa.DataType:
    """The type of a column of this type once the rule is applied.

    Raises:
        MaskError: the rule can't be applied to such a column.
    """
    from pyarrow import types

    text = types.is_string(kind) or types.is_large_string(kind)
    nested = types.is_nested(kind)
    flat_list = types.is_list(kind) and not types.is_nested(kind.value_type)
    fits: bool = {
        "null": True,
        # A part that is added to a nested column later would be kept unseen.
        "keep": not nested or flat_list,
        "hash": text or types.is_integer(kind) or _is_bytes(kind),
        "fake": text,
        "bucket": _bucketed(rule, kind),
    }[rule.kind]
    if not fits:
        raise MaskError(f"the rule {rule} can't be applied to {kind}", hint=_hint(rule, nested=nested))
    if rule.kind == "fake":
        faker(rule.argument)
    return kind


def _bucketed(rule: Rule, kind: pa.DataType) -> bool:
    from pyarrow import types

    if rule.argument in ("month", "year"):
        return bool(types.is_date(kind) or types.is_timestamp(kind))
    if types.is_integer(kind):
        return "." not in rule.argument
    if types.is_decimal(kind):
        width = Decimal(rule.argument)
        return bool(-int(width.as_tuple().exponent) <= kind.scale)
    return bool(types.is_floating(kind))


def _hint(rule: Rule, *, nested: bool) -> str:
    if nested:
        return 'mask it whole ("null"), or keep its parts in columns of their own'
    return {
        "hash": 'hash fits text, whole numbers, UUIDs and bytes; else "null", or "bucket:month", "bucket:1000"',
        "fake": 'only text can be made up; else "null"',
        "bucket": '"bucket:1000" fits numbers (whole ones a whole width), "bucket:month" and "bucket:year" dates and times',
    }.get(rule.kind, 'use "null"')


def _is_bytes(kind: pa.DataType) -> bool:
    import pyarrow as pa
    from pyarrow import types

    return bool(
        types.is_binary(kind)
        or types.is_large_binary(kind)
        or types.is_fixed_size_binary(kind)
        or isinstance(kind, pa.UuidType)
    )


def mask_array(array: pa.Array, rule: Rule, key: Key | None) -> pa.Array:
    """The masked values of one array.

    Raises:
        MaskError: the rule can't be applied to the array's type, or needs a key and there is none.
    """
    import pyarrow as pa

    kind = masked_type(rule, array.type)
    if rule.kind == "keep":
        return array
    if rule.kind == "null":
        return pa.nulls(len(array), kind)
    if rule.kind == "bucket":
        return _bucket(array, rule.argument)
    if key is None:
        raise MaskError(
            f"the rule {rule} needs a key", hint='mask_key = "${STAGING_MASK_KEY}" in anabranch.toml'
        )
    if rule.kind == "fake":
        return _each(array, lambda value: faked(key, rule.argument, value))
    if pa.types.is_integer(kind):
        return _permuted(array, key)
    if isinstance(kind, pa.UuidType):
        inner = _each(array.storage, lambda value: key.digest(value, 16))
        return pa.ExtensionArray.from_storage(kind, inner)
    if pa.types.is_fixed_size_binary(kind):
        return _each(array, lambda value: key.digest(value, kind.byte_width))
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return _each(array, lambda value: key.digest(value))
    return _each(array, lambda value: key.digest(value.encode()).hex())


def _each(array: pa.Array, change: Callable[[Any], Any]) -> pa.Array:
    """Every different value changed once, however often it is there."""
    import pyarrow as pa

    coded = array.dictionary_encode()
    values = [None if value is None else change(value) for value in coded.dictionary.to_pylist()]
    return pa.array(values, array.type).take(coded.indices)


def _permuted(array: pa.Array, key: Key) -> pa.Array:
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    if array.type not in (pa.int32(), pa.int64()):  # what a table can hold
        raise MaskError(f"the rule hash can't be applied to {array.type}")
    numbers = pc.fill_null(array.cast(pa.int64()), 0).to_numpy(zero_copy_only=False)
    with np.errstate(over="ignore"):
        images = key.permute(np.ascontiguousarray(numbers))
    nulls = array.is_null().to_numpy(zero_copy_only=False)
    return pa.array(images, pa.int64(), mask=nulls).cast(array.type)


def _bucket(array: pa.Array, argument: str) -> pa.Array:
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = array.type
    if argument in ("month", "year"):
        if pa.types.is_timestamp(kind) and kind.tz is not None:
            utc = array.cast(pa.timestamp(kind.unit, "UTC"))
            return pc.floor_temporal(utc, unit=argument).cast(kind)
        return pc.floor_temporal(array, unit=argument).cast(kind)
    width = Decimal(argument)
    if pa.types.is_integer(kind):
        return _whole_buckets(array, int(width))
    if pa.types.is_decimal(kind):
        return _each(array, lambda value: _floored(value, width, kind.scale))
    numbers = pc.fill_null(array, 0).to_numpy(zero_copy_only=False)
    with np.errstate(invalid="ignore"):
        floors = np.floor(numbers / float(width)) * float(width)
    floors = np.where(np.isfinite(numbers), floors, numbers).astype(numbers.dtype)
    # A zero has no sign to tell.
    return pa.array(floors + 0.0, kind, mask=array.is_null().to_numpy(zero_copy_only=False))


def _whole_buckets(array: pa.Array, width: int) -> pa.Array:
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = array.type
    least = -(2 ** (kind.bit_width - 1))
    nulls = array.is_null().to_numpy(zero_copy_only=False)
    numbers = pc.fill_null(array.cast(pa.int64()), 0).to_numpy(zero_copy_only=False)
    if width >= 2**62:
        floors = [max(int(number) // width * width, least) for number in numbers]
        return pa.array(floors, pa.int64(), mask=nulls).cast(kind)
    rest = np.mod(numbers, np.int64(width))
    # What lies below the least number of the type begins at it.
    floors_n = np.where(numbers < least + rest, least, numbers - rest)
    return pa.array(floors_n, pa.int64(), mask=nulls).cast(kind)


def _floored(value: Decimal, width: Decimal, scale: int) -> Decimal:
    with localcontext() as context:
        context.prec = 80
        times = (value / width).to_integral_value(ROUND_FLOOR)
        return (times * width).quantize(Decimal(1).scaleb(-scale))


# made-up values


@lru_cache(maxsize=64)
def faker(provider: str) -> Callable[[int], str]:
    """A function from a seed to a made-up text.

    Raises:
        MaskError: the library is not there, or has no such words.
    """
    try:
        from faker import Faker
    except ImportError:
        raise MaskError(
            f"the rule fake:{provider} needs the library Faker, which is not installed",
            hint="pip install 'anabranch[masks]'",
        ) from None
    source = Faker(use_weighting=False)
    make = None if provider.startswith(_NOT_FAKE) else getattr(source, provider, None)

    def made(seed: int) -> str:
        assert make is not None
        source.seed_instance(seed)
        return str(make())

    try:
        known = callable(make) and isinstance(make(), str)
    except Exception:  # noqa: BLE001 - whatever a provider that is not meant for this raises
        known = False
    if not known:
        raise MaskError(
            f"there is no fake:{provider}",
            hint="the words are those of Faker that make a text: fake:name, fake:email, fake:city, fake:phone_number",
        )
    return made


def faker_version() -> str:
    """The version of Faker: another one may make up other values."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("faker")
    except PackageNotFoundError:
        return "none"


def faked(key: Key, provider: str, value: str) -> str:
    """What stands for a value: the same for the same value under one key."""
    return faker(provider)(key.seed(f"fake {provider}", value.encode()))
