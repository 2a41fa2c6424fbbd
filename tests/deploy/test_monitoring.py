"""What Prometheus and Grafana are given, held against compose.yaml and against its generator.

Whether there is what the queries ask for is tested where it is exported:
`tests/system/test_metrics.py`.
"""

import subprocess
import sys
from collections import Counter

import pytest
import yaml

from tests.deploy.deployment import PROFILES, ROOT, Json, image_of, services
from tests.deploy.monitoring import EXPORTER, MONITORING, Query, alerts, panels, rules

EXPORTED = {"parley_jobs_total": {"stage", "outcome"}, "parley_wait_seconds_bucket": {"le"}}


def scraping() -> dict[str, Json]:
    """What Prometheus scrapes, by the name of the job."""
    config = yaml.safe_load((MONITORING / "prometheus.yml").read_text())
    return {job["job_name"]: job for job in config["scrape_configs"]}


@pytest.mark.parametrize("profile", PROFILES)
def test_every_process_is_scraped(profile: str) -> None:
    [asked] = scraping()["parley"]["dns_sd_configs"]
    found = {
        name: service
        for name, service in services(profile).items()
        if "build" in service and not name.startswith("models")
    }
    names = set()
    for name, service in found.items():
        inside = (service["networks"]["inside"] or {}).get("aliases", [])
        [known] = {name, *inside} & set(asked["names"])
        assert image_of(service).command[-1] in (known, "gateway"), name
        assert service["environment"]["PARLEY_METRICS_PORT"] == str(asked["port"])
        assert service["environment"]["PARLEY_METRICS_HOST"] == "0.0.0.0"
        names.add(known)
    assert names == set(asked["names"])
    assert len(found) == len(names)


def test_prometheus_reaches_what_it_scrapes() -> None:
    found = services(*PROFILES, "monitoring")
    assert found["prometheus"]["networks"].keys() == {"inside", "monitoring"}
    assert scraping()["broker"]["static_configs"] == [{"targets": ["exporter:9121"]}]
    assert "monitoring" in found["exporter"]["networks"]
    mounted = {v["target"] for v in found["prometheus"]["volumes"]}
    config = yaml.safe_load((MONITORING / "prometheus.yml").read_text())
    assert set(config["rule_files"]) <= mounted


def test_traces_reach_the_collector_and_grafana_finds_them() -> None:
    found = services(*PROFILES, "monitoring")
    jaeger = found["jaeger"]
    assert jaeger["networks"].keys() == {"inside", "monitoring"}  # workers are inside
    [mounted] = jaeger["volumes"]
    assert jaeger["command"] == [f"--config={mounted['target']}"]
    config = yaml.safe_load((MONITORING / "jaeger.yml").read_text())
    pipeline = config["service"]["pipelines"]["traces"]
    for kind in ("receivers", "processors", "exporters"):
        assert set(pipeline[kind]) == config[kind].keys()
    assert set(config["service"]["extensions"]) == config["extensions"].keys()
    _, _, port = config["receivers"]["otlp"]["protocols"]["http"]["endpoint"].rpartition(":")
    for page in (ROOT / "docs" / "traces.md", ROOT / "compose.yaml"):
        assert f"PARLEY_TRACES_URL=http://jaeger:{port}" in page.read_text(), page
    sources = yaml.safe_load((MONITORING / "grafana.yml").read_text())["datasources"]
    [source] = [each for each in sources if each["type"] == "jaeger"]
    _, _, port = config["extensions"]["jaeger_query"]["http"]["endpoint"].rpartition(":")
    assert source["url"] == f"http://jaeger:{port}"
    backends = config["extensions"]["jaeger_storage"]["backends"]
    [name] = backends
    assert pipeline["exporters"] == ["jaeger_storage_exporter"]
    assert config["exporters"]["jaeger_storage_exporter"]["trace_storage"] == name
    assert config["extensions"]["jaeger_query"]["storage"]["traces"] == name
    assert backends[name]["memory"]["max_traces"] <= 20_000


def test_the_exporter_looks_at_every_stream_that_is_drawn() -> None:
    exporter = services("monitoring")["exporter"]["environment"]
    for stage in ("stt", "llm", "tts", "dead"):
        assert f"parley:*:{stage}" in exporter["REDIS_EXPORTER_CHECK_STREAMS"]


def test_the_dashboard_is_what_its_generator_writes() -> None:
    generator = MONITORING / "dashboard.py"
    code = "import runpy, sys; sys.stdout.write(runpy.run_path(sys.argv[1])['text']())"
    said = subprocess.run(
        [sys.executable, "-c", code, generator], capture_output=True, text=True, check=True
    )
    assert said.stdout == (MONITORING / "dashboards" / "parley.json").read_text()


def test_every_alert_says_what_is_wrong_and_how_bad_it_is() -> None:
    for rule in rules():
        assert rule["labels"] in ({"severity": "warning"}, {"severity": "critical"})
        assert str(rule["annotations"]["summary"]).endswith(".")  # type: ignore[index]
    names = Counter(rule["alert"] for rule in rules())
    assert set(names.values()) == {1}
    documented = (ROOT / "docs" / "metrics.md").read_text()
    assert [name for name in names if f"`{name}`" not in documented] == []


def test_every_query_can_be_parsed_and_something_is_drawn_of_each_kind() -> None:
    queries = [*panels(), *alerts()]
    everything = " ".join(query.expression for query in queries)
    for name in EXPORTER:
        assert name in everything, "it need not be known any more"


@pytest.mark.parametrize(
    ("expression", "shown", "problem"),
    [
        ("parley_job_total", "", "nothing exports parley_job_total"),
        ('parley_jobs_total{stages="stt"}', "", "names stages"),
        ("sum by (session) (rate(parley_jobs_total[1m]))", "", "names session"),
        ("sum by (stage) (rate(parley_jobs_total[1m]))", "outcome", "the legend names outcome"),
        ("histogram_quantile(0.5, sum(rate(parley_wait_seconds_bucket[1m])))", "", "names le"),
        ("histogram_quantile(0.5, rate(parley_jobs_total[1m]))", "", "names le"),
        ('label_replace(up, "a", "$1", "b", ".*")', "", "names b"),
        ("up / parley_none", "", "nothing exports parley_none"),
        ('absent(up{job="a"} == 1)', "job", "the legend names job"),
    ],
)
def test_a_query_that_asks_in_vain_is_found(expression: str, shown: str, problem: str) -> None:
    query = Query("here", expression, frozenset(shown.split()))
    [found] = query.problems(EXPORTED)
    assert problem in found


@pytest.mark.parametrize(
    "expression",
    [
        "sum by (stage, job) (rate(parley_jobs_total[$__rate_interval]))",
        "histogram_quantile(0.5, sum by (le) (rate(parley_wait_seconds_bucket[1m])))",
        'label_replace(up, "a", "$1", "job", ".*") > 0 or absent(parley_jobs_total)',
    ],
)
def test_a_query_that_is_right_passes(expression: str) -> None:
    assert Query("here", expression, frozenset()).problems(EXPORTED) == []
