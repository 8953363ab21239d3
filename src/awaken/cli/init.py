"""`awaken init`: three files with which somebody begins."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from awaken.cli.failure import Exit, Failure
from awaken.cli.terminal import note
from awaken.domain.explaining import shown

FILES: Final = {
    "agents.py": '''"""The agents of this project. `awaken serve agents:app` serves them."""

from awaken import Awaken, Context

app = Awaken("sqlite:///awaken.db")


async def hello(ctx: Context) -> str:
    """Answers with what it was told. Ask a model here, call tools, wait for people."""
    return f"You said: {await ctx.input()}"


app.agent("hello", hello)
''',
    "test_agents.py": '''"""Runs of the agents, in memory: no file, no network, no model."""

import asyncio

from awaken.testing.agents import memory_app

from agents import hello


def test_hello_answers_with_what_it_was_told() -> None:
    async def scenario() -> None:
        async with memory_app(hello=hello) as app:
            run = await app.run("t", "good morning", agent="hello", timeout_s=5)
        assert run.output == "You said: good morning"

    asyncio.run(scenario())
''',
    "README.md": """# Agents

Serve them, over the file `awaken.db`, which is made:

```
awaken serve agents:app
```

Talk to one from another terminal, once or for as long as you like, and see what the server does:

```
awaken run hello "good morning"
awaken run hello
awaken top
```

Test them with `pytest`. To stop the server press Ctrl-C; what was accepted goes on at its next start.
""",
}


def init(folder: Path = Path("."), /) -> int:
    """Begin a project, with an agent that runs at once.

    Three files are written: the agent, a test of it, and how to go on. Nothing that is there is changed.

    Example: awaken init my-agents

    Parameters
    ----------
    folder
        Where; it is made if it is not there.
    """
    try:
        there = [name for name in FILES if (folder / name).exists()]
        if there:
            raise Failure(f"{', '.join(there)} is there already; nothing was written", Exit.CONFLICT)
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in FILES.items():
            with (folder / name).open("x", encoding="utf-8") as file:
                file.write(content)
            print(folder / name)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise Failure(f"{shown(str(folder))} cannot be written: {reason or error}") from error
    note(f"serve it: {'' if folder == Path('.') else f'cd {folder} && '}awaken serve agents:app")
    note('talk to it, from another terminal: awaken run hello "good morning"')
    return Exit.OK
