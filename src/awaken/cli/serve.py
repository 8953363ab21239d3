"""`awaken serve`: a server for an app, or for the demo agents.

Below: `loading.py` finds the app, `server.py` runs it.
Holds: what is wrong with the command, the address or the database is printed in one sentence before anything is served.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Final

import msgspec
from cyclopts import Parameter

from awaken.cli import streams
from awaken.cli.failure import Exit, check_seconds, usage
from awaken.cli.loading import DemoOptions, StoreDurability, demo_app, load_app
from awaken.cli.loop import run_to_the_end
from awaken.cli.options import Flag
from awaken.cli.server import LOOPBACK, SHUTDOWN_DRAIN_S, Address, bind, serve_until_stopped
from awaken.domain.address import DEFAULT_HOST, DEFAULT_PORT
from awaken.domain.checking import DAY_S
from awaken.domain.errors import ValidationError
from awaken.domain.guard import UNGUARDED, guard_of
from awaken.domain.worker import ProcessRole
from awaken.http.settings import HttpSettings, Source
from awaken.protocols.mounting import chosen_of
from awaken.store.contract import Store
from awaken.telemetry.log import LogFormat, LogLevel, configure_logging
from awaken.wiring import Awaken

_log = logging.getLogger("awaken.server")

_ROLES: Final[Mapping[ProcessRole, str]] = {
    "api": "api: accepts runs, and leaves them to workers",
    "worker": "worker: executes runs, and serves health and metrics only",
}
PROTOCOLS_VARIABLE: Final = "AWAKEN_PROTOCOLS"
Several = Annotated[tuple[str, ...], Parameter(negative=())]


def serve(
    target: str | None = None,
    /,
    *,
    bind_to: Annotated[str | None, Parameter(name="--bind")] = None,
    host: str | None = None,
    port: int | None = None,
    db: str | None = None,
    store: str | None = None,
    durability: StoreDurability | None = None,
    max_concurrent_runs: int | None = None,
    role: ProcessRole | None = None,
    shutdown_drain_s: float = SHUTDOWN_DRAIN_S,
    log_format: LogFormat = "auto",
    log_level: LogLevel = "info",
    access_log: bool = False,
    public_url: str | None = None,
    allowed_host: Several = (),
    allowed_origin: Several = (),
    forwarded_allow_ips: str | None = None,
    protocols: Annotated[str | None, Parameter(env_var=PROTOCOLS_VARIABLE)] = None,
    console: bool | None = None,
    insecure_no_auth: bool = False,
    check: Flag = False,
) -> int:
    """Serve an app over HTTP; without one, the demo agents.

    Example: awaken serve myproject.agents:app --port 8080

    Parameters
    ----------
    target
        The app, as module:app. Without it: the demo agents, among them echo and concierge.
    bind_to
        Address and port in one, such as 127.0.0.1:8000.
    host
        The address alone. 127.0.0.1 when absent.
    port
        The port alone; 0 takes a free one. 8000 when absent.
    db
        File of the demo agents' database. awaken-demo.db when absent.
    store
        URL of the demo agents' store: sqlite:///file.db, postgresql://host/database or memory://.
    durability
        full survives power loss (the default), process survives a killed process only.
    max_concurrent_runs
        How many runs of the demo agents may execute at once.
    role
        On Postgres: api executes no run, worker serves health and metrics only, all does everything. As the app says,
        when absent.
    shutdown_drain_s
        Seconds for which requests are still answered after SIGTERM, so that a balancer notices. Not after Ctrl-C.
    log_format
        console, json, or auto: console on a terminal.
    log_level
        The least severe records that are written.
    access_log
        One line per request.
    public_url
        Where browsers find this server behind a proxy, such as https://agents.example.
    allowed_host
        Another name that the Host header may carry. May be given again.
    allowed_origin
        An origin besides the server's own whose pages may call, such as https://shop.example; * for any. May be given
        again.
    forwarded_allow_ips
        Addresses of proxies whose X-Forwarded-For, -Proto and -Host are believed, separated by commas; * for any.
    protocols
        Which protocols are served beside this server's own API, separated by commas, such as ai-sdk,ag-ui; none for
        none. AWAKEN_PROTOCOLS, or else what the app says, when absent.
    console
        Whether the console is at /console. As the app says, or else where the address is this machine's, when absent.
    insecure_no_auth
        Serve beyond this machine although the app has no authorize.
    check
        Start nothing: say whether it could be served. Agents are imported, and store, settings and address looked at.
    """
    address = address_of(bind_to, host, port)
    chosen = _protocols(protocols)
    check_seconds("--shutdown-drain-s", shutdown_drain_s, most_s=DAY_S)
    configure_logging(log_format, log_level)
    logging.getLogger("uvicorn").setLevel(logging.WARNING)  # it would log what the banner prints
    if access_log:
        logging.getLogger("awaken.http").setLevel(logging.DEBUG)
    app = app_of(target, DemoOptions(db, store, durability, max_concurrent_runs))
    if role is not None:
        app.act_as(role)
    if _is_open(app, address) and not insecure_no_auth:
        usage(
            f"{address.host} is reachable from other machines and there is no authentication: give the app one"
            " (HttpSettings(authorize=…)), or bind to 127.0.0.1 and put a proxy in front, or accept with"
            " --insecure-no-auth that anybody may use it"
        )

    def settings_at(served: Address) -> HttpSettings:
        proxies = forwarded_allow_ips
        return _http_settings(app, served, public_url, allowed_host, allowed_origin, proxies, chosen, console)

    if check:
        return check_app(app, [address], settings_at(address))
    given = {
        "http.public_url": public_url,
        "http.allowed_hosts": allowed_host,
        "http.allowed_origins": allowed_origin,
        "http.forwarded_allow_ips": forwarded_allow_ips,
        "http.console": console,
        "mailbox.max_concurrent_runs": max_concurrent_runs,
    }
    asked = [name for name, value in given.items() if value not in (None, ())]
    chosen_by: dict[str, Source] = dict.fromkeys(asked, "flag")
    if chosen is not None:
        chosen_by["http.protocols"] = "environment" if protocols == os.environ.get(PROTOCOLS_VARIABLE) else "flag"
    return serve_app(app, address, settings_at, chosen_by, shutdown_drain_s=shutdown_drain_s)


def serve_app(
    app: Awaken,
    address: Address,
    settings_at: Callable[[Address], HttpSettings],
    chosen_by: Mapping[str, Source],
    *,
    shutdown_drain_s: float,
) -> int:
    """Serve it until a signal has stopped it. `settings_at`: for the address at which it is really found; `chosen_by`:
    of the settings that were asked for.

    Raises:
        Failure: It cannot listen there.
        AwakenError: The app could not start.
    """
    bound = bind(address)
    with bound:
        served = Address(address.host, bound.getsockname()[1])
        settings = settings_at(served)
        serving = serve_until_stopped(
            app,
            bound,
            lambda: _log.debug("starting", extra={"url": served.to_url()}),
            lambda: _announce(app, served, settings),
            settings=settings,
            sources={**_decided(settings, app.http_settings), **chosen_by},
            on_loopback=served.is_loopback,
            shutdown_drain_s=shutdown_drain_s,
        )
        run_to_the_end(serving)
    return Exit.OK


def _decided(settings: HttpSettings, own: HttpSettings | None) -> dict[str, Source]:
    """What is otherwise than the app says: the command's decision, as long as nobody has asked for it."""
    own = own or HttpSettings()
    changed = [name for name in own.__struct_fields__ if getattr(settings, name) != getattr(own, name)]
    return dict.fromkeys([f"http.{name}" for name in changed], "command")


