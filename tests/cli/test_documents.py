"""`--json`: what each command prints for programs is what its reference says, against a live server."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import jsonschema_rs
import pytest

from awaken.cli.failure import Exit
from awaken.client import Client
from awaken.http.openapi import describe
from awaken.http.table import OPERATIONS
from awaken.testing.behaviour import behaviour
from tests.cli.conftest import Awaken
from tests.cli.test_options import COMMANDS
from tests.docs.repository import ROOT

SCHEMAS: Final[dict[str, Any]] = json.loads(describe(OPERATIONS, "/"))["components"]["schemas"]
REFERENCE: Final = (ROOT / "docs/reference/cli.md").read_text().partition("## `--json`\n")[2].partition("\n## ")[0]
ROWS: Final = dict(
    [
        (name, cells[1])
        for cells in re.findall(r"^\| (`.+`) \| (.+) \|$", REFERENCE, re.MULTILINE)
        for name in re.findall(r"`([^`]+)`", cells[0])
    ]
)
LOCAL: Final = {"db", "db backup", "move"}
"""Their fields are tested with them."""
_numbers = itertools.count()


def test_every_document_is_in_the_reference() -> None:
    has_json = {name for name, arguments in COMMANDS.items() if any(each.name == "--json" for each in arguments)}
    assert {re.sub(r" (RUN|THREAD)$", "", name) for name in ROWS} == has_json


class Given:
    """Something of every kind that a command is about."""

    def __init__(self, client: Client) -> None:
        self.thread = f"documents-{next(_numbers)}"
        self.done = client.run(self.thread, "hi", agent="talk").run_id
        self.stuck = client.submit(f"{self.thread}-stuck", "hi", agent="stuck")
        self.queued = client.submit(f"{self.thread}-stuck", "hi", agent="stuck").record.dispatch_id
        self.message = client.steer(f"{self.thread}-stuck", "look").message_ids[0]
        with client.stream(f"{self.thread}-asking", "hi", agent="asking") as stream:
            list(stream)  # it ends where the run waits
        [self.ticket] = [each.ticket_id for each in client.list_tickets(thread_id=f"{self.thread}-asking")]
        for _ in range(2):
            client.wait(client.submit(f"{self.thread}-broken", "hi", agent="broken").run_id)
        letters = client.list_dead_letters(thread_id=f"{self.thread}-broken")
        self.dead, self.dead_too = [each.dispatch_id for each in letters]
        self.schedule = client.create_schedule(self.thread, "hi", agent="talk", every_s=3_600).name


CALLS: Final[dict[str, Callable[[Given], list[str]]]] = {
    "run": lambda given: ["talk", "hi"],
    "watch": lambda given: [given.done],
    "tail": lambda given: [given.done],
    "show RUN": lambda given: [given.done],
    "show THREAD": lambda given: [given.thread],
    "why": lambda given: [given.done],
    "send": lambda given: [f"{given.thread}-stuck", "too"],
    "pending": lambda given: [f"{given.thread}-stuck"],
    "pending edit": lambda given: [f"{given.thread}-stuck", given.message, "elsewhere"],
    "retry": lambda given: [given.done],
    "threads": lambda given: [],
    "runs": lambda given: [],
    "tickets": lambda given: ["--state", "all"],
    "decide": lambda given: [given.ticket, "--answer", "Ann"],
    "queue": lambda given: ["--status", "all"],
    "queue show": lambda given: [given.queued],
    "queue place": lambda given: [given.queued, "--priority", "3"],
    "queue cancel": lambda given: [given.queued],
    "dead": lambda given: [],
    "dead --group": lambda given: [],
    "dead show": lambda given: [given.dead],
    "dead retry": lambda given: [given.dead],
    "dead retry --agent broken": lambda given: ["--dry-run"],
    "dead discard": lambda given: [given.dead_too, "--reason", "over"],
    "dead discard --agent broken": lambda given: ["--dry-run", "--reason", "over"],
    "schedules": lambda given: [],
    "schedules add": lambda given: [f"{given.thread}-other", "hi", "--every", "3600", "--agent", "talk"],
    "schedules show": lambda given: [given.schedule],
    "schedules pause": lambda given: [given.schedule],
    "schedules resume": lambda given: [given.schedule],
    "agents": lambda given: [],
    "agents show": lambda given: ["carrier"],
    "agents pause": lambda given: ["lost"],
    "agents resume": lambda given: ["lost"],
    "top": lambda given: [],
    "stats": lambda given: [],
    "stats --agent talk": lambda given: [],
    "system": lambda given: [],
    "system settings": lambda given: [],
    "workers": lambda given: [],
    "system sweep": lambda given: [],
    "system purge": lambda given: [],
    "drain": lambda given: [],
    "undrain": lambda given: [],
    "cancel": lambda given: [given.stuck.run_id],
    "interrupt": lambda given: [f"{given.thread}-stuck"],
}
"""In an order in which each has something to do."""


@behaviour("SRV-046")
def test_what_each_command_prints_is_what_the_reference_says(
    awaken: Awaken, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWAKEN_URL", server)
    with Client(server) as client:
        given = Given(client)
    wrong: dict[str, str] = {}
    for command, arguments in CALLS.items():
        words = [word for word in command.split() if not word.isupper()]
        shown = awaken(*words, *arguments(given), "--json")
        assert (shown.code, shown.err) == (Exit.OK, ""), (command, shown)
        documented = ROWS[re.sub(r" --.*", "", command)]
        names = re.findall(r"`([A-Z]\w+)`", documented)
        name = names[-1] if " --" in command else names[0]
        documents = (
            [json.loads(line) for line in shown.out.splitlines()] if command == "tail" else [json.loads(shown.out)]
        )
        if "`items`" in documented:
            assert [*documents[0]] == ["items"], command
            documents = documents[0]["items"]
        assert documents, command
        for document in documents:
            for error in check(name, document):
                wrong.setdefault(f"{command}: {name}", error)
    assert wrong == {}
    assert {re.sub(r" --.*", "", command) for command in CALLS} == {*ROWS} - LOCAL - {"doctor"}
    doctor = awaken("doctor", server, "--json")
    assert (doctor.code, json.loads(doctor.out)) == (Exit.OK, {"items": []})


def check(name: str, document: Any) -> list[str]:
    """What of the document is not as its schema says."""
    schema = {"$ref": f"#/components/schemas/{name}", "components": {"schemas": SCHEMAS}}
    validator = jsonschema_rs.Draft202012Validator(schema)
    return [f"{'/'.join(map(str, error.instance_path))}: {error.message}" for error in validator.iter_errors(document)]


@pytest.mark.parametrize("command", sorted(LOCAL))
def test_fields_of_local_documents_are_listed(command: str, tmp_path: Path) -> None:
    from awaken.store.inspection import Part
    from awaken.store.moving import Moved
    from awaken.store.sqlite.backup import Backup
    from awaken.store.sqlite.inspection import Inspection

    made = {"db": (Inspection, Part), "db backup": (Backup,), "move": (Moved,)}[command]
    listed = re.findall(r"`([a-z_]+)`", ROWS[command])
    for kind in made:
        assert {*kind.__struct_fields__} <= {*listed}, command
