"""Any payload that an event of a kind may have, for random tests."""

from __future__ import annotations

from functools import cache
from typing import Any

import msgspec
from hypothesis import strategies as st
from msgspec import inspect

from awaken.domain.event import TABLE
from awaken.domain.log import ReadEvent

_ANYTHING = st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=8)
_MOST = 2


@cache
def payloads(kind: str) -> st.SearchStrategy[Any]:
    """The payload as plain values."""
    return _values(inspect.type_info(TABLE[kind].payload))


def events(kinds: st.SearchStrategy[str]) -> st.SearchStrategy[ReadEvent]:
    return kinds.flatmap(lambda kind: payloads(kind).map(lambda payload: event_of(kind, payload)))


def event_of(kind: str, payload: object) -> ReadEvent:
    return ReadEvent(kind, msgspec.Raw(msgspec.json.encode(payload)))


def _values(node: Any) -> st.SearchStrategy[Any]:
    match node:
        case inspect.Metadata(type=inner):
            return _values(inner)
        case inspect.StructType():
            return st.deferred(lambda: _structs(node))
        case inspect.UnionType(types=types):
            return st.one_of([_values(each) for each in types])
        case inspect.LiteralType(values=values):
            return st.sampled_from(sorted(values, key=str))
        case inspect.EnumType(cls=cls):
            return st.sampled_from([each.value for each in cls])
        case inspect.ListType(item_type=item) | inspect.VarTupleType(item_type=item):
            return st.lists(_values(item), max_size=_MOST)
        case inspect.TupleType(item_types=items):
            return st.tuples(*[_values(each) for each in items])
        case inspect.DictType(value_type=value):
            return st.dictionaries(st.text(max_size=4), _values(value), max_size=_MOST)
        case inspect.StrType():
            return st.text(max_size=300)
        case inspect.IntType():
            return st.integers(0, 2**40)
        case inspect.FloatType():
            return st.floats(0, 1e6)
        case inspect.BoolType():
            return st.booleans()
        case inspect.NoneType():
            return st.none()
        case _:
            return _ANYTHING


def _structs(node: inspect.StructType) -> st.SearchStrategy[Any]:
    needed = {each.encode_name: _values(each.type) for each in node.fields if each.required}
    others = {each.encode_name: _values(each.type) for each in node.fields if not each.required}
    tag = {} if node.tag_field is None else {node.tag_field: st.just(node.tag)}
    return st.fixed_dictionaries({**tag, **needed}, optional=others)
