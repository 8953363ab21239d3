"""The shape of the package: imports point one way, and few modules meet the world.

Nothing is imported here; the sources are parsed. A folder that does not exist yet breaks no rule, a new one needs a
line in `MAY_IMPORT`.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).resolve().parents[1]
SRC: Final = ROOT / "src" / "awaken"

MAY_IMPORT: Final[dict[str, str]] = {
    "domain": "",
    "telemetry": "domain",
    "client": "domain",
    "store": "domain telemetry threads",
    "executors": "domain telemetry threads",
    "mailbox": "domain telemetry store executors",
    "http": "domain telemetry store executors mailbox",
    "protocols": "domain telemetry store executors mailbox http",
    "console": "domain telemetry store executors mailbox http",
    "wiring": "domain telemetry store executors mailbox http protocols console",
    "awaken": "domain executors mailbox wiring",
    "process": "",
    "threads": "",
    "__main__": "cli",
    "cli": "domain telemetry store executors mailbox http protocols console wiring awaken client process",
}
"""What each layer may import besides itself. `awaken` is the package's `__init__`; `testing` may import anything."""

ALSO: Final = {
    "telemetry/prometheus.py": "store mailbox",
    "telemetry/otel.py": "store mailbox",
    "telemetry/stats.py": "store mailbox",
}
"""What a single module may import besides. These hear what the mailbox reports, and only `wiring` imports them."""

CLOCK, IDS = "domain/clock.py", "domain/ids.py"
CONCRETE_STORES: Final = ("awaken.store.memory", "awaken.store.sqlite", "awaken.store.postgres")
HOMELESS: Final = {"util", "utils", "common", "helper", "helpers"}


Rule = Callable[[Path], list[str]]
"""Given a package's folder, says what breaks the rule: a line each, none when all is well."""


def modules(package: Path) -> Iterator[tuple[str, ast.Module]]:
    """Each module's path below the package, with its syntax tree."""
    for path in sorted(package.rglob("*.py")):
        yield path.relative_to(package).as_posix(), parsed(path.read_text(encoding="utf-8"))


@cache
def parsed(source: str) -> ast.Module:
    return ast.parse(source)


def layer_of(path: str) -> str:
    first = path.split("/")[0].removesuffix(".py")
    return "awaken" if first == "__init__" else first


def imported_names(tree: ast.Module, path: str) -> Iterator[str]:
    """Every name a module imports, in full: `from awaken.store import contract` gives `awaken.store.contract`."""
    package = ["awaken", *path.split("/")[:-1]]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            stem = ".".join([*base, *([node.module] if node.module else [])])
            yield from (f"{stem}.{alias.name}" for alias in node.names)


def layers_imported(package: Path, path: str, tree: ast.Module) -> Iterator[str]:
    for name in imported_names(tree, path):
        if name == "awaken" or name.startswith("awaken."):
            first = name.split(".")[1] if "." in name else ""
            is_module = (package / first).is_dir() or (package / f"{first}.py").is_file()
            yield first if first and is_module else "awaken"


def wrong_way(package: Path) -> list[str]:
    found: list[str] = []
    for path, tree in modules(package):
        layer = layer_of(path)
        if layer == "testing":
            continue
        if layer not in MAY_IMPORT:
            found.append(f"{path}: the layer {layer!r} has no line in MAY_IMPORT")
            continue
        allowed = {layer, *MAY_IMPORT[layer].split(), *ALSO.get(path, "").split()}
        found += [f"{path}: imports {other}" for other in layers_imported(package, path, tree) if other not in allowed]
    return found


def concrete_stores_named(package: Path) -> list[str]:
    return [
        f"{path}: imports {name}"
        for path, tree in modules(package)
        if layer_of(path) not in {"store", "wiring", "testing"}
        for name in imported_names(tree, path)
        if name.startswith(CONCRETE_STORES)
    ]


def stores_that_lean_on_each_other(package: Path) -> list[str]:
    """What two of them need lies beside them, in `store`."""
    return [
        f"{path}: imports {name}"
        for path, tree in modules(package)
        for name in imported_names(tree, path)
        for store in CONCRETE_STORES
        if f"{name}.".startswith(f"{store}.") and _is_of_another_store(path, store)
    ]


def _is_of_another_store(path: str, store: str) -> bool:
    own = "awaken." + ".".join(path.split("/")[:2])
    return own in CONCRETE_STORES and own != store


def stores_to_write_to(package: Path) -> list[str]:
    """Whatever is above the mailbox reads, and changes something through the mailbox only."""
    found: list[str] = []
    for path, tree in modules(package):
        if layer_of(path) not in {"http", "protocols", "console"}:
            continue
        found += [
            f"{path}: imports {name}"
            for name in imported_names(tree, path)
            if name == "awaken.store.contract.Store" or name.startswith("awaken.store.transitions")
        ]
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and node.attr == "store" and _last_name(node.value) == "mailbox":
                found.append(f"{path}:{node.lineno}: takes the store of the mailbox")
    return found


def _last_name(node: ast.expr) -> str:
    match node:
        case ast.Attribute(attr=name) | ast.Name(id=name):
            return name.lstrip("_")
        case _:
            return ""


def chance_drawn(package: Path) -> list[str]:
    return [
        f"{path}: imports {name}"
        for path, tree in modules(package)
        if path != IDS
        for name in imported_names(tree, path)
        if name.split(".")[0] in {"random", "secrets", "uuid"} or name == "os.urandom"
    ]


