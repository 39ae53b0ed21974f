"""The documents are held to the code."""

import re
import shlex
from pathlib import Path

import click
import pytest

from tutelage.cli import main
from tutelage.cli.docs_generator import PAGES

ROOT = Path(__file__).parent.parent
DOCS = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])


@pytest.mark.parametrize("name", PAGES)
def test_a_page_made_from_the_code_is_up_to_date(name: str) -> None:
    written = (ROOT / "docs" / name).read_text(encoding="utf-8")
    assert written == PAGES[name]().rstrip() + "\n", (
        "run: python -m tutelage.cli.docs_generator docs"
    )


@pytest.mark.parametrize("path", DOCS, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_command_in_a_document_parses(path: Path) -> None:
    text = re.sub(r"\\\n\s*", " ", path.read_text(encoding="utf-8"))
    for block in re.findall(r"```(?:sh|bash|console)\n(.*?)```", text, flags=re.DOTALL):
        for line in block.splitlines():
            words = shlex.split(line.removeprefix("$ ").strip(), comments=True)
            if words[:1] != ["tutelage"] or len(words) < 2 or words[1].startswith("-"):
                continue
            command = main.commands.get(words[1])
            assert command is not None, f"{path.name}: no command {words[1]!r}"
            if isinstance(command, click.Group) and len(words) > 2:
                command = command.commands.get(words[2])
                assert command is not None, f"{path.name}: no command {words[1]} {words[2]!r}"
            known = {
                o
                for p in command.params
                if isinstance(p, click.Option)
                for o in p.opts + p.secondary_opts
            }
            for word in words[2:]:
                if word.startswith("--"):
                    assert word.partition("=")[0] in known | {"--help"}, f"{path.name}: {line}"


@pytest.mark.parametrize("path", DOCS, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_link_inside_the_project_leads_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", path.read_text(encoding="utf-8")):
        if not target.startswith(("http:", "https:", "mailto:")):
            assert (path.parent / target).exists(), f"{path.name} links to {target}"


@pytest.mark.parametrize("name", sorted(main.commands))
def test_every_command_has_help_with_an_example(name: str) -> None:
    assert re.search(rf"Example:\n\s+tutelage {name}\b", main.commands[name].help or ""), name
    assert f"tutelage {name}" in (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")


def test_every_page_is_in_the_navigation_of_the_site() -> None:
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    listed = set(re.findall(r"^\s*- ([\w/.-]+\.md)$", text, flags=re.MULTILINE))
    pages = {str(page.relative_to(ROOT / "docs")) for page in (ROOT / "docs").rglob("*.md")}
    assert listed == pages
