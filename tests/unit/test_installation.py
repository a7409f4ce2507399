"""The first words name files that are there, however the gateway was installed."""

import json
import sys
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest

from gateway.cli import installation


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A wheel's metadata, installed in a folder of its own; no checkout around it."""
    metadata = tmp_path / "site" / "webhook_gateway-1.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Name: webhook-gateway\nVersion: 1\n\n# Read me\n")
    names = ("METADATA", "direct_url.json", "RECORD")
    (metadata / "RECORD").write_text("".join(f"{metadata.name}/{name},,\n" for name in names))
    monkeypatch.setattr(sys, "path", [str(metadata.parent)])
    monkeypatch.setattr(installation, "__file__", str(tmp_path / "site/gateway/cli/x.py"))
    assert distribution("webhook-gateway").version == "1"
    return metadata


def checkout(folder: Path, metadata: Path, url: str) -> None:
    """What pip notes of an installation from a folder."""
    folder.mkdir()
    (folder / "README.md").touch()
    (folder / "config.example.toml").touch()
    (metadata / "direct_url.json").write_text(json.dumps({"url": url, "dir_info": {}}))


def test_an_installation_from_a_checkout_names_its_readme(tmp_path: Path, installed: Path) -> None:
    folder = tmp_path / "my shop"
    checkout(folder, installed, folder.as_uri())
    assert installation.documentation() == (
        f"Documentation: {folder / 'README.md'}; every key: {folder / 'config.example.toml'}"
    )


def test_without_the_checkout_it_names_the_readme_that_was_installed(
    tmp_path: Path, installed: Path
) -> None:
    read_me = f"Documentation: {installed / 'METADATA'}"
    assert installation.documentation() == read_me
    checkout(tmp_path / "a", installed, "https://example.com/gateway.git")
    assert installation.documentation() == read_me
    checkout(tmp_path / "b", installed, (tmp_path / "moved away").as_uri())
    assert installation.documentation() == read_me


def test_without_any_metadata_it_still_says_where_to_look(
    tmp_path: Path, installed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    with pytest.raises(PackageNotFoundError):
        distribution("webhook-gateway")
    assert installation.documentation() == "Documentation: the README of webhook-gateway"
