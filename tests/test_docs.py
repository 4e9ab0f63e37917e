"""The pages say what is so: settings, links, commands, file names."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import typer

from luxdask.cli import app
from luxdask.cli.schema import settings_page
from luxdask.tasks.options import options

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def test_the_settings_page_is_up_to_date() -> None:
    written = (ROOT / "docs/settings.md").read_text(encoding="utf-8")
    assert written == settings_page(), "renew it: luxdask schema --markdown > docs/settings.md"


def test_the_settings_page_has_every_setting_in_a_table_row() -> None:
    rows = [line for line in settings_page().splitlines() if line.startswith("| `")]
    assert len(rows) == len(options())
    assert all(len(re.findall(r"(?<!\\)\|", row)) == 6 for row in rows)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    targets = [t for t in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in t]
    missing = [t for t in targets if not (page.parent / t).exists()]
    assert not missing


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_settings_that_pages_name_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    known = {key for o in options() for key in _with_groups(o.key)}
    named = re.findall(r"`((?:input|registration|fusion|output|compute)\.[a-z_.]+?)(?:\.…)?`", text)
    assert not [key for key in named if key not in known and not _is_file(key)]


def _with_groups(key: str) -> set[str]:
    parts = key.split(".")
    return {".".join(parts[: n + 1]) for n in range(len(parts))}


def _is_file(name: str) -> bool:
    return name.endswith((".py", ".csv"))


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_modules_that_pages_name_exist(page: Path) -> None:
    named = re.findall(r"`?\b((?:\w+/)+\w+\.py)\b", page.read_text(encoding="utf-8"))
    missing = [n for n in named if not (ROOT / "luxdask" / n).exists() and not (ROOT / n).exists()]
    assert not missing


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_commands_that_pages_name_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    known = set(typer.main.get_command(app).commands)  # type: ignore[attr-defined]
    named = set(re.findall(r"(?:\$ |`)luxdask ([a-z][a-z-]+)", text))
    assert named <= known


def test_the_picture_is_small_enough_for_a_readme() -> None:
    picture = ROOT / "docs/images/demo.png"
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert picture.stat().st_size <= 400_000


def test_the_example_of_the_readme_is_python() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    compile(example, "README.md", "exec")


@pytest.mark.parametrize("path", sorted((ROOT / "notebooks").glob("*.ipynb")), ids=lambda p: p.name)
def test_notebooks_were_run_in_order_and_name_no_place_of_this_machine(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    cells = [c for c in json.loads(text)["cells"] if c["cell_type"] == "code"]
    assert [c["execution_count"] for c in cells] == list(range(1, len(cells) + 1))
    outputs = [o for c in cells for o in c["outputs"]]
    assert any({"image/png", "image/jpeg"} & set(o.get("data", {})) for o in outputs)
    assert not [o for o in outputs if o["output_type"] == "error" or o.get("name") == "stderr"]
    assert not re.search(r"/(home|root|tmp|work|Users)/", text)
    assert len(text) < 500_000
