"""The documents hold together: links, whole configurations, and every event, metric and verb in its place."""

import re

import pytest

from support.documents import blocks, documents
from support.agent import ROOT, outtray

DOCS = ROOT / "docs"


def text(path):
    return (ROOT / path).read_text(encoding="utf-8")


def manual(name):
    """A manual page without its mark-up of single words."""
    return re.sub(r"\\&", "", text(f"docs/{name}"))


def anchor(heading):
    """As GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def anchors(path):
    return {anchor(heading) for heading in re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)}


@pytest.mark.parametrize("file", documents())
def test_links(file):
    prose = re.sub(r"```.*?```|`[^`\n]*`", "", text(file), flags=re.DOTALL)
    for target in re.findall(r"\[[^\]]*\]\(([^)\s]+)\)", prose):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, fragment = target.partition("#")
        where = ((ROOT / file).parent / path) if path else ROOT / file
        assert where.exists(), f"{file} links to {target}, which is not there"
        if fragment and where.suffix == ".md":
            assert fragment in anchors(where), f"{file} links to {target}, which has no such heading"


def test_every_document_is_in_the_index():
    index = text("docs/README.md")
    for path in sorted(DOCS.iterdir()):
        if path.name != "README.md":
            assert f"]({path.name})" in index or f"`{path.name}`" in index, f"docs/README.md does not know {path.name}"


def whole_configurations():
    for file in documents():
        for block in blocks(file):
            if block.language == "yaml" and re.search(r"^version: 1$.*^accounts:$", block.text, re.MULTILINE | re.DOTALL):
                yield pytest.param(block, id=f"{file}:{block.line}")


@pytest.mark.parametrize("block", whole_configurations())
def test_configurations_are_right(block, config):
    """Every whole outtray.yaml in a document passes `check`, once its secrets are there."""
    yaml = block.text
    for secret in set(re.findall(r"/etc/outtray/([\w.-]+)", yaml)):
        path = config.secret(secret, '{"type": "service_account"}' if secret.endswith(".json") else "secret")
        yaml = yaml.replace(f"/etc/outtray/{secret}", str(path))
    config.path.write_text(yaml, encoding="utf-8")
    done = outtray("check", config=config)
    problems = [line for line in done.stderr.splitlines()
                if not re.search(r"warning: (spool|state): |warning: .*there is no group", line)]
    assert done.returncode == 0 and not problems, done.stderr


def test_quickstart_has_every_provider():
    headings = " ".join(re.findall(r"^## (.*)$", text("docs/QUICKSTART.md"), re.MULTILINE))
    for provider in ("Google", "Microsoft 365", "SES", "SendGrid", "Mailgun", "Postmark", "Fastmail", "Zoho", "Yahoo", "iCloud",
                     "relay"):
        assert provider in headings


def sources():
    for room in ("agent", "spool-format", "config"):
        for path in sorted((ROOT / room).rglob("*.c")):
            yield path.read_text(encoding="utf-8")


def events():
    found = set(re.findall(r'\[DELIVERY_\w+\] = "([a-z]+)"', text("agent/observe/delivery_log.c")))
    for source in sources():
        found |= set(re.findall(r'LOG_(?:ERROR|WARNING|NOTICE|INFO|DEBUG)_LEVEL\s*,\s*"([a-z_]+)"', source))
    return found


def test_every_event_is_documented():
    found = events()
    assert {"sent", "started", "reload", "token_lost", "listening"} <= found
    page = set(re.findall(r"[a-z_]+", "\n".join(re.findall(r"^\.It Cm (.*)$", manual("outtray-log.5"), re.MULTILINE))))
    table = set(re.findall(r"`([a-z_]+)`", "\n".join(
        line.split("|")[1] for line in text("docs/OPERATIONS.md").split("## Events, and what to do")[1].splitlines() if line.startswith("| "))))
    assert not found - page, f"not in outtray-log(5): {sorted(found - page)}"
    assert not found - table, f"not in OPERATIONS.md: {sorted(found - table)}"


def test_classes_and_reasons_are_documented():
    tables = text("agent/observe/tables.c")
    operations = text("docs/OPERATIONS.md")
    for name in re.findall(r'"([a-z]+)"', tables.split("observe_reasons[OBSERVE_REASONS] =")[1]):
        assert f"| `{name}` |" in operations, name
        assert f".Ql {name}" in manual("outtray-log.5"), name


def test_every_metric_is_documented():
    names = set(re.findall(r'"(outtray_[a-z_]+)"', text("agent/observe/metrics.c")))
    names = {name for name in names if not re.search(r"_(bucket|sum|count)$", name)}
    assert len(names) >= 17
    shown = set(re.findall(r"^\.Li (outtray_[a-z_]+)", manual("outtray.8"), re.MULTILINE))
    assert names == shown, names ^ shown


def verbs(program):
    listed = outtray("--help", check=True).stdout
    return set(re.findall(r"^  ([a-z]+) ", listed, re.MULTILINE))


def test_every_verb_is_documented(program):
    """In outtray(8) or outtray-oauth(8), each with a section; and each answers --help."""
    pages = "\n".join(manual(path.name) for path in DOCS.glob("outtray*.8"))
    sections = set(re.findall(r"[a-z]+", "\n".join(re.findall(r"^\.(?:Ss|It Cm) (.*)$", pages, re.MULTILINE))))
    found = verbs(program)
    assert {"run", "check", "submit"} <= found
    assert not found - sections, f"no section: {sorted(found - sections)}"
    for verb in sorted(found):
        assert outtray(verb, "--help", check=True).stdout.startswith("usage: outtray " + verb), verb


def test_every_configuration_key_is_documented():
    keys = re.findall(r'\.path = "([a-z_.*]+)"', text("config/schema.c"))
    assert len(keys) > 80
    page, example = manual("outtray.yaml.5"), text("config/example.yaml")
    for key in keys:
        name = key.rsplit(".", 1)[-1]
        assert name == "*" or re.search(rf"\b{name}:", example), f"{key} is not in example.yaml"
        assert name == "*" or re.search(rf"\b{name}\b", page), f"{key} is not in outtray.yaml(5)"


def test_readme_stays_short():
    """One screen to the first success, and the whole of it on two."""
    lines = text("README.md").splitlines()
    assert next(i for i, line in enumerate(lines) if "./scripts/demo" in line) < 25
    assert len(lines) <= 95
