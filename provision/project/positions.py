"""Where in a TOML file each key and value stands.

tomllib gives values without places. So once there is something to report, tree-sitter reads the file again; it also
reads a file that is not quite TOML, which is how a key given twice is found.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass

import tree_sitter
import tree_sitter_toml

from provision.project.fault import Path

Position = tuple[int, int]  # line and column, both from 1; a column counts characters


@dataclass(frozen=True)
class Duplicate:
    """A key or table given a second time."""

    path: Path
    place: Position
    first: Position


class Positions:
    """The places of one file. A path that is not in it has the place of the nearest table around it."""

    def __init__(self, source: str) -> None:
        self._lines = source.encode().split(b"\n")
        self._keys: dict[Path, Position] = {}
        self._values: dict[Path, Position] = {}
        self._given: dict[Path, Position] = {}  # by a pair or a [table] header, not merely as part of a longer key
        self._arrays: dict[Path, int] = {}  # [[table]] -> index of its last element
        self.duplicates: list[Duplicate] = []
        parser = tree_sitter.Parser(tree_sitter.Language(tree_sitter_toml.language()))
        base: Path = ()
        for node in parser.parse(source.encode()).root_node.children:
            if node.type in ("table", "table_array_element"):
                base = self._header(node)
                self._pairs(node, base)
            elif node.type == "pair":
                self._pair(node, ())

    def key(self, path: Path) -> Position:
        return self._nearest(path, self._keys)

    def value(self, path: Path) -> Position:
        return self._values.get(path) or self.key(path)

    def _nearest(self, path: Path, places: dict[Path, Position]) -> Position:
        while path and path not in places:
            path = path[:-1]
        return places.get(path, (1, 1))

    def _header(self, node: tree_sitter.Node) -> Path:
        path: Path = ()
        steps = list(_steps(node))
        for number, (step, at) in enumerate(steps, 1):
            path = (*path, step)
            place = self._place(at)
            self._keys.setdefault(path, place)
            if number == len(steps) and node.type == "table":
                self._give(path, place)
            elif number == len(steps):
                self._arrays[path] = self._arrays.get(path, -1) + 1
            if path in self._arrays:
                path = (*path, self._arrays[path])
                self._keys.setdefault(path, place)
        return path

    def _pairs(self, node: tree_sitter.Node, base: Path) -> None:
        for child in node.named_children:
            if child.type == "pair":
                self._pair(child, base)

    def _pair(self, node: tree_sitter.Node, base: Path) -> None:
        path = base
        place = self._place(node)
        for step, at in _steps(node):
            path = (*path, step)
            place = self._place(at)
            self._keys.setdefault(path, place)
        self._give(path, place)
        if node.named_children:
            self._value(node.named_children[-1], path)

    def _value(self, node: tree_sitter.Node, path: Path) -> None:
        self._values.setdefault(path, self._place(node))
        if node.type == "inline_table":
            self._pairs(node, path)
        elif node.type == "array":
            elements = [child for child in node.named_children if child.type != "comment"]
            for index, element in enumerate(elements):
                self._keys.setdefault((*path, index), self._place(element))
                self._value(element, (*path, index))

    def _give(self, path: Path, place: Position) -> None:
        if path in self._given:
            self.duplicates.append(Duplicate(path, place, self._given[path]))
        self._given.setdefault(path, place)

    def _place(self, node: tree_sitter.Node) -> Position:
        row, column = node.start_point
        return row + 1, len(self._lines[row][:column].decode(errors="replace")) + 1


def _steps(node: tree_sitter.Node) -> Iterator[tuple[str, tree_sitter.Node]]:
    """The parts of the key that a pair or a header begins with."""
    for child in node.named_children:
        if child.type == "dotted_key":
            yield from _steps(child)
        elif child.type == "bare_key":
            yield _text(child), child
        elif child.type == "quoted_key":
            # tomllib undoes the escapes: a quoted key is one key, whatever it holds.
            yield next(iter(tomllib.loads(f"{_text(child)} = 0"))), child
        if node.type != "dotted_key":
            return


def _text(node: tree_sitter.Node) -> str:
    return (node.text or b"").decode()
