"""The content version once more, value by value in plain Python integers, as `anabranch.lake.version` defines it."""

import datetime as dt
import decimal
import struct
import uuid

import pyarrow as pa
from pyarrow import types

ONES = 2**64 - 1
G = 0x9E3779B97F4A7C15
M1, M2 = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
M3, M4 = 0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53
EXACT = decimal.Context(prec=100)


def s(n):
    z = (n + 1) * G & ONES
    z = (z ^ z >> 30) * M1 & ONES
    z = (z ^ z >> 27) * M2 & ONES
    return z ^ z >> 31


def d(seed, i):
    return s(seed ^ s(i))


def mix(x):
    x = x * M1 & ONES
    x ^= x >> 32
    x = x * M2 & ONES
    return x ^ x >> 29


def close(h, n, seed, m):
    h = ((h + n * G & ONES) ^ seed) * m & ONES
    return h ^ h >> 32


def constants(seed):
    k1, k2, *others = [d(seed, 2**32 + i) for i in range(6)]
    return k1 | 1, k2 | 1, *others


def of_word(value, seed):
    h = mix(value & ONES ^ seed)
    return h, h


def of_bytes(octets, seed):
    _, _, _, _, z1, z2 = constants(seed)
    h1 = h2 = 0
    for w in range((len(octets) + 7) // 8):
        piece = octets[8 * w : 8 * w + 8]
        u = (int.from_bytes(piece, "little") << 8 * (8 - len(piece))) * M1 & ONES
        u ^= u >> 32
        u = u * (s(2 * w) | 1) & ONES
        u ^= u >> 29
        h1 = h1 + u & ONES
        h2 ^= u * (s(2 * w + 1) | 1) & ONES
    return close(h1, len(octets), z1, M3), close(h2, len(octets), z2, M4)


def of_list(cells, seed):
    _, _, _, _, z1, z2 = constants(seed)
    h1 = sum(mix(c1 ^ (p + 1) * M3 & ONES) for p, (c1, _) in enumerate(cells)) & ONES
    h2 = sum(mix(c2 ^ (p + 1) * M4 & ONES) for p, (_, c2) in enumerate(cells)) & ONES
    return close(h1, len(cells), z1, M3), close(h2, len(cells), z2, M4)


def of_struct(cells, seed):
    _, _, _, _, a, b = constants(seed)
    for i, (c1, c2) in enumerate(cells):
        k1, k2, *_ = constants(d(seed, i))
        a = (a ^ c1) * k1 & ONES
        b = (b + c2) * k2 & ONES
    a = (a ^ a >> 32) * M1 & ONES
    a = (a ^ a >> 29) * M2 & ONES
    b = (b ^ b >> 33) * M3 & ONES
    b = (b ^ b >> 28) * M4 & ONES
    return a ^ a >> 32, b ^ b >> 31


def lanes(value, kind, seed):
    """The two lanes of a Python value of an Arrow type."""
    if isinstance(kind, pa.BaseExtensionType):
        kind = kind.storage_type
    if types.is_dictionary(kind) or types.is_run_end_encoded(kind):
        kind = kind.value_type
    if value is None:
        return constants(seed)[2:4]
    if isinstance(value, uuid.UUID):
        return of_bytes(value.bytes, seed)
    if types.is_boolean(kind) or types.is_integer(kind):
        return of_word(int(value), seed)
    if types.is_floating(kind):
        number = float(value)
        if number != number:
            return of_word(0x7FF8 << 48, seed)
        return of_word(struct.unpack("<Q", struct.pack("<d", number + 0.0))[0], seed)
    if types.is_decimal(kind):
        unscaled = int(value.scaleb(kind.scale, EXACT))
        width = 16 if kind.precision <= 38 else 32
        return of_bytes(unscaled.to_bytes(width, "little", signed=True), seed)
    if types.is_date(kind):
        return of_word((value - dt.date(1970, 1, 1)).days, seed)
    if types.is_time(kind):
        value = dt.timedelta(
            hours=value.hour, minutes=value.minute, seconds=value.second, microseconds=value.microsecond
        )
        return of_word(value // dt.timedelta(microseconds=1), seed)
    if types.is_timestamp(kind):
        epoch = dt.datetime(1970, 1, 1, tzinfo=dt.UTC if value.tzinfo else None)
        return of_word((value - epoch) // dt.timedelta(microseconds=1), seed)
    if types.is_map(kind):
        first = d(seed, 0)
        pairs = [
            (lanes(k, kind.key_type, d(first, 0)), lanes(v, kind.item_type, d(first, 1))) for k, v in value
        ]
        return of_list([of_struct(pair, first) for pair in pairs], seed)
    if types.is_struct(kind):
        fields = [kind.field(i) for i in range(kind.num_fields)]
        return of_struct([lanes(value[f.name], f.type, d(seed, i)) for i, f in enumerate(fields)], seed)
    if isinstance(value, list):
        return of_list([lanes(v, kind.value_type, d(seed, 0)) for v in value], seed)
    return of_bytes(value.encode() if isinstance(value, str) else value, seed)


def sum_of(table):
    """What `Content.sum` of the table must be."""
    high = low = 0
    columns = [(column.to_pylist(), field.type) for column, field in zip(table.columns, table.schema)]
    for row in range(table.num_rows):
        cells = [lanes(values[row], kind, d(s(0), i)) for i, (values, kind) in enumerate(columns)]
        a, b = of_struct(cells, s(0))
        high, low = high + a & ONES, low + b & ONES
    return high << 64 | low
