"""What the documentation says is so: links lead somewhere, code is valid, names exist, the quickstart runs."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.repository import PAGES, ROOT, Code, anchors, code, environment, links, name

LIMIT_S = 60
PYTHON = [block for page in PAGES for block in code(page, "python")]


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_link_leads_to_a_page_or_a_heading_that_exists(page: Path) -> None:
    for link in links(page):
        if "://" in link:
            continue
        target, _, anchor = link.partition("#")
        path = (page.parent / target).resolve() if target else page
        assert path.exists(), f"{link} leads nowhere"
        assert not anchor or anchor in anchors(path), f"{link}: no such heading"


def _where(block: Code) -> str:
    return f"{name(block.page)}:{block.line}"


@pytest.mark.parametrize("block", PYTHON, ids=_where)
def test_every_python_example_is_valid_and_imports_what_exists(block: Code) -> None:
    tree = compile(block.text, _where(block), "exec", ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module is not None and node.module.partition(".")[0] == "awaken":
            module = importlib.import_module(node.module)
            for alias in node.names:
                assert hasattr(module, alias.name), f"{node.module} has no {alias.name}"


def test_the_quickstart_of_the_front_page_runs_as_it_stands(tmp_path: Path) -> None:
    """A newcomer's first twenty lines print the answer, and do nothing when they are imported."""
    [quickstart] = code(ROOT / "README.md", "python")
    assert len([line for line in quickstart.text.splitlines() if line]) <= 20

    printed = run(quickstart.text, tmp_path)

    assert printed == ["You wrote: My order never came. I will find your order."]
    assert 'if __name__ == "__main__":' in quickstart.text
    assert (tmp_path / "quickstart.db").exists()


@pytest.mark.parametrize(
    "page",
    [
        "talk-between-agents",
        "ask-a-person",
        "steer-a-running-agent",
        "run-an-agent-again",
        "see-to-dead-letters",
        "change-an-agent",
    ],
)
def test_agents_that_talk_do_as_their_page_says(tmp_path: Path, page: str) -> None:
    """The first program of the page prints what the page says."""
    path = ROOT / f"docs/howto/{page}.md"
    [program, *_], [printed] = code(path, "python"), code(path, "text")

    assert run(program.text, tmp_path) == printed.text.splitlines()


def test_a_protocol_adapter_does_as_its_page_says_and_is_held_to_what_holds_of_all(tmp_path: Path) -> None:
    """The program prints what the page says, and the test of the page passes as it stands."""
    page = ROOT / "docs/howto/write-a-protocol-adapter.md"
    [program, test], [printed] = code(page, "python"), code(page, "text")
    assert run(program.text, tmp_path) == printed.text.splitlines()

    (tmp_path / "lines.py").write_text(program.text)
    told = "import asyncio\nasyncio.run(test_every_shape_of_run_can_be_shown())\n"
    assert run(f"{test.text}\n{told}", tmp_path) == []


def test_work_in_the_background_goes_as_its_page_says(tmp_path: Path) -> None:
    page = ROOT / "docs/howto/work-in-the-background.md"
    [program], [printed] = code(page, "python"), code(page, "text")

    assert run(program.text, tmp_path) == printed.text.splitlines()


def test_a_submit_in_a_transaction_does_as_its_page_says(tmp_path: Path, postgres_database: str) -> None:
    page = ROOT / "docs/howto/submit-in-your-transaction.md"
    [program], [printed] = code(page, "python"), code(page, "text")

    assert run(program.text, tmp_path, DATABASE_URL=postgres_database) == printed.text.splitlines()


def test_the_quickstart_is_also_a_file_among_the_examples() -> None:
    [quickstart] = code(ROOT / "README.md", "python")
    assert (ROOT / "examples/quickstart/quickstart.py").read_text() == quickstart.text


def run(program: str, folder: Path, **variables: str) -> list[str]:
    """Run a program in a folder of its own; the lines it printed."""
    file = folder / "program.py"
    file.write_text(program)
    done = subprocess.run(
        [sys.executable, str(file)],
        cwd=folder,
        env=environment(**variables),
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_the_layers_that_contributing_draws_exist_and_are_all_of_them() -> None:
    """What stands beside the row, and what is to come, is named in the sentences below it."""
    text = (ROOT / "CONTRIBUTING.md").read_text()
    section = text.partition("## Where things are\n")[2].partition("\n## ")[0]
    [row] = [block for block in code(ROOT / "CONTRIBUTING.md", "") if block.text.startswith("domain ")]
    drawn = {name.strip(",") for name in row.text.split() if name != "<-"}
    package = ROOT / "src/awaken"
    layers = {path.stem for path in package.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}

    assert drawn <= layers
    assert [name for name in layers - drawn - {"__init__", "__main__"} if f"`{name}`" not in section] == []
    coming = section.partition("are to come")[2].partition("\n\n")[0]
    assert [name for name in layers if f"`{name}`" in coming and name not in drawn] == []


def test_every_decision_record_is_in_the_index_once_and_in_order() -> None:
    folder = ROOT / "docs/adr"
    records = [page.name for page in sorted(folder.glob("0*.md"))]

    assert [link for link in links(folder / "README.md") if link.startswith("0")] == records
