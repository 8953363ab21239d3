"""`awaken retry`: do again what a run that has ended was asked for.

Source: docs/howto/run-an-agent-again.md.
"""

from __future__ import annotations

from awaken.cli.failure import Exit
from awaken.cli.options import URL, AsJson, Headers, Url
from awaken.cli.remote import connected
from awaken.cli.terminal import print_json


def retry(
    run: str,
    /,
    *,
    agent: str | None = None,
    max_attempts: int | None = None,
    after: float = 0.0,
    url: Url = URL,
    header: Headers = (),
    as_json: AsJson = False,
) -> int:
    """Do again what a run that has ended was asked for.

    The messages that are there are answered anew. Asked again it is the same new run.

    Example: awaken retry RUN --after 60

    Parameters
    ----------
    run
        Its id.
    agent
        Another agent in the place of its own.
    max_attempts
        Give it up after so many failures.
    after
        It does not start before so many seconds have passed.
    """
    with connected(url, header) as client:
        made = client.get_run(client.retry_run(run, agent=agent, max_attempts=max_attempts, delay_s=after).run_id)
    print_json(made) if as_json else print(f"run {made.run_id} does run {made.retry_of_run_id} again")
    return Exit.OK
