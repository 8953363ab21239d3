"""The command line: which commands there are, and how a process ends.

Below: one module per command, imported when it is called, so that `serve` starts without what only a terminal needs.

Source: `docs/reference/cli.md`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Final

from cyclopts import App, CycloptsError, UnknownCommandError, UnusedCliTokensError

from awaken.cli import streams
from awaken.cli.failure import Exit, Failure, failure_of
from awaken.domain.errors import AwakenError
from awaken.domain.explaining import shown
from awaken.domain.version import version

_INTERRUPTED: Final = 130

app = App(
    name="awaken",
    help="A durable run server for AI agents.",
    help_format="plaintext",
    version=version,
    version_flags=["--version"],
    suppress_keyboard_interrupt=False,
)
app.command("awaken.cli.serve:serve", name="serve", help="Serve an app over HTTP; without one, the demo agents.")
app.command("awaken.cli.worker:worker", name="worker", help="Execute the runs of an app, on a store for several.")
app.command("awaken.cli.run:run", name="run", help="Give an agent a text, or a value, and stream its answer.")
app.command("awaken.cli.tail:tail", name="tail", help="Follow the events of a thread or a run.")
app.command("awaken.cli.show:show", name="show", help="Show a run and what it came to, or a thread.")
app.command("awaken.cli.why:why", name="why", help="Say why a run is where it is, or what holds up a thread.")
app.command("awaken.cli.send:send", name="send", help="Send a message to the run of a thread, or to one run.")
app.command("awaken.cli.pending:pending", name="pending", help="List the messages that wait for runs of a thread.")
app.command("awaken.cli.stopping:cancel", name="cancel", help="Stop a run, or what a thread is executing.")
app.command("awaken.cli.stopping:interrupt", name="interrupt", help="Stop a thread's run, and clear its queue.")
app.command("awaken.cli.retry:retry", name="retry", help="Do again what a run that has ended was asked for.")
app.command("awaken.cli.runs:runs", name="runs", help="List runs, newest first.")
app.command("awaken.cli.queue:queue", name="queue", help="List what is queued; give it another place, or cancel it.")
app.command("awaken.cli.stats:stats", name="stats", help="Show what a server has done in the last hour.")
app.command("awaken.cli.agents:agents", name="agents", help="List agents; pause or resume one.")
app.command("awaken.cli.draining:drain", name="drain", help="Have a server begin no run; what executes goes on.")
app.command("awaken.cli.draining:undrain", name="undrain", help="Have a drained server begin runs again.")
app.command("awaken.cli.dead:dead", name="dead", help="List runs that were given up; retry or discard them.")
app.command("awaken.cli.tickets:tickets", name="tickets", help="List what runs wait for, across threads.")
app.command("awaken.cli.tickets:decide", name="decide", help="Decide what a run waits for.")
app.command(
    "awaken.cli.schedules:schedules", name="schedules", help="List schedules; make, pause, resume or delete one."
)
app.command(
    "awaken.cli.system:system", name="system", help="Show what a server is and how it is set; sweep and purge now."
)
app.command("awaken.cli.db:db", name="db", help="Show how large a database is; back up a file.")
app.command("awaken.cli.migrate:migrate", name="migrate", help="Bring a database to the schema of this version.")
app.command("awaken.cli.move:move", name="move", help="Move what a stopped server has stored to Postgres.")
app.command("awaken.cli.doctor:doctor", name="doctor", help="Look for what contradicts itself in what is stored.")
app.command("awaken.cli.demo:demo", name="demo", help="Kill a server during an answer, and watch the answer finish.")


@app.command(name="version")
def show_version() -> None:
    """Print the version."""
    print(version())


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. The exit code: 0 ok, 1 failed, 2 usage, 3 not found, 4 conflict, 5 unreachable, 6 waits."""
    streams.prepare()
    try:
        code = app(
            sys.argv[1:] if arguments is None else list(arguments),
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
        return _INTERRUPTED
    return code if isinstance(code, int) else Exit.OK


def _misused(error: CycloptsError) -> Failure:
    """How the command was called wrongly, and where to read how it is called."""
    command = " ".join(["awaken", *(error.command_chain or ())])
    match error:
        case UnknownCommandError(unused_tokens=[token, *_]):
            why = f"there is no command {shown(token)}"
        case UnusedCliTokensError(unused_tokens=[token, *_]):
            why = f"{shown(token)} is one argument too many"
        case _:
            why = str(error).rstrip(".")
    return Failure(f"{why}; `{command} --help` lists what there is", Exit.USAGE)


def _printed(failure: Failure) -> int:
    sentence = str(failure).encode(errors="backslashreplace").decode()  # an argument may hold half characters
    print(f"awaken: {sentence}", file=sys.stderr)
    return failure.code


if __name__ == "__main__":
    sys.exit(main())
