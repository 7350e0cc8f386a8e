"""Rendered files, read back as strictly as an API server reads them."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Set
from dataclasses import dataclass
from typing import Any

import yaml

Node = dict[str, Any]


@dataclass(frozen=True)
class Object:
    """One document of a file."""

    file: str
    body: Node

    @property
    def kind(self) -> str:
        return str(self.body.get("kind", ""))

    @property
    def name(self) -> str:
        return str(self.at("metadata", "name") or "")

    @property
    def labels(self) -> Mapping[str, str]:
        return self.at("metadata", "labels") or {}

    @property
    def pod(self) -> Node | None:
        """The pod that it makes, if it makes one: metadata and spec."""
        template = self.at("spec", "jobTemplate", "spec", "template") or self.at("spec", "template")
        return template if isinstance(template, dict) else None

    def at(self, *path: str) -> Any:
        """What stands there, or None."""
        node: Any = self.body
        for step in path:
            node = node.get(step) if isinstance(node, dict) else None
        return node

    def __str__(self) -> str:
        return f"{self.file}: {self.kind} {self.name}"


class Pods:
    """What makes pods, found by their labels without looking at all of them."""

    def __init__(self, objects: Iterable[Object]) -> None:
        self._all = [each for each in objects if each.pod]
        self._labelled: dict[tuple[str, str], list[Object]] = {}
        for each in self._all:
            for label in self._labels(each):
                self._labelled.setdefault(label, []).append(each)

    def selected(self, selector: Mapping[str, str]) -> list[Object]:
        """Those that have all the labels of `selector`."""
        nearest = min((self._labelled.get(label, []) for label in selector.items()), key=len, default=self._all)
        return [each for each in nearest if selector.items() <= self._labels(each)]

    @staticmethod
    def _labels(each: Object) -> Set[tuple[str, str]]:
        labels: Mapping[str, str] = (each.pod or {})["metadata"].get("labels", {})
        return labels.items()


class _Strict(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]  # in C where PyYAML has it
    """Refuses a key that is given twice, of which YAML readers otherwise take the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        twice = next((key for at, key in enumerate(keys) if key in keys[:at]), None)
        if twice is not None:
            raise yaml.constructor.ConstructorError(None, None, f'"{twice}" is given twice', node.start_mark)
        made: dict[Hashable, Any] = super().construct_mapping(node, deep)
        return made


def _text(loader: _Strict, node: yaml.ScalarNode) -> str:
    return str(loader.construct_scalar(node))


# A lone `=` is a type of its own in YAML 1.1. PyYAML alone knows it, and then has no value for it.
_Strict.add_constructor("tag:yaml.org,2002:value", _text)


def parse_objects(file: str, text: str) -> list[Object]:
    """The objects of a file, without the files that kustomize itself reads.

    Raises:
        ValueError: it is no YAML, or one of its documents is no object.
    """
    try:
        # A subclass of SafeLoader.
        documents = list(yaml.load_all(text, _Strict))
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from None
    if any(not isinstance(document, dict) for document in documents):
        raise ValueError("a document is no object; is there a --- too many?")
    return [Object(file, document) for document in documents if document.get("kind") != "Kustomization"]
