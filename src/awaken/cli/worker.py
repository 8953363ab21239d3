"""`awaken worker`: processes that execute the runs of an app, beside those that accept them.

Above: the command line. Below: `serve.py`, which is the same process with another role, and `processes.py`, which keeps
several of them running.
Holds: what is wrong with the command, the agents or the store is printed in one sentence before anything is executed,
also where the processes are several.
"""

from __future__ import annotations

import logging
import sys
from typing import Annotated, Final

import msgspec
from cyclopts import Parameter

from awaken.cli.ending import EXIT_S
from awaken.cli.failure import Exit, usage
from awaken.cli.loading import DemoOptions, StoreDurability
from awaken.cli.loop import run_to_the_end
from awaken.cli.options import Flag
from awaken.cli.processes import end_with_stdin, keep_running
from awaken.cli.serve import address_of, app_of, check_app, serve_app
from awaken.cli.server import LATE_S, LOOPBACK, Address
from awaken.domain.clock import SystemClock
from awaken.domain.errors import AgentNotFound
from awaken.http.settings import HttpSettings
from awaken.telemetry.log import LogFormat, LogLevel, configure_logging
from awaken.wiring import Awaken

MAX_PROCESSES: Final = 256
_ANY_PORT: Final = 0
_MARGIN_S: Final = 2.0
"""Past the moment at which a process ends itself, whatever hangs in it."""


def worker(
    target: str | None = None,
    /,
    *,
    agents: str | None = None,
    processes: int = 1,
    bind_to: Annotated[str | None, Parameter(name="--bind")] = None,
    host: str | None = None,
    port: int | None = None,
    store: str | None = None,
    durability: StoreDurability | None = None,
    max_concurrent_runs: int | None = None,
    log_format: LogFormat = "auto",
    log_level: LogLevel = "info",
    check: Flag = False,
    until_stdin_ends: Annotated[bool, Parameter(show=False, negative=())] = False,
) -> int:
    """Execute the runs of an app, on a store that several processes use; without one, those of the demo agents.

    Example: awaken worker myproject.agents:app --processes 4

    Parameters
    ----------
    target
        The app, as module:app.
    agents
        Execute the runs of these agents alone, separated by commas. All of the app's when absent.
    processes
        So many of them on this machine, each started again when it ends by itself.
    bind_to
        Address and port of health and metrics, such as 0.0.0.0:9100.
    host
        The address alone. 127.0.0.1 when absent.
    port
        The port alone; of several processes, that of the first, and the next ones for the others. Free ones when
        absent.
    store
        URL of the demo agents' store: postgresql://host/database.
    durability
        Of the demo agents' store: full or process.
    max_concurrent_runs
        How many runs of the demo agents may execute at once, in each process.
    log_format
        console, json, or auto: console on a terminal.
    log_level
        The least severe records that are written.
    check
        Start nothing: say whether it could be served. Agents are imported, and store, settings and addresses looked at.
    until_stdin_ends
        Stop as by SIGTERM when the standard input ends: whoever started this has died.
    """
    if not 1 <= processes <= MAX_PROCESSES:
        usage(f"--processes is 1 to {MAX_PROCESSES}, not {processes}")
    address = address_of(bind_to, host, port, _ANY_PORT)
    if address.port + processes > 65_536:
        usage(f"there are no {processes} ports from {address.port} on; choose a smaller one, or leave it out")
    configure_logging(log_format, log_level)
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    app = app_of(target, DemoOptions(None, store, durability, max_concurrent_runs))
    _take_role(app, agents)
    ports = range(address.port, address.port + processes) if address.port else [_ANY_PORT] * processes
    if check:
        places = [Address(address.host, each) for each in dict.fromkeys(ports)]
        return check_app(app, places, _http_settings(app, address))
    if until_stdin_ends:
        end_with_stdin()
    if processes == 1:
        return serve_app(app, address, lambda served: _http_settings(app, served), {}, shutdown_drain_s=0.0)
    options = {
        "--agents": agents,
        "--host": address.host,
        "--store": store,
        "--durability": durability,
        "--max-concurrent-runs": max_concurrent_runs,
        "--log-format": log_format,
        "--log-level": log_level,
    }
    command = [sys.executable, "-m", "awaken.cli.main", "worker", *([] if target is None else [target])]
    command += [f"{name}={value}" for name, value in options.items() if value is not None]
    command.append("--until-stdin-ends")
    keeping = keep_running(
        [[*command, f"--port={each}"] for each in ports],
        clock=SystemClock(),
        patience_s=app.mailbox.settings.leave_s + LATE_S + EXIT_S + _MARGIN_S,
    )
    run_to_the_end(keeping)
    return Exit.OK


def _take_role(app: Awaken, agents: str | None) -> None:
    named = None if agents is None else [each.strip() for each in agents.split(",") if each.strip()]
    if named == []:
        usage("--agents names none; leave it out to execute the runs of all")
    try:
        app.act_as("worker", agents=named)
    except AgentNotFound as error:
        usage(f"--agents {agents!r}: {error}; the app has: {', '.join(app.agents.ids()) or 'none'}")


def _http_settings(app: Awaken, served: Address) -> HttpSettings:
    """Whoever looks after processes asks by whatever name it knows, unless this is for this machine alone."""
    settings = app.http_settings or HttpSettings()
    if served.is_loopback:
        return msgspec.structs.replace(settings, allowed_hosts=(*LOOPBACK, served.host))
    return settings
