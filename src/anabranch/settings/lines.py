"""On which line each key of a TOML file stands, which `tomllib` does not say.

It reads text that `tomllib` has accepted, so it need not know what is wrong TOML, only where things end.
"""

from __future__ import annotations

import re
import tomllib

KeyPath = tuple[str | int, ...]

_BLANK = re.compile(r"(?:[ \t\n]|#[^\n]*)*")
_SPACE = re.compile(r"[ \t]*")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_STRINGS = {
    '"""': re.compile(r'"""(?:[^"\\]|\\.|"{1,2}(?!"))*"{3,5}', re.DOTALL),
    "'''": re.compile(r"'''(?:[^']|'{1,2}(?!'))*'{3,5}", re.DOTALL),
    '"': re.compile(r'"(?:[^"\\]|\\.)*"'),
    "'": re.compile(r"'[^']*'"),
}
_SCALAR = re.compile(r"[^,\]}#\n]+")


def key_lines(text: str) -> dict[KeyPath, int]:
    """The line (from 1) of every table, key and array element of valid TOML; elements by their index.

    A table that only occurs as a part of other headers or dotted keys stands where it occurs first.
    """
    return _Scanner(text.replace("\r\n", "\n")).scan()


def line_of(lines: dict[KeyPath, int], path: KeyPath) -> int:
    """The line of a key, or of the nearest thing around it that is in the file; 1 for the file as such."""
    while path and path not in lines:
        path = path[:-1]
    return lines.get(path, 1)


def dotted(path: KeyPath) -> str:
    """A key as one would write it: ``environments."a b".promote`` and ``project.source[1]``."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            quoted = (
                part
                if _BARE_KEY.fullmatch(part)
                else '"' + part.replace("\\", "\\\\").replace('"', '\\"') + '"'
            )
            text += f".{quoted}" if text else quoted
    return text


class _Scanner:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.lines: dict[KeyPath, int] = {}
        self.sizes: dict[KeyPath, int] = {}  # arrays of tables: how many there are by now
        self._counted = (0, 1)

    def scan(self) -> dict[KeyPath, int]:
        table: KeyPath = ()
        while True:
            self._skip(_BLANK)
            if self.at >= len(self.text):
                return self.lines
            if self.text[self.at] == "[":
                table = self._header()
            else:
                self._pair(table)

    def _header(self) -> KeyPath:
        line, array = self._line(), self.text.startswith("[[", self.at)
        self.at += 2 if array else 1
        parts = self._key()
        self.at += 2 if array else 1
        path: KeyPath = ()
        for part in parts[:-1]:
            path = self._in_array((*path, part))
            self.lines.setdefault(path, line)
        path = (*path, parts[-1])
        if array:
            self.lines.setdefault(path, line)
            self.sizes[path] = self.sizes.get(path, 0) + 1
            path = self._in_array(path)
        self.lines[path] = line
        return path

    def _in_array(self, path: KeyPath) -> KeyPath:
        """Within an array of tables a header goes on with its newest element."""
        return (*path, self.sizes[path] - 1) if path in self.sizes else path

    def _pair(self, table: KeyPath) -> None:
        line = self._line()
        path = table
        for part in self._key():
            path = (*path, part)
            self.lines.setdefault(path, line)
        self.at += 1  # the equals sign
        self._skip(_SPACE)
        self._value(path)

    def _key(self) -> list[str]:
        parts = []
        while True:
            self._skip(_SPACE)
            quote = self.text[self.at]
            if quote in "\"'":
                raw = self._take(_STRINGS[quote])
                parts.append(str(tomllib.loads(f"key = {raw}")["key"]))
            else:
                parts.append(self._take(_BARE_KEY))
            self._skip(_SPACE)
            if self.text[self.at] != ".":
                return parts
            self.at += 1

    def _value(self, path: KeyPath) -> None:
        first = self.text[self.at]
        if first == "[":
            self._array(path)
        elif first == "{":
            self._inline_table(path)
        else:
            triple = self.text[self.at : self.at + 3]
            self._take(_STRINGS.get(triple) or _STRINGS.get(first) or _SCALAR)

    def _array(self, path: KeyPath) -> None:
        self.at += 1
        for index in range(len(self.text)):
            self._skip(_BLANK)
            if self.text[self.at] == "]":
                break
            self.lines[(*path, index)] = self._line()
            self._value((*path, index))
            self._skip(_BLANK)
            if self.text[self.at] == ",":
                self.at += 1
        self.at += 1

    def _inline_table(self, path: KeyPath) -> None:
        self.at += 1
        while True:
            self._skip(_BLANK)  # TOML 1.1 allows line breaks here
            if self.text[self.at] == "}":
                break
            self._pair(path)
            self._skip(_BLANK)
            if self.text[self.at] == ",":
                self.at += 1
        self.at += 1

    def _line(self) -> int:
        counted, line = self._counted
        self._counted = (self.at, line + self.text.count("\n", counted, self.at))
        return self._counted[1]

    def _skip(self, pattern: re.Pattern[str]) -> None:
        match = pattern.match(self.text, self.at)
        self.at = match.end() if match else self.at

    def _take(self, pattern: re.Pattern[str]) -> str:
        match = pattern.match(self.text, self.at)
        if match is None:
            raise ValueError(f"not TOML at line {self._line()}")
        self.at = match.end()
        return match[0]
