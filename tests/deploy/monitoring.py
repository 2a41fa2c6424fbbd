"""The queries of the dashboard and of the alerts, and what is wrong with one."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import promql_parser as promql
import yaml

from tests.deploy.deployment import ROOT

MONITORING = ROOT / "deploy" / "monitoring"

# What Prometheus itself adds: to every sample, and as samples of its own.
TARGET = {"instance", "job", "service"}
OWN = {"up": set[str](), "ALERTS": {"alertname", "alertstate", "severity"}}
# Of the exporter that compose.yaml runs beside the broker, what is asked for.
EXPORTER = {
    "redis_stream_length": {"db", "stream"},
    "redis_memory_used_bytes": set[str](),
    "redis_memory_max_bytes": set[str](),
    "redis_commands_processed_total": set[str](),
    "redis_connected_clients": set[str](),
    "redis_blocked_clients": set[str](),
}


@dataclass(frozen=True)
class Query:
    """A query, where it stands, and the labels that are written beside its result."""

    where: str
    expression: str
    shown: frozenset[str]

    def problems(self, exported: Mapping[str, set[str]]) -> list[str]:
        """What it asks for that is not among the names exported, each with its labels."""
        known = {name: labels | TARGET for name, labels in {**exported, **OWN, **EXPORTER}.items()}
        found: list[str] = []
        # Grafana puts in a range that suits the graph.
        expression = self.expression.replace("$__rate_interval", "1m")
        labels = _labels(promql.parse(expression), known, found)
        return found + _missing(self.shown, labels, "the legend")


def panels() -> Iterator[Query]:
    """The queries of the dashboard."""
    dashboard = json.loads((MONITORING / "dashboards" / "parley.json").read_text())
    for panel in dashboard["panels"]:
        for target in panel.get("targets", []):
            shown = re.findall(r"{{(\w+)}}", target["legendFormat"])
            where = f"{panel['title']} {target['refId']}"
            yield Query(where, target["expr"], frozenset(shown))


def rules() -> Iterator[dict[str, object]]:
    """The rules of the alerts, as they are written."""
    for group in yaml.safe_load((MONITORING / "alerts.yml").read_text())["groups"]:
        yield from group["rules"]


def alerts() -> Iterator[Query]:
    """The queries of the alerts."""
    for rule in rules():
        shown = re.findall(r"\$labels\.(\w+)", str(rule["annotations"]))
        yield Query(str(rule["alert"]), str(rule["expr"]), frozenset(shown))


def _missing(wanted: set[str] | frozenset[str], there: set[str], where: str) -> list[str]:
    return [f"{where} names {label}, of {sorted(there)}" for label in sorted(wanted - there)]


def _labels(asked: object, known: Mapping[str, set[str]], found: list[str]) -> set[str]:
    """The labels that the result of an expression has; what it asks for in vain is `found`."""
    match asked:
        case promql.VectorSelector():
            return _selected(asked, known, found)
        case promql.MatrixSelector():
            return _selected(asked.vector_selector, known, found)
        case promql.NumberLiteral() | promql.StringLiteral():
            return set()
        case promql.ParenExpr() | promql.UnaryExpr() | promql.SubqueryExpr():
            return _labels(asked.expr, known, found)
        case promql.BinaryExpr():
            return _labels(asked.lhs, known, found) | _labels(asked.rhs, known, found)
        case promql.AggregateExpr():
            labels = _labels(asked.expr, known, found)
            kept = set(asked.modifier.labels) if asked.modifier else set[str]()
            found += _missing(kept, labels, asked.prettify())
            return kept
        case promql.Call():
            return _called(asked, known, found)
    raise TypeError(f"what does a {type(asked).__name__} give?")


def _selected(
    asked: promql.VectorSelector, known: Mapping[str, set[str]], found: list[str]
) -> set[str]:
    name = asked.name or ""
    if name not in known:
        found.append(f"nothing exports {name}")
        return set()
    matched = {matcher.name for matcher in asked.matchers.matchers}
    found += _missing(matched, known[name], asked.prettify())
    return known[name]


def _asked_for(absent: object) -> set[str]:
    """The labels of what is not there: those that were asked for, if nothing was done to them."""
    if not isinstance(absent, promql.VectorSelector):
        return set()
    return {m.name for m in absent.matchers.matchers if m.op == promql.MatchOp.Equal}


def _called(asked: promql.Call, known: Mapping[str, set[str]], found: list[str]) -> set[str]:
    labels = set[str]().union(*(_labels(argument, known, found) for argument in asked.args))
    match asked.func.name:
        case "histogram_quantile":
            found += _missing({"le"}, labels, asked.prettify())
            return labels - {"le"}
        case "label_replace":
            found += _missing({asked.args[3].val}, labels, asked.prettify())
            return labels | {asked.args[1].val}
        case "absent":
            return _asked_for(asked.args[0])
    return labels