def clocks_read(package: Path) -> list[str]:
    """Imports of `time`, and calls of `now`, `utcnow` or `today` on what came from `datetime`."""
    found: list[str] = []
    for path, tree in modules(package):
        if path == CLOCK:
            continue
        found += [f"{path}: imports {name}" for name in imported_names(tree, path) if name.split(".")[0] == "time"]
        dates = _names_from_datetime(tree)
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and node.attr in {"now", "utcnow", "today"}:
                root = node.value
                while isinstance(root, ast.Attribute):
                    root = root.value
                if isinstance(root, ast.Name) and root.id in dates:
                    found.append(f"{path}:{node.lineno}: reads the clock")
    return found


def _names_from_datetime(tree: ast.Module) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.asname or alias.name for alias in node.names if alias.name == "datetime"}
        elif isinstance(node, ast.ImportFrom) and node.module == "datetime":
            names |= {alias.asname or alias.name for alias in node.names}
    return names


def test_imports_point_one_way() -> None:
    assert wrong_way(SRC) == []


def test_concrete_stores_are_named_only_where_things_are_wired() -> None:
    assert concrete_stores_named(SRC) == []


def test_a_concrete_store_imports_no_other_one() -> None:
    assert stores_that_lean_on_each_other(SRC) == []


def test_what_is_above_the_mailbox_only_reads_a_store() -> None:
    assert stores_to_write_to(SRC) == []


def test_only_the_clock_module_reads_a_clock() -> None:
    assert clocks_read(SRC) == []


def test_only_the_ids_module_draws_chance() -> None:
    assert chance_drawn(SRC) == []


def test_no_file_is_named_after_nothing() -> None:
    """A file called `utils` has not found its subject yet."""
    folders = [ROOT / name for name in ("src", "tests", "examples", "benchmarks")]
    paths = [path for folder in folders for path in folder.rglob("*")]
    assert [str(path.relative_to(ROOT)) for path in paths if path.stem in HOMELESS] == []


@pytest.mark.parametrize(
    ("path", "source", "rule"),
    [
        ("domain/run.py", "from awaken.store import contract", wrong_way),
        ("store/contract.py", "from ..executors.contract import AgentDriver", wrong_way),
        ("store/contract.py", "from awaken import Awaken", wrong_way),
        ("executors/function.py", "def drive():\n    import awaken.mailbox.service", wrong_way),
        ("client/sync.py", "from awaken import telemetry", wrong_way),
        ("wiring.py", "from awaken.cli.main import main", wrong_way),
        ("wiring.py", "from awaken.testing.clock import ManualClock", wrong_way),
        ("misc/thing.py", "", wrong_way),
        ("mailbox/service.py", "from awaken.store.sqlite.store import SqliteStore", concrete_stores_named),
        ("store/postgres/facts.py", "from awaken.store.sqlite.rows import Row", stores_that_lean_on_each_other),
        ("store/postgres/facts.py", "from awaken.store import sqlite", stores_that_lean_on_each_other),
        ("http/routes/runs.py", "from awaken.store.contract import Store", stores_to_write_to),
        ("protocols/x/routes.py", "from awaken.store.transitions import Cancel", stores_to_write_to),
        ("http/routes/runs.py", "async def f(call):\n    await call.mailbox.store.load_run()", stores_to_write_to),
        ("http/app.py", "def f(self):\n    return self._mailbox.store", stores_to_write_to),
        ("mailbox/keeper.py", "import time", clocks_read),
        ("mailbox/keeper.py", "from time import monotonic", clocks_read),
        ("mailbox/keeper.py", "import datetime as dt\nstarted = dt.datetime.now(dt.UTC)", clocks_read),
        ("mailbox/keeper.py", "from datetime import datetime\nstarted = datetime.utcnow()", clocks_read),
        ("mailbox/keeper.py", "import random", chance_drawn),
        ("mailbox/keeper.py", "from uuid import uuid4", chance_drawn),
        ("mailbox/keeper.py", "from os import urandom", chance_drawn),
    ],
)
def test_each_rule_finds_what_breaks_it(tmp_path: Path, path: str, source: str, rule: Rule) -> None:
    _plant(tmp_path, path, source)
    assert len(rule(tmp_path)) == 1


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("mailbox/service.py", "from awaken.domain import run\nfrom awaken.store.contract import Store"),
        ("http/routes/runs.py", "from awaken.store.contract import Reads\ndef f(health):\n    return health.store"),
        ("wiring.py", "from awaken.store.sqlite.store import SqliteStore"),
        ("store/sqlite/facts.py", "from awaken.store.sqlite.cache import Held\nfrom awaken.store.rows import Row"),
        ("cli/run.py", "from awaken.client import Client\nfrom awaken import Awaken"),
        ("testing/clock.py", "from awaken.cli import main"),
        ("domain/clock.py", "import time\nfrom datetime import datetime\nnow = datetime.now()"),
        ("domain/ids.py", "import random"),
        ("mailbox/keeper.py", "from datetime import datetime\ndef due(clock, at: datetime):\n    return clock.now()"),
    ],
)
def test_the_rules_let_pass_what_they_allow(tmp_path: Path, path: str, source: str) -> None:
    _plant(tmp_path, path, source)
    rules = (
        wrong_way,
        concrete_stores_named,
        stores_that_lean_on_each_other,
        stores_to_write_to,
        clocks_read,
        chance_drawn,
    )
    assert [broken for rule in rules for broken in rule(tmp_path)] == []


def _plant(package: Path, path: str, source: str) -> None:
    for layer in MAY_IMPORT:
        (package / layer).mkdir(exist_ok=True)
    (package / "testing").mkdir(exist_ok=True)
    target = package / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(source, encoding="utf-8")
