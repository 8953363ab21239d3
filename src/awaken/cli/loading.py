"""What a server is to serve: the app a user names, or the demo agents on a store.

Above: `serve`. Below: the user's module, imported from the folder the command runs in.
"""

from __future__ import annotations

import importlib
import os
import sys
import sysconfig
import traceback
from pathlib import Path
from typing import Final, Literal
from urllib.parse import quote

import msgspec

import awaken
from awaken.cli import streams
from awaken.cli.failure import Failure, usage
from awaken.domain.clock import SystemClock
from awaken.executors.demo import add_demo_agents
from awaken.mailbox.settings import MailboxSettings
from awaken.wiring import Awaken

DEMO_URL: Final = "sqlite:///awaken-demo.db"
"""A file of its own: an application in the same folder keeps its runs in `awaken.db`, and serving those with the demo
agents would take them over."""

_NOT_OWN: Final = (
    str(Path(awaken.__file__).parent), *[sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")], "<",
)  # fmt: skip
"""How the paths begin of files that are not the user's: this package, what is installed, what has no file."""

StoreDurability = Literal["full", "process"]


class DemoOptions(msgspec.Struct, frozen=True):
    """What may be chosen for the demo agents. An app of one's own decides these where it is made."""

    db: str | None
    store: str | None
    durability: StoreDurability | None
    max_concurrent_runs: int | None

    def to_flags(self) -> list[str]:
        """The flags that were given."""
        given = [name for name in self.__struct_fields__ if getattr(self, name) is not None]
        return [f"--{name.replace('_', '-')}" for name in given]


def load_app(target: str) -> Awaken:
    """The `Awaken` object that `module:attribute` names.

    Raises:
        Failure: The text has another form, the import fails, or the object is something else.
    """
    name, colon, attribute = target.partition(":")
    if not (name and colon and attribute):
        usage(f"{target!r} names no app; write module:app, for example myproject.agents:app")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    found: object = _imported(name)
    for part in attribute.split("."):
        if not hasattr(found, part):
            usage(f"the module {name!r} has no {attribute!r}; make one with {attribute} = Awaken(…)")
        found = getattr(found, part)
    if not isinstance(found, Awaken):
        usage(f"{target} is a {type(found).__name__}, not an Awaken object; make one with {attribute} = Awaken(…)")
    return found


def demo_app(options: DemoOptions) -> Awaken:
    """The demo agents on the store the options name."""
    settings = MailboxSettings()
    if options.max_concurrent_runs is not None:
        settings = MailboxSettings(max_concurrent_runs=options.max_concurrent_runs)
    clock = SystemClock()
    app = Awaken(_store_url(options), settings=settings, clock=clock)
    add_demo_agents(app.agents, clock=clock, environment=os.environ)
    return app


def _imported(name: str) -> object:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            usage(f"there is no module {name!r} here; run this in the folder that holds it, or install it")
        raise Failure(f"{name} could not be imported: {error} ({_place(error)})") from error
    except (Exception, SystemExit) as error:  # the user's own module, which may do anything
        raise Failure(f"{name} could not be imported: {type(error).__name__}: {error} ({_place(error)})") from error


def _place(error: BaseException) -> str:
    """Where in the user's own files it happened, not in what they call."""
    if isinstance(error, SyntaxError) and error.filename is not None:
        return f"{error.filename}:{error.lineno}"
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if not frame.filename.startswith(_NOT_OWN)]
    last = (own or frames)[-1]
    return f"{last.filename}:{last.lineno}"


def _store_url(options: DemoOptions) -> str:
    if options.db is not None and options.store is not None:
        usage("give either --db or --store, not both")
    url = DEMO_URL if options.store is None else options.store
    if options.db is not None:
        url = f"sqlite:///{quote(streams.utf8(options.db, '--db'))}"
    if options.durability is None:
        return url
    if not url.startswith(("sqlite:", "postgres")) or "durability=" in url:
        usage("--durability goes with an SQLite file or Postgres; a --store URL may carry ?durability= itself")
    return f"{url}{'&' if '?' in url else '?'}durability={options.durability}"
