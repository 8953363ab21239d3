"""The reference lists what the code has: no more, and nothing is missing."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec import inspect as types

import awaken
from awaken.cli.failure import Exit
from awaken.cli.main import app
from awaken.cli.runs import runs
from awaken.cli.serve import serve
from awaken.cli.worker import worker
from awaken.console.app import CONSOLE_OPERATIONS
from awaken.domain import errors
from awaken.domain.event import CHANNELS, KINDS, TABLE
from awaken.domain.ids import DispatchId
from awaken.domain.log import MESSAGE_COMMITTED, LoggedEvent, completed
from awaken.domain.run import Termination
from awaken.http.problems import STATUS
from awaken.http.settings import HttpSettings
from awaken.http.submission import RunCreate, ThreadCreate
from awaken.http.table import OPERATIONS
from awaken.mailbox.settings import MailboxSettings
from awaken.telemetry import names
from tests.docs.repository import PAGES, ROOT

REFERENCE = ROOT / "docs/reference"
FOR_DRIVERS = {"take", "finish", "suspend", "unfinished"}
"""What the function driver does with a context; an agent never calls these."""
_CODE = re.compile(r"`([^`]+)`")


def first_cells(page: Path, heading: str | None = None) -> list[str]:
    """What stands in code in the first column of the tables of a page, or of those below one heading."""
    text = page.read_text()
    if heading is not None:
        text = re.split(r"^## ", text.partition(f"## {heading}\n")[2], maxsplit=1, flags=re.MULTILINE)[0]
    rows = [line.split("|")[1] for line in text.splitlines() if line.startswith("|")]
    return [found for row in rows for found in _CODE.findall(row)]


def test_every_exit_code_is_listed_once() -> None:
    rows = re.findall(r"^\| (\d+) \| (.+) \|$", (REFERENCE / "cli.md").read_text(), re.MULTILINE)
    assert [int(code) for code, _ in rows] == [*Exit]
    said = {int(code): text for code, text in rows}
    assert "it is starting or stopping" in said[Exit.UNREACHABLE], "as `failure_of` has it"


METHODS = ("GET ", "POST ", "PUT ", "PATCH ", "DELETE ")


def test_every_route_is_listed_once() -> None:
    listed = [cell for cell in first_cells(REFERENCE / "http.md") if cell.startswith(METHODS)]
    assert sorted(listed) == sorted(
        f"{operation.method} {operation.path}" for operation in (*OPERATIONS, *CONSOLE_OPERATIONS)
    )


def test_every_route_that_a_message_names_is_there() -> None:
    """What somebody is told to do can be done: by routes in docstrings and messages, in all of the code."""
    there = {(operation.method, re.sub(r"{\w+}", "{}", operation.path)) for operation in OPERATIONS}
    assert [
        f"{page.name}: {method} {path}"
        for page in sorted((ROOT / "src/awaken").rglob("*.py"))
        for method, path in re.findall(r"\b(GET|POST|PUT|PATCH|DELETE) (/v1/[\w/{}-]+)", page.read_text())
        if (method, re.sub(r"{\w+}|\b[A-Z_]{2,}\b", "{}", path)) not in there
    ] == []


def test_every_field_of_a_submit_is_listed() -> None:
    text = (REFERENCE / "http.md").read_text()
    fields = (*RunCreate.__struct_fields__, *ThreadCreate.__struct_fields__)
    assert [name for name in fields if f"`{name}`" not in text] == []


def test_every_problem_is_listed_with_its_status() -> None:
    rows = [line.split("|") for line in (REFERENCE / "errors.md").read_text().splitlines() if line.startswith("| ")]
    listed = {code: row[1].strip() for row in rows for code in _CODE.findall(row[2]) if row[1].strip().isdigit()}
    assert listed == {code: str(status) for code, status in STATUS.items()}


def test_every_exception_is_in_the_tree() -> None:
    tree = (REFERENCE / "errors.md").read_text()
    named = [name for name, value in vars(errors).items() if inspect.isclass(value)]
    assert [name for name in named if not re.search(rf"\b{name}\b", tree)] == []


def test_every_kind_of_event_is_listed_once() -> None:
    listed = [cell for cell in first_cells(REFERENCE / "events.md") if cell[0].isupper()]
    assert sorted(listed) == sorted(CHANNELS)


def rows_of_kinds() -> dict[str, list[str]]:
    """The cells behind each kind's name, with what stands in code in them."""
    rows = [line.split("|") for line in (REFERENCE / "events.md").read_text().splitlines() if line.startswith("| `")]
    return {kind: _CODE.findall("|".join(row[2:])) for row in rows for kind in _CODE.findall(row[1])}


@pytest.mark.parametrize("payload", KINDS, ids=lambda payload: payload.__name__)
def test_every_event_of_an_executor_is_listed_with_its_fields(payload: type[Any]) -> None:
    assert rows_of_kinds()[KINDS[payload]] == list(payload.__struct_fields__)


@pytest.mark.parametrize("name", [name for name, kind in TABLE.items() if kind.payload not in KINDS])
def test_every_event_of_the_queue_is_listed_with_its_fields(name: str) -> None:
    assert rows_of_kinds()[name] == [*joined_fields(name), *TABLE[name].payload.__struct_fields__]


