"""Plug-ins that clash, crash or are shut out; with entry points made for the test."""

from importlib.metadata import EntryPoint

import monograph as mg
import pytest
from monograph import plugins
from monograph.errors import EngineError, PluginError


class Dist:
    def __init__(self, name):
        self.name = name


def entry(name, value, dist, group="monograph.engines"):
    e = EntryPoint(name, value, group)
    vars(e)["dist"] = Dist(dist)
    return e


@pytest.fixture
def installed(monkeypatch):
    def install(*entries):
        plugins.refresh()
        monkeypatch.setattr(
            plugins, "entry_points", lambda group: [e for e in entries if e.group == group]
        )

    yield install
    plugins.refresh()


def test_listing_imports_nothing(installed):
    installed(entry("far", "no_such_module:engine", "far-engine"))
    assert plugins.names("monograph.engines") == ["far"]


def test_two_packages_with_one_name_are_both_named(installed):
    installed(
        entry("fast", "one:engine", "package-one"), entry("fast", "two:engine", "package-two")
    )
    with pytest.raises(PluginError, match="package-one .* and package-two"):
        plugins.find("monograph.engines", "fast")


def test_a_crash_while_loading_is_explained_and_harms_no_other(installed, tmp_path, monkeypatch):
    (tmp_path / "crashing_plugin.py").write_text("raise SystemExit('half installed')")
    monkeypatch.syspath_prepend(tmp_path)
    installed(entry("broken", "crashing_plugin:engine", "broken-engine"))
    with pytest.raises(
        EngineError, match="broken-engine.*failed to load: SystemExit: half installed"
    ):
        mg.jit(lambda x: x, engine="broken")
    by_name = {e.name: e for e in mg.engines()}
    assert (
        by_name["numpy"].ok
        and not by_name["broken"].ok
        and "half installed" in by_name["broken"].problem
    )


def test_another_api_version_is_refused(installed, tmp_path, monkeypatch):
    (tmp_path / "old_plugin.py").write_text("MONOGRAPH_API_VERSION = 0\nengine = None")
    monkeypatch.syspath_prepend(tmp_path)
    installed(entry("old", "old_plugin:engine", "old-engine"))
    with pytest.raises(PluginError, match="made for plug-in API 0, this is 1"):
        plugins.load("monograph.engines", "old")


def test_the_allow_list_hides_and_says_so(installed, monkeypatch):
    installed(entry("fast", "one:engine", "package-one"))
    monkeypatch.setenv("MONOGRAPH_PLUGINS", "other")
    assert plugins.names("monograph.engines") == []
    with pytest.raises(PluginError, match="MONOGRAPH_PLUGINS='other' does not list it"):
        plugins.load("monograph.engines", "fast")


def test_a_missing_one_says_how_to_install_it(installed):
    installed()
    with pytest.raises(PluginError, match=r"pip install 'monograph\[xla\]'"):
        plugins.load("monograph.engines", "xla")