def check_app(app: Awaken, addresses: Sequence[Address], settings: HttpSettings) -> int:
    """What is wrong is raised, the addresses last: they are in use where the server is already running."""
    asyncio.run(app.check(settings=settings))
    for address in addresses:
        bind(address).close()
    where = ", ".join([address.to_url() for address in addresses])
    print(f"could be served: {', '.join(app.agents.ids()) or 'no agents'} on {where}, {_described(app.store)}")
    if any([_is_open(app, address) for address in addresses]):
        print(f"warning: {UNGUARDED}")
    return Exit.OK


def _is_open(app: Awaken, address: Address) -> bool:
    """Whether strangers may use it there. A worker serves nothing that they could use."""
    authorizes = app.http_settings is not None and app.http_settings.authorize is not None
    return app.role != "worker" and guard_of(authorizes=authorizes, on_loopback=address.is_loopback) == "nobody"


def address_of(bind_to: str | None, host: str | None, port: int | None, default_port: int = DEFAULT_PORT) -> Address:
    """Where to serve. Ends the command where the options say no address."""
    if bind_to is not None:
        if host is not None or port is not None:
            usage("--bind already names address and port; leave out --host and --port")
        host, colon, number = bind_to.rpartition(":")
        if not (colon and host and number.isdigit()):
            usage(f"--bind {bind_to!r} is not address:port; write 127.0.0.1:8000")
        port = int(number)
    chosen = Address((host or DEFAULT_HOST).strip("[]"), default_port if port is None else port)
    if not 0 <= chosen.port <= 65_535:
        usage(f"there is no port {chosen.port}; choose one up to 65535")
    return chosen


