from collections.abc import Callable
from importlib.metadata import EntryPoints, entry_points
from pathlib import Path

import pytest

from gateway.errors import NotFound, StartupError
from gateway.providers import registry
from gateway.providers.printstudio import PrintStudio
from gateway.providers.registry import provider_class, provider_names
from gateway.providers.stripe import Stripe

Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Puts a distribution with these entry points on the path."""

    def install(package: str, **points: str) -> None:
        info = tmp_path / f"{package}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        lines = [f"{name} = {value}" for name, value in points.items()]
        (info / "entry_points.txt").write_text("\n".join(["[gateway.providers]", *lines]))

    monkeypatch.syspath_prepend(str(tmp_path))
    return install


def test_our_own_providers_are_entry_points() -> None:
    assert provider_class("stripe") is Stripe
    assert provider_class("printstudio") is PrintStudio
    assert {"printstudio", "stripe"} <= set(provider_names())


def test_a_plugin_is_found_like_our_own(install: Install) -> None:
    install("plugin", parrot="gateway.providers.stripe:Stripe")
    assert provider_class("parrot") is Stripe
    assert "parrot" in provider_names()


def test_what_is_installed_is_read_once_for_all_sources(
    install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    install("plugin", parrot="gateway.providers.stripe:Stripe")
    read = []

    def counted(*, group: str) -> EntryPoints:
        read.append(group)
        return entry_points(group=group)

    monkeypatch.setattr(registry, "entry_points", counted)
    for _ in range(20):
        assert provider_class("parrot") is Stripe
        assert "stripe" in provider_names()
    assert len(read) == 1


def test_an_unknown_provider_is_told_with_the_known_ones() -> None:
    with pytest.raises(NotFound, match=r"no provider 'strip'; known .* printstudio, stripe"):
        provider_class("strip")


def test_two_packages_cannot_claim_one_name(install: Install) -> None:
    install("first", parrot="a:A")
    install("second", parrot="b:B")
    with pytest.raises(StartupError, match="a:A and b:B"):
        provider_class("parrot")


@pytest.mark.parametrize("value", ["nowhere_at_all:A", "gateway.errors:Nothing"])
def test_a_plugin_that_cannot_be_loaded_is_told(install: Install, value: str) -> None:
    install("broken", parrot=value)
    with pytest.raises(StartupError, match="parrot"):
        provider_class("parrot")
