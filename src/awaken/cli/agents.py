"""`awaken agents`: what a server can run; pause one, and resume it.

Source: docs/howto/operate.md.
"""

from __future__ import annotations

from typing import Final

from cyclopts import App

from awaken.cli.failure import Exit
from awaken.cli.options import URL, AsJson, Headers, Url
from awaken.cli.remote import connected
from awaken.cli.tables import Column, print_table
from awaken.cli.terminal import note, print_facts, print_json, printable, written
from awaken.client import Agent, AgentVersion

agents = App(name="agents", help_format="markdown")


@agents.default
def list_agents(*, url: Url = URL, header: Headers = (), as_json: AsJson = False) -> int:
    """List the agents of a server, in the order in which they were made known; pause or resume one.

    Example: awaken agents
    """
    with connected(url, header) as client:
        found = list(client.list_agents())
    if as_json:
        print_json({"items": found})
    elif found:
        _print_table(found)
    else:
        note("no agents; the program that is served adds them, with app.agent(…)")
    return Exit.OK


@agents.command
def show(agent: str, /, *, url: Url = URL, header: Headers = (), as_json: AsJson = False) -> int:
    """Show one, with what it takes and gives.

    Example: awaken agents show assistant

    Parameters
    ----------
    agent
        What it is called; or `name@version`.
    """
    with connected(url, header) as client:
        found = client.get_agent(agent)
    if as_json:
        print_json(found)
        return Exit.OK
    print_facts(
        {
            "agent": found.agent_id,
            "title": found.title,
            "does": found.description or None,
            "kind": found.kind,
            "state": _state(found),
            "versions": _versions(found) or None,
            "can": ", ".join([name for name, can in found.capabilities.items() if can is True]) or None,
            "takes": None if found.input_schema is None else written(found.input_schema),
            "gives": None if found.output_schema is None else written(found.output_schema),
            "fails": found.not_loadable,
        }
    )
    return Exit.OK


@agents.command
def pause(agent: str, /, *, url: Url = URL, header: Headers = (), as_json: AsJson = False) -> int:
    """Begin no run of an agent in the server's process until it is resumed; what executes goes on.

    Example: awaken agents pause assistant

    Parameters
    ----------
    agent
        What it is called, for all its versions; or `name@version`.
    """
    with connected(url, header) as client:
        return _shown(agent, client.pause_agent(agent), as_json)


@agents.command
def resume(agent: str, /, *, url: Url = URL, header: Headers = (), as_json: AsJson = False) -> int:
    """Begin runs of a paused agent again.

    Example: awaken agents resume assistant

    Parameters
    ----------
    agent
        What it is called, for all its versions; or `name@version`.
    """
    with connected(url, header) as client:
        return _shown(agent, client.resume_agent(agent), as_json)


def _shown(name: str, agent: Agent, as_json: bool) -> int:
    if as_json:
        print_json(agent)
    else:
        print(f"agent {name} is {_state(agent)}")
        _print_reasons([agent])
    return Exit.OK


def _state(agent: Agent | AgentVersion) -> str:
    if agent.not_loadable is not None:
        return "not loadable"
    return "paused" if agent.paused else "served"


_COLUMNS: Final = (
    Column(name="AGENT"),
    Column(name="VERSIONS", least=12, leaves=2),
    Column(name="KIND", leaves=0),
    Column(name="STATE", is_status=True),
    Column(name="DESCRIPTION", least=16, leaves=1),
)


def _print_table(found: list[Agent]) -> None:
    shown = [at for at, column in enumerate(_COLUMNS) if column.name != "VERSIONS" or any(a.versions for a in found)]
    rows = [(agent.agent_id, _versions(agent), agent.kind, _state(agent), agent.description) for agent in found]
    print_table([_COLUMNS[at] for at in shown], [[row[at] for at in shown] for row in rows])
    _print_reasons(found)


def _versions(agent: Agent) -> str:
    """The newest first; of each other one that is not served, that."""
    others = [each for each in reversed(agent.versions) if each.version != agent.version]
    named = [(each.version or "none") + ("" if _state(each) == "served" else f" ({_state(each)})") for each in others]
    return ", ".join([agent.version or "none", *named]) if agent.versions else ""


def _print_reasons(found: list[Agent]) -> None:
    """Whole, below the table: what failed stands at their end."""
    for agent in found:
        if agent.not_loadable is not None:
            print(printable(f"\nagent {agent.agent_id} cannot be loaded, and its runs wait: {agent.not_loadable}"))
