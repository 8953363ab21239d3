"""The dashboard and the alert rules ask for what a server has."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from typing import Any, Final

import promql_parser
import pytest
import yaml

from awaken.telemetry import names
from awaken.testing.behaviour import behaviour
from tests.docs.repository import ROOT
from tests.telemetry.everything import Samples, scrape

FOLDER: Final = ROOT / "docs/operations"
OF_PROMETHEUS: Final = frozenset({"job", "instance"})
"""Labels that whoever scrapes adds."""
_WORDS: Final = re.compile(r"[\w|]+")


def panels() -> list[dict[str, Any]]:
    board = json.loads((FOLDER / "grafana-dashboard.json").read_text())
    return [panel for panel in board["panels"] if panel["type"] != "row"]


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load((FOLDER / "prometheus-rules.yaml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def queries() -> list[tuple[str, str]]:
    """What each asks for, by what it is for."""
    asked = [(panel["title"], target["expr"]) for panel in panels() for target in panel["targets"]]
    return [*asked, *((rule["alert"], rule["expr"]) for rule in rules())]


def parsed(query: str) -> promql_parser.Expr:
    return promql_parser.parse(query.replace("$__rate_interval", "5m"))


def parts(query: str) -> list[promql_parser.Expr]:
    found: list[promql_parser.Expr] = []
    promql_parser.walk(parsed(query), lambda part: found.append(part))
    return found


def selectors(query: str) -> list[promql_parser.VectorSelector]:
    return [part for part in parts(query) if isinstance(part, promql_parser.VectorSelector)]


def wrong_in(query: str, samples: Samples) -> Iterator[str]:
    """What of the query the scrape has not."""
    known: set[str] = set(OF_PROMETHEUS)
    for selector in selectors(query):
        name = selector.name or ""
        series = samples.get(name, [])
        if not series:
            yield f"no sample {name}"
            continue
        known |= {label for labels in series for label in labels}
        for matcher in selector.matchers.matchers:
            if matcher.name in OF_PROMETHEUS:
                continue
            values = {labels[matcher.name] for labels in series if matcher.name in labels}
            if not values:
                yield f"{name} has no label {matcher.name}"
            elif matcher.op in (promql_parser.MatchOp.Equal, promql_parser.MatchOp.Re):
                is_list = matcher.op == promql_parser.MatchOp.Re and _WORDS.fullmatch(matcher.value)
                for wanted in matcher.value.split("|") if is_list else [matcher.value]:
                    if not any([re.fullmatch(wanted, value) for value in values]):
                        yield f"{name} is never {matcher.name}={wanted!r}"
    for part in parts(query):
        if isinstance(part, promql_parser.AggregateExpr) and part.modifier is not None:
            yield from [f"no label {label}" for label in part.modifier.labels if label not in known]


@pytest.fixture(scope="module")
def samples() -> Samples:
    return asyncio.run(scrape())


def test_every_metric_is_in_the_scrape_of_a_server_in_which_everything_happened(samples: Samples) -> None:
    metrics = [metric for metric in vars(names).values() if isinstance(metric, names.Metric)]
    ends = {"counter": "", "gauge": "", "histogram": "_count"}
    assert [metric.name for metric in metrics if not samples.get(metric.name + ends[metric.kind])] == []


@behaviour("OBS-014")
def test_every_query_finds_its_metrics_labels_and_values(samples: Samples) -> None:
    assert [(what, wrong) for what, query in queries() for wrong in wrong_in(query, samples)] == []


@pytest.mark.parametrize(
    ("query", "wrong"),
    [
        ("sum(rate(awaken_runs[5m]))", "no sample awaken_runs"),
        ('awaken_runs_total{agent="a"}', "awaken_runs_total has no label agent"),
        ('awaken_runs_total{outcome="dead"}', "awaken_runs_total is never outcome='dead'"),
        ('awaken_tickets_open{kind=~"input|people"}', "awaken_tickets_open is never kind='people'"),
        ("sum by (agent) (awaken_runs_total)", "no label agent"),
    ],
)
def test_a_query_that_asks_for_something_else_is_found(query: str, wrong: str, samples: Samples) -> None:
    assert [*wrong_in(query, samples)] == [wrong]


@behaviour("OBS-014")
def test_every_metric_is_on_the_dashboard() -> None:
    asked = {
        selector.name or "" for panel in panels() for each in panel["targets"] for selector in selectors(each["expr"])
    }
    shown = {re.sub(r"_(bucket|count|sum)$", "", name) for name in asked}
    metrics = {metric.name for metric in vars(names).values() if isinstance(metric, names.Metric)}
    same_as = {names.RUN_DURATION.name: names.RUNTIME.name}
    assert metrics - shown - set(same_as) == set()


@behaviour("OBS-014")
def test_what_is_read_from_the_database_is_never_added_up() -> None:
    """Every process shows the same number of it, so a sum would be as many times too large."""
    of_all = {
        each.name for each in vars(names).values() if isinstance(each, names.Metric) and names.OF_ALL in each.help
    }
    added = [
        what
        for what, query in queries()
        for part in parts(query)
        if isinstance(part, promql_parser.AggregateExpr) and str(part.op) != "max"
        if of_all & {selector.name for selector in selectors(part.prettify())}
    ]
    assert added == []


def test_panels_lie_side_by_side_and_each_has_its_number() -> None:
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels()]
    numbers = [panel["id"] for panel in panels()]
    assert len(set(places)) == len(places) and len(set(numbers)) == len(numbers)
    assert all([panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24 for panel in panels()])


def test_every_alert_says_what_it_means_and_the_page_has_it() -> None:
    page = (ROOT / "docs/howto/observe.md").read_text()
    for rule in rules():
        assert rule["labels"]["severity"] in ("info", "warning", "critical")
        assert rule["annotations"]["summary"].rstrip().endswith((".", ")."))
        assert f"`{rule['alert']}`" in page, rule["alert"]
