"""Manual pages without warnings, completions that work, and the examples of Prometheus and JSON."""

import json
import subprocess

import documents
import pytest
from conftest import BINARIES, needs
from harness import gateway

PAGES = sorted((gateway.ROOT / "docs/man").iterdir())
WORDS = {
    "websockify --hea": "--heartbeat",
    "websockify --sandbox st": "strict",
    "websockify --ssl-version tlsv1_3": "tlsv1_3",
    "websockifyctl sess": "sessions",
    "websockifyctl health --token-f": "--token-file",
}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
class TestPage:
    @needs("man", "groff")
    def test_groff_reports_nothing(self, page):
        done = subprocess.run(
            ["man", "--local-file", "--warnings=w", "-Tutf8", page], capture_output=True, text=True, timeout=30
        )
        assert done.returncode == 0 and done.stderr == ""
        assert page.stem.lower() in done.stdout.lower()

    @needs("mandoc")
    def test_mandoc_reports_nothing(self, page):
        done = subprocess.run(
            ["mandoc", "-Tlint", "-Wwarning", page], capture_output=True, text=True, timeout=30
        )
        assert done.stdout == ""

    def test_pages_that_it_refers_to_exist(self, page):
        lines = page.read_text().split(".SH SEE ALSO", 1)[1].splitlines()
        for line in lines:
            match line.replace("\\-", "-").split():
                case [".BR", name, section] if name.startswith(("websockify", "rebind")):
                    section = section.strip("(),")
                    assert (page.parent / f"{name}.{section}").is_file(), line


@pytest.fixture(scope="module")
def completions(packages):
    directory = packages / "completions"
    directory.mkdir()
    subprocess.run([BINARIES / "examples/completions", directory], check=True, timeout=30)
    return directory


@pytest.mark.parametrize("line", WORDS)
def test_bash_completes(completions, line):
    words = line.split()
    script = f"""
      source {completions}/{words[0]}.bash
      compopt() {{ :; }}
      COMP_WORDS=({line}) COMP_CWORD={len(words) - 1}
      _{words[0]} {words[0]} {words[-1]} {words[-2]}
      printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=30)
    assert (done.stdout.split(), done.stderr) == ([WORDS[line]], "")


@needs("zsh")
def test_zsh_can_read_its_completions(completions):
    for file in completions.glob("_*"):
        subprocess.run(["zsh", "-n", file], check=True, timeout=30)


@needs("fish")
@pytest.mark.parametrize("line", WORDS)
def test_fish_completes(completions, line):
    script = f"source {completions}/{line.split()[0]}.fish; complete -C '{line}'"
    done = subprocess.run(["fish", "--no-config", "-c", script], capture_output=True, text=True, timeout=30)
    assert WORDS[line] in [line.split("\t")[0] for line in done.stdout.splitlines()]


@pytest.mark.parametrize("block", documents.blocks("json"), ids=str)
def test_each_line_of_json_is_an_object(block):
    assert all(isinstance(json.loads(line), dict) for line in block.text.splitlines())


@needs("promtool")
def test_prometheus_takes_its_configuration(tmp_path):
    (block,) = documents.below("docs/guide/monitoring.md", "Metrics", "yaml")
    (tmp_path / "prometheus.yml").write_text(block.text)
    subprocess.run(["promtool", "check", "config", tmp_path / "prometheus.yml"], check=True, timeout=30)


@needs("promtool")
def test_prometheus_takes_the_alert_rules():
    rules = gateway.ROOT / "docs/examples/prometheus-alerts.yml"
    subprocess.run(["promtool", "check", "rules", rules], check=True, timeout=30)


@needs("promtool")
def test_prometheus_takes_the_queries_of_the_dashboard(tmp_path):
    dashboard = json.loads((gateway.ROOT / "docs/examples/grafana-dashboard.json").read_text())
    queries = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    # Grafana replaces these.
    queries = [query.replace("$__rate_interval", "1m").replace("$instance", ".*") for query in queries]
    rules = [{"record": f"query:{number}", "expr": query} for number, query in enumerate(queries)]
    # JSON is YAML.
    (tmp_path / "rules.yml").write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    subprocess.run(["promtool", "check", "rules", tmp_path / "rules.yml"], check=True, timeout=30)