NEVER_WRITTEN = {"committed", "compacted", "interrupt", "manual_pause", "new_run", "rate_limit", "suspended"}
"""Words that fields of events have, and that nothing of this package says yet."""


def words_of(info: Any) -> Iterator[str]:
    """The words that a field of an event can have, where these are a closed list."""
    match info:
        case types.LiteralType(values=values):
            yield from [value for value in values if isinstance(value, str)]
        case types.EnumType(cls=cls):
            yield from [member.value for member in cls]
        case types.UnionType(types=members):
            for member in members:
                yield from words_of(member)
        case types.VarTupleType(item_type=item):
            yield from words_of(item)
        case types.StructType(cls=cls, fields=fields) if cls is Termination:
            for field in fields:
                yield from words_of(field.type)
        case _:
            return


@pytest.mark.parametrize("name", TABLE)
def test_every_word_that_a_field_of_an_event_can_have_is_explained(name: str) -> None:
    pages = (REFERENCE / "events.md", ROOT / "docs/concepts/threads-runs-dispatches.md")
    in_code = [code for page in pages for line in page.read_text().splitlines() for code in _CODE.findall(line)]
    explained = set(re.findall(r"\w+", " ".join(in_code)))
    info = types.type_info(TABLE[name].payload)
    assert isinstance(info, types.StructType)

    words = {word for field in info.fields for word in words_of(field.type)}

    assert sorted(words - explained - NEVER_WRITTEN) == []


def test_every_code_of_a_termination_is_listed() -> None:
    used: set[str] = set()
    for path in (ROOT / "src" / "awaken").rglob("*.py"):
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(call, ast.Call) and ast.unparse(call.func) in ("Termination", "self._ended_early"):
                codes = [each.value for each in call.keywords if each.arg == "code"]
                codes += call.args[:1] if ast.unparse(call.func) == "self._ended_early" else []
                used |= {str(code.value) for code in codes if isinstance(code, ast.Constant)}
    [row] = [line for line in (REFERENCE / "events.md").read_text().splitlines() if line.startswith("| `termination`")]
    listed = {*_CODE.findall(row.partition("The `code` of")[2])} - {"stopped", "error"}

    assert used == listed


def joined_fields(name: str) -> list[str]:
    """What stands in front of a stored payload when it is read: the dispatch, in those about one."""
    if name == MESSAGE_COMMITTED:
        return []
    [found] = completed([LoggedEvent(name, msgspec.Raw(b"{}"))], {}, DispatchId("d"))
    return list(msgspec.json.decode(found.payload))


@pytest.mark.parametrize(("heading", "settings"), [("Delivery", MailboxSettings), ("HTTP", HttpSettings)])
def test_every_setting_is_listed(heading: str, settings: type[Any]) -> None:
    listed = {cell.partition(".")[0] for cell in first_cells(REFERENCE / "settings.md", heading)}
    assert listed == set(settings.__struct_fields__)


def test_every_option_of_serve_worker_and_runs_is_listed() -> None:
    text = (REFERENCE / "cli.md").read_text()
    options = [name for command in (serve, worker, runs) for name in inspect.signature(command).parameters]
    hidden = {"target": "MODULE:APP", "bind_to": "--bind", "as_json": "--json", "until_stdin_ends": "--processes"}
    flags = [hidden.get(name, f"--{name.replace('_', '-')}") for name in options]
    assert [flag for flag in flags if flag not in text] == []


def test_every_metric_that_the_pages_name_exists() -> None:
    named = {found for page in PAGES for found in re.findall(r"\bawaken_[a-z_]+\b", page.read_text())}
    known = {metric.name for metric in vars(names).values() if isinstance(metric, names.Metric)}
    assert sorted(named - known) == []


def test_every_metric_is_listed_with_its_labels() -> None:
    rows = [line.split("|")[1:3] for line in (ROOT / "docs/howto/observe.md").read_text().splitlines()]
    listed = {
        name: set(re.findall(r"[a-z]+", row[1])) for row in rows if len(row) == 2 for name in _CODE.findall(row[0])
    }
    metrics = [metric for metric in vars(names).values() if isinstance(metric, names.Metric)]
    assert [metric.name for metric in metrics if not set(metric.labels) <= listed.get(metric.name, {"missing"})] == []
    assert [metric.name for metric in metrics if metric.name not in listed] == []


def test_everything_public_is_described() -> None:
    text = (REFERENCE / "python.md").read_text()
    described = [name for name in awaken.__all__ if f"{name}" in text]
    members = [
        name
        for cls in (awaken.Awaken, awaken.RunHandle, awaken.Context)
        for name, value in vars(cls).items()
        if not name.startswith("_") and (inspect.isfunction(value) or isinstance(value, property))
    ]
    assert described == list(awaken.__all__)
    assert [name for name in members if f"`{name}" not in text and name not in FOR_DRIVERS] == []


def test_every_command_is_listed_once() -> None:
    text = (REFERENCE / "cli.md").read_text().partition("\n\n")[2].partition("\n\n")[0]
    listed = re.findall(r"^\| `awaken ([a-z]+(?: [a-z]+)?)", text, re.MULTILINE)
    assert sorted({each.partition(" ")[0] for each in listed}) == sorted(
        [name for name in app if not name.startswith("-")]
    )
    assert len(listed) == len(set(listed))
