"""From a method and a path to an operation, and to the form of an error where there is none.

Above: `app`. Below: the operations it was built from.
Holds: a word in a template goes before a parameter in the same place; a path is found with and without a slash at its
end; the cost depends on the length of the path only. Operations that could be taken for one another are refused when
the router is built.

Source: SRV-007.
"""

from __future__ import annotations

from collections.abc import Iterable

from awaken.domain.errors import ValidationError
from awaken.http.operation import PROBLEM_DOCUMENTS, ErrorRenderer, Operation
from awaken.http.problems import Problem


class _Node:
    """A place in the tree of paths. `errors`: every form in which the operations at and below it report errors."""

    __slots__ = ("errors", "example", "name", "operations", "parameter", "words")

    def __init__(self) -> None:
        self.words: dict[str, _Node] = {}
        self.parameter: _Node | None = None
        self.name = ""
        """Of the parameter that leads here."""
        self.example = ""
        """A path on which the parameter has this name."""
        self.operations: dict[str, Operation] = {}
        self.errors: list[ErrorRenderer] = []

    def following(self, segment: str) -> _Node | None:
        """Where the segment of a path leads."""
        found = self.words.get(segment)
        return self.parameter if found is None and segment else found


class Router:
    """Built once; finds by walking the path's segments.

    Raises:
        ValidationError: Two operations have one name, or one method on one path, or two names for one parameter.
    """

    def __init__(self, operations: Iterable[Operation]) -> None:
        self._root = _Node()
        names: set[str] = set()
        for operation in operations:
            if operation.id in names:
                raise ValidationError(f"two operations have the name {operation.id!r}")
            names.add(operation.id)
            self._add(operation)

    def _add(self, operation: Operation) -> None:
        nodes = [self._root]
        for segment in operation.path.split("/")[1:]:
            nodes.append(_grown(nodes[-1], segment, operation))
        for node in nodes:
            if operation.errors not in node.errors:
                node.errors.append(operation.errors)
        other = nodes[-1].operations.setdefault(operation.method, operation)
        if other is not operation:
            raise ValidationError(
                f"{operation.id!r} and {other.id!r} are both {operation.method} {operation.path}: serve one of them"
            )

    def find(self, method: str, path: str) -> tuple[Operation, dict[str, str]]:
        """The operation and the parameters of its path. HEAD finds what GET does.

        Raises:
            Problem: `not_found`, or `method_not_allowed` with an `Allow` header.
        """
        ids: dict[str, str] = {}
        node = self._root
        for segment in _segments(path):
            following = node.following(segment)
            if following is None:
                raise _nothing(path)
            if following.name:
                ids[following.name] = segment
            node = following
        operation = node.operations.get("GET" if method == "HEAD" else method)
        if operation is None:
            raise _refusal(node, path)
        return operation, ids

    def errors_at(self, path: str) -> ErrorRenderer:
        """How errors are reported to whoever asked for a path, whether or not there is anything.

        As by the operations at and below the last place of it that leads anywhere, where those agree: what has a
        prefix to itself reports in its own form whatever is refused there. Else as by this API.
        """
        node = self._root
        for segment in _segments(path):
            following = node.following(segment)
            if following is None:
                break
            node = following
        return node.errors[0] if len(node.errors) == 1 else PROBLEM_DOCUMENTS


def _segments(path: str) -> list[str]:
    segments = path.split("/")[1:]
    if len(segments) > 1 and not segments[-1]:
        segments.pop()
    return segments


def _grown(node: _Node, segment: str, operation: Operation) -> _Node:
    """The node where the segment of a template leads, made if need be."""
    if not segment.startswith("{"):
        return node.words.setdefault(segment, _Node())
    name = segment[1:-1]
    if node.parameter is None:
        node.parameter = _Node()
        node.parameter.name, node.parameter.example = name, operation.path
    if node.parameter.name != name:
        raise ValidationError(f"{operation.path} and {node.parameter.example} have different names for one parameter")
    return node.parameter


def _nothing(path: str) -> Problem:
    return Problem("not_found", "there is nothing at this path", facts={"id": path[:200]})


def _refusal(node: _Node, path: str) -> Problem:
    if not node.operations:
        return _nothing(path)
    methods = [*node.operations, "HEAD"] if "GET" in node.operations else [*node.operations]
    allowed = ", ".join(sorted(methods))
    return Problem("method_not_allowed", f"this path serves {allowed} only", headers={"Allow": allowed})
