"""The command line: which commands there are, and how a process ends.

Below: one module per command, imported when it is called, so that `serve` starts without what only a terminal needs.

Source: `docs/reference/cli.md`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Final

from cyclopts import App, CycloptsError, Group, UnknownCommandError, UnusedCliTokensError

from awaken.cli import streams
from awaken.cli.failure import Exit, Failure, failure_of
from awaken.cli.options import URL_VARIABLE
from awaken.domain.errors import AwakenError
from awaken.domain.explaining import shown
from awaken.domain.version import version

_HELP: Final = ("--help", "-h")

app = App(
    name="awaken",
    help="A durable run server for AI agents.",
    help_format="markdown",
    version=version,
    version_flags=["--version"],
    help_flags=_HELP,
    suppress_keyboard_interrupt=False,
)
_COMMANDS: Final = {
    "Serve": "init serve worker demo",
    "Run and watch": "run watch tail show why send pending stopping:cancel stopping:interrupt retry",
    "Look over and decide": "threads runs tickets tickets:decide queue dead schedules agents",
    "Operate a server": "top stats workers system draining:drain draining:undrain",
    "What is stored": "db doctor migrate move",
    "This program": "openapi completion",
}
"""By the heading below which `--help` lists them; behind their module where that has another name."""
_LISTS: Final = ("threads", "runs", "tickets", "queue", "dead", "schedules", "agents", "workers")
_OTHER_NAMES: Final = {
    "events": "tail",
    "logs": "tail",
    "explain": "why",
    "stop": "cancel",
    "chat": "run",
    "ps": "runs",
    "status": "system",
    "info": "system",
    "settings": "system settings",
    "sweep": "system sweep",
    "purge": "system purge",
    "check": "doctor",
    "backup": "db backup",
}
"""What is called something else elsewhere."""
_GROUPS: Final = {heading: Group(heading, sort_key=place) for place, heading in enumerate(_COMMANDS)}


def _add_commands() -> None:
    for heading, commands in _COMMANDS.items():
        for module, _, name in [command.partition(":") for command in commands.split()]:
            app.command(f"awaken.cli.{module}:{name or module}", name=name or module, group=_GROUPS[heading])


_add_commands()


@app.command(name="version", group=_GROUPS["This program"])
def show_version() -> None:
    """Print the version.

    Example: awaken version
    """
    print(version())


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. The exit code: 0 ok, 1 failed, 2 usage, 3 not found, 4 conflict, 5 unreachable, 6 waits,
    130 Ctrl-C.
    """
    streams.prepare()
    if not os.environ.get(URL_VARIABLE):
        os.environ.pop(URL_VARIABLE, None)  # empty is as good as absent
    given = sys.argv[1:] if arguments is None else list(arguments)
    if not given or given[0] in _HELP:
        app.resolved_commands()  # each says for itself, in its docstring, what it does
    console = None
    if not given or any(each in given for each in _HELP):
        from awaken.cli.palette import console_on

        console = console_on()
    try:
        code = app(
            given,
            console=console,
            exit_on_error=False,
            print_error=False,
            result_action="return_value",
        )
        sys.stdout.flush()
    except CycloptsError as error:
        return _printed(_misused(error))
    except Failure as failure:
        return _printed(failure)
    except AwakenError as error:
        return _printed(failure_of(error))
    except BrokenPipeError:  # whoever read our output has left, as `head` does
        streams.give_up_output()
        return Exit.OK
    except OSError as error:
        failure = streams.output_failure(error)
        if failure is None:
            raise
        streams.give_up_output()
        return _printed(failure)
    except KeyboardInterrupt:
        return Exit.INTERRUPTED
    return code if isinstance(code, int) else Exit.OK


def _misused(error: CycloptsError) -> Failure:
    """How the command was called wrongly, and where to read how it is called."""
    command = " ".join(["awaken", *(error.command_chain or ())])
    match error:
        case UnknownCommandError(unused_tokens=[token, *_]):
            why = f"there is no command {shown(token)}{_meant(error.command_chain or (), token)}"
        case UnusedCliTokensError(unused_tokens=[token, *_]):
            why = f"{shown(token)} is one argument too many{_meant(error.command_chain or (), token)}"
        case _:
            why = str(error).rstrip(".")
    return Failure(f"{why}; `{command} --help` lists what there is", Exit.USAGE)


def _meant(chain: Sequence[str], token: str) -> str:
    """What somebody may have meant who knows other programs, or has slipped; empty where that is not clear."""
    from difflib import get_close_matches

    names = [name for commands in _COMMANDS.values() for name in commands.split()]
    names = [name.rpartition(":")[2] for name in names]
    found = _OTHER_NAMES.get(token)
    if token == "list" and chain:
        found = " ".join(chain)
    elif token in names and chain and chain[0] in _LISTS:
        found = token
    elif found is None and not chain:
        found = next(iter(get_close_matches(token, names, n=1)), None)
    return "" if found is None else f", perhaps `awaken {found}` is meant"


def _printed(failure: Failure) -> int:
    sentence = str(failure).encode(errors="backslashreplace").decode()  # an argument may hold half characters
    print(f"awaken: {sentence}", file=sys.stderr)
    return failure.code


if __name__ == "__main__":
    sys.exit(main())