def _http_settings(
    app: Awaken,
    served: Address,
    public_url: str | None,
    hosts: Sequence[str],
    origins: Sequence[str],
    proxies: str | None,
    protocols: tuple[str, ...] | None,
    console: bool | None,
) -> HttpSettings:
    """Those of the app, with what the command adds, or chooses in its place. On loopback, and where names are given,
    only those are answered to.

    Raises:
        ValidationError: An address is none.
    """
    chosen = app.http_settings or HttpSettings()
    if console is None:
        console = served.is_loopback if chosen.console is None else chosen.console
    names = (*(chosen.allowed_hosts or ()), *hosts)
    if served.is_loopback or names:
        names = tuple(dict.fromkeys([*LOOPBACK, served.host, *names]))
    return msgspec.structs.replace(
        chosen,
        public_url=public_url or chosen.public_url,
        allowed_hosts=names or None,
        allowed_origins=(*chosen.allowed_origins, *origins),
        forwarded_allow_ips=chosen.forwarded_allow_ips
        if proxies is None
        else tuple([each.strip() for each in proxies.split(",")]),
        protocols=chosen.protocols if protocols is None else protocols,
        console=console,
    )


def _protocols(named: str | None) -> tuple[str, ...] | None:
    """None: as the app says. A name may have hyphens, as in the address of its routes."""
    names = [each.strip().replace("-", "_") for each in (named or "").split(",") if each.strip()]
    if not names:
        return None
    try:
        return () if names == ["none"] else chosen_of(names)
    except ValidationError as error:
        usage(f"--protocols {named!r}: {error}")


def app_of(target: str | None, options: DemoOptions) -> Awaken:
    """What is to be served. Raises Failure."""
    if target is None:
        return demo_app(options)
    flags = options.to_flags()
    if flags:
        usage(f"{', '.join(flags)} is for the demo agents; {target} decides it where it makes its Awaken object")
    return load_app(target)


def _announce(app: Awaken, address: Address, settings: HttpSettings) -> None:
    """The banner: what is served where, and something to try. The log has the same for whoever reads only that."""
    url = address.to_url()
    agents = app.agents.ids()
    durability = app.store.capabilities.durability
    level = logging.DEBUG if sys.stdout.isatty() else logging.INFO
    _log.log(level, "serving", extra={"url": url, "durability": durability, "agents": list(agents)})
    lines = [
        f"awaken serves on {url}",
        f"  store       {_described(app.store)}",
        *([] if app.role == "all" else [f"  role        {_ROLES[app.role]}"]),
        f"  agents      {', '.join(agents) or 'none yet'}",
        f"  process     {os.getpid()}; Ctrl-C stops it, and twice at once",
    ]
    if settings.console and app.role != "worker":
        lines.insert(1, f"  console     {(settings.public_url or url).rstrip('/')}/console")
    if settings.public_url is not None:
        lines.append(f"  public      {settings.public_url}")
    if _is_open(app, address):
        lines.append(f"  warning     {UNGUARDED}")
    if agents and app.role != "worker":
        body = f'{{"agent_id": "{_to_try(agents)}", "input": "What can you do?"}}'
        lines += ["try it:", f"  curl -N {url}/v1/runs/stream -H 'Content-Type: application/json' -d '{body}'"]
    try:
        print("\n".join(lines), flush=True)
    except OSError as error:  # nobody needs it: the server serves
        streams.give_up_output()
        _log.warning("the banner could not be printed: %s", error)


def _described(store: Store) -> str:
    capabilities = store.capabilities
    place = getattr(store, "path", None) or getattr(getattr(store, "place", None), "shown", None)
    meaning = {
        "full": "survives power loss",
        "process": "survives a killed process, not power loss",
        "volatile": "ends with this process",
    }[capabilities.durability]
    named = f"{place}, " if place is not None else ""
    return f"{named}durability {capabilities.durability}: {meaning}"


def _to_try(agents: Sequence[str]) -> str:
    return "assistant" if "assistant" in agents else agents[0]
