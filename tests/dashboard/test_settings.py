"""The settings of the page's server."""

from pathlib import Path

from dashboard.settings import load


def test_a_single_workstation_fetches_pictures_whatever_else_is_set_of_them(tmp_path: Path) -> None:
    """Also where a file or a variable names another setting of theirs."""
    config = tmp_path / "page.toml"
    config.write_text("[pictures]\nmax_mb = 100\n")
    assert load(config).pictures.fetch
    assert load(None, {"pictures.days": "7"}).pictures.fetch
    assert not load(config, {"pictures.fetch": "false"}).pictures.fetch
