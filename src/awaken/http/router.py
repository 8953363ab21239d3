"""From a method and a path to an operation.

Above: `app`. Below: the operation table.
Holds: a word in a template goes before a parameter in the same place; a path is found with and without a slash at its
end; the cost depends on the length of the path only.
"""

from __future__ import annotations

from collections.abc import Iterable

from awaken.http.operation import Operation
from awaken.http.problems import Problem


class _Node:
    __slots__ = ("name", "operations", "parameter", "words")

    def __init__(self) -> None:
        self.words: dict[str, _Node] = {}
        self.parameter: _Node | None = None
        self.name = ""
        self.operations: dict[str, Operation] = {}


class Router:
    """Built once; finds by walking the path's segments."""

    def __init__(self, operations: Iterable[Operation]) -> None:
        self._root = _Node()
        for operation in operations:
            node = self._root
            for segment in operation.path.split("/")[1:]:
                node = _grown(node, segment)
            assert operation.method not in node.operations, f"{operation.path} is listed twice"
            node.operations[operation.method] = operation

    def find(self, method: str, path: str) -> tuple[Operation, dict[str, str]]:
        """The operation and the parameters of its path. HEAD finds what GET does.

        Raises:
            Problem: `not_found`, or `method_not_allowed` with an `Allow` header.
        """
        ids: dict[str, str] = {}
        node = self._root
        segments = path.split("/")[1:]
        if len(segments) > 1 and not segments[-1]:
            segments.pop()
        for segment in segments:
            following = node.words.get(segment)
            if following is None and segment:
                following = node.parameter
                if following is not None:
                    ids[following.name] = segment
            if following is None:
                raise Problem("not_found", "there is nothing at this path", facts={"id": path[:200]})
            node = following
        operation = node.operations.get("GET" if method == "HEAD" else method)
        if operation is None:
            raise _refusal(node, path)
        return operation, ids


def _grown(node: _Node, segment: str) -> _Node:
    if not segment.startswith("{"):
        return node.words.setdefault(segment, _Node())
    if node.parameter is None:
        node.parameter = _Node()
        node.parameter.name = segment[1:-1]
    assert node.parameter.name == segment[1:-1], "one name per place"
    return node.parameter


def _refusal(node: _Node, path: str) -> Problem:
    if not node.operations:
        return Problem("not_found", "there is nothing at this path", facts={"id": path[:200]})
    methods = [*node.operations, "HEAD"] if "GET" in node.operations else [*node.operations]
    allowed = ", ".join(sorted(methods))
    return Problem("method_not_allowed", f"this path serves {allowed} only", headers={"Allow": allowed})
