"""What is shipped for monitoring, held to the programs it is for: a real Prometheus, its promtool, and a plugin's caller."""

import json
import os
import pathlib
import re
import shutil
import subprocess
import urllib.parse
import urllib.request

import pytest

from support.agent import ROOT
from support.debs import Unavailable, unpack
from support.net import free_port
from support.wait import wait_until

SHIPPED = ROOT / "scripts" / "monitoring"


@pytest.fixture(scope="session")
def prometheus_root():
    try:
        return unpack("prometheus")
    except Unavailable as reason:
        pytest.skip(f"prometheus: {reason}")


def promtool(root, *arguments, cwd):
    done = subprocess.run([root / "usr/bin/promtool", *arguments], cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


class Prometheus:
    def __init__(self, root, directory, target):
        self.port = free_port()
        self.log = directory / "prometheus.log"
        shutil.copy(SHIPPED / "outtray.rules.yml", directory)
        (directory / "prometheus.yml").write_text(
            "global: {scrape_interval: 200ms, scrape_timeout: 200ms, evaluation_interval: 500ms}\n"
            "rule_files: [outtray.rules.yml]\n"
            f'scrape_configs: [{{job_name: outtray, static_configs: [{{targets: ["127.0.0.1:{target}"]}}]}}]\n')
        with open(self.log, "wb") as out:
            self.process = subprocess.Popen(
                [root / "usr/bin/prometheus", "--config.file=prometheus.yml", "--storage.tsdb.path=data",
                 f"--web.listen-address=127.0.0.1:{self.port}"], cwd=directory, stdin=subprocess.DEVNULL, stdout=out,
                stderr=out, env=dict(os.environ, no_proxy="127.0.0.1"))
        wait_until(lambda: self.ready() or self.process.poll() is not None, 60, lambda: self.log.read_text()[-2000:])

    def ready(self):
        try:
            return urllib.request.urlopen(f"http://127.0.0.1:{self.port}/-/ready", timeout=10).close() is None
        except OSError:
            return False

    def api(self, path, **arguments):
        url = f"http://127.0.0.1:{self.port}/api/v1/{path}?{urllib.parse.urlencode(arguments)}"
        with urllib.request.urlopen(url, timeout=10) as answer:
            return json.load(answer)["data"]

    def query(self, expression):
        """{labels without instance and job, sorted: number}"""
        return {tuple(sorted((k, v) for k, v in row["metric"].items() if k not in ("instance", "job", "__name__"))):
                float(row["value"][1]) for row in self.api("query", query=expression)["result"]}

    def stop(self):
        self.process.terminate()
        self.process.wait()


def exported(watched):
    """Names of all metrics, as the agent shows them."""
    return {re.split(r"[{ ]", line)[0] for line in watched.get("/metrics")[2].splitlines() if line and line[0] != "#"}


def test_prometheus_scrapes(watched, prometheus_root, tmp_path):
    watched.start()
    prometheus = Prometheus(prometheus_root, tmp_path, watched.port)
    try:
        wait_until(lambda: prometheus.query("outtray_up"), 60, lambda: prometheus.log.read_text()[-2000:])
        targets = prometheus.api("targets")["activeTargets"]
        assert [(target["health"], target["lastError"]) for target in targets] == [("up", "")]
        delivered = (("account", "relay"), ("tenant", "acme"))
        assert prometheus.query("outtray_delivered_total") == {delivered: 0}
        names = watched.drop(5)
        watched.agent.wait_event("sent", count=len(names))
        watched.tick(lambda: prometheus.query("outtray_delivered_total") == {delivered: 5}, 30, what="five seen by Prometheus")
        assert prometheus.query("outtray_delivery_seconds_count") == {(("account", "relay"),): 5}
        assert prometheus.query("histogram_quantile(0.99, outtray_delivery_seconds_bucket)")
        known = set(prometheus.api("label/__name__/values"))
        assert exported(watched) <= known
        # Every rule as shipped is loaded and can be evaluated over what was scraped.
        rules = wait_until(lambda: [rule for group in prometheus.api("rules")["groups"] for rule in group["rules"]
                                    if all(r["health"] == "ok" for r in group["rules"])], 30, "rules are evaluated")
        assert len(rules) >= 8 and {rule["health"] for rule in rules} == {"ok"}
        assert not any(rule["state"] == "firing" for rule in rules)
        # And every question of the dashboard is understood.
        for expression in dashboard_expressions():
            prometheus.api("query", query=expression)
    finally:
        prometheus.stop()


def test_node_exporter_reads_the_file(watched, tmp_path):
    """The way without a listener, as README.md there shows it: a link, and a real node exporter's textfile collector."""
    try:
        root = unpack("prometheus-node-exporter")
    except Unavailable as reason:
        pytest.skip(f"prometheus-node-exporter: {reason}")
    [line] = re.findall(r"^ln -s .*$", (SHIPPED / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    directory = tmp_path / "node-exporter"
    directory.mkdir()
    subprocess.run(["sh", "-c", line.replace("/var/lib/outtray", str(watched.agent.config.state))
                    .replace("/var/lib/prometheus/node-exporter", str(directory))], check=True)
    watched.start()
    port, log = free_port(), tmp_path / "exporter.log"
    with open(log, "wb") as out:
        exporter = subprocess.Popen(
            [root / "usr/bin/prometheus-node-exporter", "--collector.disable-defaults", "--collector.textfile",
             f"--collector.textfile.directory={directory}", f"--web.listen-address=127.0.0.1:{port}"],
            stdin=subprocess.DEVNULL, stdout=out, stderr=out)

    def page():
        try:
            with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
                return answer.read().decode()
        except OSError:
            assert exporter.poll() is None, log.read_text()[-2000:]
            return ""
    try:
        wait_until(lambda: "outtray_up 1" in page(), 30, lambda: log.read_text()[-2000:])
        watched.drop(3)
        watched.agent.wait_event("sent", count=3)
        watched.tick(lambda: 'outtray_delivered_total{tenant="acme",account="relay"} 3' in page() or
                     'outtray_delivered_total{account="relay",tenant="acme"} 3' in page(), 30, what="three seen by the exporter")
        text = page()
        assert "node_textfile_scrape_error 0" in text and "node_textfile_mtime_seconds{file=" in text
        assert exported(watched) - {"outtray_delivery_seconds"} <= {re.split(r"[{ ]", line)[0] for line in text.splitlines()}
    finally:
        exporter.terminate()
        exporter.wait()


def test_exposition_format(watched, prometheus_root):
    """promtool's own parser and linter over what is served."""
    watched.start()
    text = watched.get("/metrics")[2]
    done = subprocess.run([prometheus_root / "usr/bin/promtool", "check", "metrics"], input=text, text=True,
                          capture_output=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_alert_rules(prometheus_root, tmp_path):
    for name in ("outtray.rules.yml", "outtray.rules.test.yml"):
        shutil.copy(SHIPPED / name, tmp_path)
    said = promtool(prometheus_root, "check", "rules", "outtray.rules.yml", cwd=tmp_path)
    rules = int(re.search(r"(\d+) rules found", said).group(1))
    assert "SUCCESS" in promtool(prometheus_root, "test", "rules", "outtray.rules.test.yml", cwd=tmp_path)
    alerts = re.findall(r"- alert: (\w+)", (tmp_path / "outtray.rules.yml").read_text())
    fires = re.findall(r"alertname: (\w+)\n +exp_alerts:\n", (tmp_path / "outtray.rules.test.yml").read_text())
    assert len(alerts) == rules and set(fires) == set(alerts), "an alert that no test makes fire"
    # The negative control: with another threshold the test must turn red.
    path = tmp_path / "outtray.rules.yml"
    path.write_text(path.read_text().replace("> 900", "> 9000"))
    done = subprocess.run([prometheus_root / "usr/bin/promtool", "test", "rules", "outtray.rules.test.yml"], cwd=tmp_path,
                          capture_output=True, text=True, check=False)
    assert done.returncode != 0


def dashboard():
    return json.loads((SHIPPED / "grafana.json").read_text(encoding="utf-8"))


def dashboard_expressions():
    for panel in dashboard()["panels"]:
        for target in panel["targets"]:
            yield (target["expr"].replace("$instance", ".*").replace("$tenant", ".*").replace("$__rate_interval", "1m"))


def names_in(text):
    return set(re.findall(r"\bouttray_[a-z_]+", text))


def test_only_metrics_that_exist_are_asked_for(watched):
    watched.start()
    known = exported(watched)
    variables = " ".join(variable["query"] for variable in dashboard()["templating"]["list"])
    asked = names_in(" ".join(dashboard_expressions()) + variables)
    assert asked and asked <= known, asked - known
    rules = "\n".join(line for line in (SHIPPED / "outtray.rules.yml").read_text().splitlines() if "expr:" in line)
    assert names_in(rules) <= known, names_in(rules) - known
    # Nothing is shown that nobody looks at.
    assert {name for name in known if not name.endswith(("_sum", "_count"))} - asked <= {"outtray_up"}
    panels = dashboard()["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)


def check(*arguments):
    done = subprocess.run([SHIPPED / "check_outtray", *map(str, arguments)], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout


def test_nagios_check(watched):
    watched.start()
    path = pathlib.Path(watched.agent.config.state, "status.json")
    far = ("--stale", 10**9)
    code, said = check("--status", path, *far)
    assert code == 0 and said.startswith("OUTTRAY OK - ok | 'acme_oldest'=0s;900;14400;0 "), said
    assert check("--url", f"http://127.0.0.1:{watched.port}", *far) == (code, said)
    assert re.fullmatch(r"OUTTRAY OK - [^|\n]+ \| ('[^']+'=\d+(s|c)?(;\d*;\d*;0)? ?)+\n", said)

    status = json.loads(path.read_text())
    fake = watched.agent.config.directory / "status.json"

    def with_change(change):
        changed = json.loads(json.dumps(status))
        change(changed)
        fake.write_text(json.dumps(changed))
        return check("--status", fake, *far)

    def paused(data):
        data["accounts"]["relay"].update(breaker="open_credentials", reason="535 no | way")

    code, said = with_change(paused)
    assert code == 1 and "account relay is paused (open_credentials: 535 no / way)" in said
    code, said = with_change(lambda data: data["tenants"]["acme"]["new"].update(oldest_s=1000))
    assert code == 1 and "mail of acme has waited for 1000 s" in said
    assert with_change(lambda data: data["tenants"]["acme"]["new"].update(oldest_s=20000))[0] == 2
    code, said = with_change(lambda data: data.update(healthy=False, health="the spool is full"))
    assert code == 2 and said.startswith("OUTTRAY CRITICAL - the spool is full | ")
    code, said = with_change(lambda data: data.update(time="2020-01-01T00:00:00.000Z") or None)
    assert code == 0, "--stale says so"
    fake.write_text(json.dumps(dict(status, time="2020-01-01T00:00:00.000Z")))
    assert check("--status", fake)[0] == 2
    fake.write_text("{}")
    assert check("--status", fake)[0] == 3
    fake.write_text("{")
    assert check("--status", fake)[0] == 3
    assert check("--status", "/nonexistent/status.json")[0] == 2
    assert check("--url", f"http://127.0.0.1:{free_port()}")[0] == 2
    assert check("--no-such-option")[0] == 3
    fake.write_text("[]")
    assert check("--status", fake)[0] == 3
    assert check("--status", path, *far, "--age-warning", 901, "--age-critical", 900) == (3, "")
    assert check("--status", path, *far, "--age-warning", 900, "--age-critical", 900)[0] == 0
