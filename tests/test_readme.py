"""What README, ARCHITECTURE.md and the packages promise is so: commands, tables, links, licence."""

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
COMMANDS = re.findall(r"^python3 -m venv .*nox.*$", (ROOT / "README.md").read_text(), re.MULTILINE)


def test_ci_runs_the_readme_test_command():
    demo, tests = COMMANDS
    assert demo == f"{tests} -s demo"
    lines = [line.strip() for line in (ROOT / ".ci/run").read_text().splitlines()]
    assert tests in lines


def test_every_package_is_in_the_readme_and_the_architecture():
    packages = [p.parent.relative_to(ROOT) for p in ROOT.glob("packages/**/pyproject.toml")]
    readme, architecture = (ROOT / "README.md").read_text(), (ROOT / "ARCHITECTURE.md").read_text()
    assert packages
    assert [p for p in packages if f"]({p.as_posix()})" not in readme] == []
    assert [p for p in packages if f"| {p.as_posix()} |" not in architecture] == []


def test_every_package_carries_the_licence():
    # copies: a link would lead out of a source distribution
    copies = [p.with_name("LICENSE") for p in ROOT.glob("packages/**/pyproject.toml")]
    assert copies
    assert {p.read_text() for p in copies} == {(ROOT / "LICENSE").read_text()}


def test_relative_links_lead_somewhere():
    hidden = (ROOT / ".nox", ROOT / ".venv")
    pages = [p for p in ROOT.glob("**/*.md") if not any(p.is_relative_to(h) for h in hidden)]
    links = [(p, to) for p in pages for to in re.findall(r"\]\(([^)#]+)\)", p.read_text())]
    local = [(p, to) for p, to in links if "://" not in to]
    assert local
    assert [(p, to) for p, to in local if not (p.parent / to).exists()] == []
