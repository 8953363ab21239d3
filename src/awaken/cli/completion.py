"""`awaken completion`: what a shell has to know to complete commands and options."""

from __future__ import annotations

from typing import Literal

from awaken.cli.failure import Exit


def completion(shell: Literal["bash", "zsh", "fish"], /) -> int:
    """Print a script with which a shell completes commands and options when Tab is pressed.

    bash: put `eval "$(awaken completion bash)"` into ~/.bashrc. zsh: write it to a file called _awaken in a folder of
    $fpath. fish: write it to ~/.config/fish/completions/awaken.fish.

    Example: awaken completion bash

    Parameters
    ----------
    shell
        Which one.
    """
    from awaken.cli.main import app

    print(app.generate_completion(prog_name="awaken", shell=shell))
    return Exit.OK
