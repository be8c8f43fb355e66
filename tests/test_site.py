"""The pages of docs/ as a site, built strictly; and the tutorial, which says what its code and commands print."""

from __future__ import annotations

import doctest
import importlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import typer
from conftest import Outcome
from microzone.gateware.microcircuit import microcircuit
from microzone.gateware.toolchain import to_verilog
from microzone.golden_model import ChipConfig
from microzone.golden_model.recalibration import Status
from microzone.sim import blocks as bench_module
from microzone.tools.cli import main as cli
from support import applying, changed

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
TUTORIAL = DOCS / "tutorial.md"
PAGES = sorted(page.relative_to(DOCS) for page in DOCS.rglob("*.md"))

Microzone = Callable[..., Outcome]


# --- the site ---------------------------------------------------------------------------------


def make_site(site: Path, docs: Path = DOCS) -> subprocess.CompletedProcess[str]:
    """`make site`, without its set-up."""
    outer = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    variables = [f"BIN={Path(sys.executable).parent}", f"DOCS={docs}", f"SITE={site}"]
    command = ["make", "-o", ".venv/.installed", "site", *variables]
    return subprocess.run(command, cwd=ROOT, env=outer, capture_output=True, text=True)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site") / "site"
    made = make_site(folder)
    assert made.returncode == 0, made.stderr
    return folder


class Page(HTMLParser):
    """Identifiers, and what a browser loads by itself, of a page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.loaded: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = {name: value or "" for name, value in attrs}
        self.ids.add(named.get("id", ""))
        address = named.get("href" if tag == "link" else "src", "")
        if tag in {"link", "script", "img", "iframe", "source"} and address:
            self.loaded.append(address)


def test_every_page_is_in_the_site_and_its_index(site: Path) -> None:
    for page in PAGES:
        assert (site / page.with_suffix(".html")).is_file(), page
    index = (site / "index.html").read_text(encoding="utf-8")
    sidebar = index[index.index('class="sidebar-tree"') :]
    for page in PAGES:
        if page.name != "README.md":
            assert f'href="{page.with_suffix(".html")}"' in sidebar, page


def test_the_site_needs_no_network(site: Path) -> None:
    pages = sorted(site.rglob("*.html"))
    assert pages
    for page in pages:
        for address in Page(page).loaded:
            assert "//" not in address, f"{page.name} loads {address}"
            assert (page.parent / address.partition("?")[0].partition("#")[0]).exists(), address
    for style in site.rglob("*.css"):
        assert not re.findall(r"(?:@import|url\()\s*['\"]?(?:https?:)?//", style.read_text()), style.name


@pytest.mark.parametrize("name", ["README.md", "CHANGELOG.md"])
def test_links_into_the_docs_find_their_headings(site: Path, name: str) -> None:
    for page, anchor in re.findall(r"\]\(docs/([^)#]+)\.md#([^)]+)\)", (ROOT / name).read_text()):
        assert anchor in Page(site / f"{page}.html").ids, f"{name}: docs/{page}.md#{anchor}"


def test_code_is_highlighted_and_letters_are_kept(site: Path) -> None:
    page = (site / "tutorial.html").read_text(encoding="utf-8")
    assert 'class="highlight-pycon' in page and '<span class="kn">import</span>' in page
    assert "δp" in page and "Π" in page


@pytest.mark.parametrize("package", sorted(path.stem for path in (DOCS / "api").glob("*.md")))
def test_all_that_a_package_exports_is_in_the_site(site: Path, package: str) -> None:
    ids = Page(site / "api" / f"{package}.html").ids
    exported = importlib.import_module(f"microzone.{package}").__all__
    assert {f"microzone.{package}.{name}" for name in exported} <= ids


def test_a_component_is_shown_with_what_it_is_made_from(site: Path) -> None:
    page = (site / "api" / "gateware.html").read_text(encoding="utf-8")
    start = page.index('id="microzone.gateware.Microcircuit"')
    shown = re.sub(r"<[^>]+>", "", page[start : start + 3000])
    assert "Microcircuit(config, channels" in shown and "src_loc_at" not in shown
    assert "src_loc_at" not in page


@pytest.mark.parametrize(
    ("flaw", "message"),
    [
        ("[gone](gone.md)", "gone.md"),
        ("[no such heading](other.md#nowhere)", "nowhere"),
        ("![no such picture](gone.png)", "gone.png"),
        ("| cell |\n| --- |\n\n```{toctree}\ngone\n```", "gone"),
    ],
    ids=["page", "heading", "picture", "toctree"],
)
def test_a_flaw_in_a_page_fails_the_build(tmp_path: Path, flaw: str, message: str) -> None:
    sound, flawed = small_docs(tmp_path / "sound"), small_docs(tmp_path / "flawed")
    with (flawed / "page.md").open("a", encoding="utf-8") as page:
        page.write(f"\n{flaw}\n")
    assert make_site(tmp_path / "site", sound).returncode == 0
    made = make_site(tmp_path / "site", flawed)
    assert made.returncode != 0
    assert re.search(rf"page\.md:\d+: WARNING: .*{re.escape(message)}", made.stderr), made.stderr


def test_a_page_that_no_table_names_fails_the_build(tmp_path: Path) -> None:
    docs = small_docs(tmp_path / "docs")
    (docs / "forgotten.md").write_text("# Forgotten\n", encoding="utf-8")
    made = make_site(tmp_path / "site", docs)
    assert made.returncode != 0
    assert re.search(r"forgotten\.md: WARNING: document isn't included in any toctree", made.stderr)


def small_docs(folder: Path) -> Path:
    """Two pages with the settings of the real ones."""
    shutil.copytree(DOCS / "_static", folder / "_static")
    shutil.copy(DOCS / "conf.py", folder)
    index = "# Index\n\n## Part\n\n| page | what |\n| --- | --- |\n| [page](page.md) | a |\n| [other](other.md) | b |\n"
    for name, text in (("README", index), ("page", "# Page\n"), ("other", "# Other\n\n## Here\n")):
        (folder / f"{name}.md").write_text(text, encoding="utf-8")
    return folder


# --- commands of all pages --------------------------------------------------------------------


def commands(path: Path) -> Iterator[list[str]]:
    """Words of each `microzone` command in a block of code, or set as code in a text."""
    text = path.read_text(encoding="utf-8")
    lines = re.findall(r"^(?: {4}|\$ )?(?:\.venv/bin/)?(microzone [a-z].*)$", text, re.MULTILINE)
    lines += re.findall(r"`(microzone [a-z][^`]*)`", text)
    for line in lines:
        yield [word.rstrip(",.;:") for word in shlex.split(line, comments=True, posix=True)]


@pytest.mark.parametrize("page", [Path("../README.md"), *PAGES], ids=str)
def test_the_commands_of_a_page_exist(page: Path) -> None:
    for words in commands(DOCS / page):
        verb: Any = typer.main.get_command(cli.app)
        left = words[1:]
        while hasattr(verb, "commands") and left and not left[0].startswith("-"):
            assert left[0] in verb.commands, f"{page}: {' '.join(words)}"
            verb = verb.commands[left.pop(0)]
        known = {option for one in verb.params for option in (*one.opts, *one.secondary_opts)} | {"--help"}
        for word in left:
            if word.startswith("--"):
                assert word.partition("=")[0] in known, f"{page}: {' '.join(words)}"


# --- blocks of code of a page -----------------------------------------------------------------


class Block(NamedTuple):
    """A fenced block, and the line of its first line."""

    language: str
    text: str
    line: int


def blocks(path: Path) -> list[Block]:
    text = path.read_text(encoding="utf-8")
    found = re.finditer(r"^```(\w+)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [Block(block[1], block[2], text.count("\n", 0, block.start()) + 1) for block in found]


def matches(printed: str, ended: Outcome) -> bool:
    """Whether a command printed this, but for `...` and the widths of spaces."""
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    return doctest.OutputChecker().check_output(printed, ended.err + ended.out, flags)


@pytest.mark.filterwarnings("always::microzone.golden_model.PrecisionWarning")
def test_the_checklist_prints_what_it_says(microzone: Microzone) -> None:
    ran = 0
    for block in blocks(DOCS / "when-it-does-not-match.md"):
        if block.language == "python":
            exec(block.text, {})
        elif block.language == "toml":
            Path(block.text.partition("\n")[0].removeprefix("# ")).write_text(block.text, encoding="utf-8")
        for part in re.split(r"^\$ microzone ", block.text, flags=re.MULTILINE)[1:]:
            line, _, printed = part.partition("\n")
            ended = microzone(*shlex.split(line))
            assert matches(printed, ended), f"{line}: {ended.err}{ended.out}"
            assert ended.status == (2 if printed.startswith("error:") else 0)
            ran += 1
    assert ran == 3


def test_the_checklist_has_every_status_of_a_recalibration() -> None:
    rows = re.findall(
        r"^\| (\d) \| ([A-Z]+) \|", (DOCS / "when-it-does-not-match.md").read_text(), re.MULTILINE
    )
    assert rows == [(str(s.value), s.name) for s in Status if s is not Status.GOOD]


# --- the tutorial -----------------------------------------------------------------------------

BLOCKS = blocks(TUTORIAL)


class Command(NamedTuple):
    """A command of the tutorial, what it prints, and whether the gateware is broken by then."""

    line: str
    printed: str
    broken: bool


def tutorial_commands() -> list[Command]:
    """In order. A change of the gateware holds until the next heading."""
    found = []
    headings = [m.start() for m in re.finditer(r"^## ", TUTORIAL.read_text(), re.MULTILINE)]
    section_of = [TUTORIAL.read_text().count("\n", 0, at) for at in headings]
    changed_at = [block.line for block in BLOCKS if block.language == "diff"]
    for block in BLOCKS:
        if block.language == "console":
            line, _, printed = block.text.partition("\n")
            section = max(at for at in section_of if at < block.line)
            broken = any(section < at < block.line for at in changed_at)
            found.append(Command(line.removeprefix("$ "), printed, broken))
    return found


COMMANDS = tutorial_commands()
(DIFF,) = (block.text for block in BLOCKS if block.language == "diff")
(TUTORIAL_CHANGE,) = applying(
    [tuple("".join(line[1:] + "\n" for line in DIFF.splitlines() if line.startswith(sign)) for sign in "-+")],
    microcircuit,
)


def test_the_python_of_the_tutorial_prints_what_it_says() -> None:
    parser, runner = doctest.DocTestParser(), doctest.DocTestRunner(verbose=False)
    names: dict[str, Any] = {}
    told: list[str] = []
    for block in (block for block in BLOCKS if block.language == "pycon"):
        test = parser.get_doctest(block.text, names, "tutorial", str(TUTORIAL), block.line)
        runner.run(test, out=told.append, clear_globs=False)
        names = test.globs
    assert runner.summarize(verbose=False).failed == 0, "".join(told)
    assert runner.tries > 20


def test_the_code_that_the_tutorial_quotes_is_that_of_the_files() -> None:
    quotes = [block for block in BLOCKS if block.language in {"python", "diff"}]
    assert len(quotes) == 3
    for quote in quotes:
        first, _, rest = quote.text.partition("\n")
        source = (ROOT / first.removeprefix("# ")).read_text(encoding="utf-8")
        if quote.language == "diff":
            rest = "".join(line[1:] + "\n" for line in rest.splitlines() if line.startswith("-"))
        for part in rest.split("...\n"):
            assert part and part in source, f"{first}: {part}"


def test_the_numbers_of_the_tutorial_are_those_of_the_boards() -> None:
    known = json.loads((ROOT / "boards" / "resources.json").read_text())["chip"]["icebreaker"]["complete"]
    (printed,) = (command.printed for command in COMMANDS if command.line == "microzone build icebreaker")
    for name in ("luts", "flip_flops", "logic_cells", "dsps", "rams"):
        numbers = [known[name]] if isinstance(known[name], int) else known[name]
        row = re.search(rf"^ {name.replace('_', '[- ]')} +(\d+)(?: +(\d+))?", printed, re.MULTILINE | re.I)
        assert row and [int(number) for number in row.groups() if number] == numbers, name
    assert f"{known['fmax_hz'] / 1e6:.2f} MHz with seed {known['seed']}" in printed
    versions = f"Yosys {known['tools']['yosys']} and nextpnr {known['tools']['nextpnr-ice40']}"
    assert versions in TUTORIAL.read_text(encoding="utf-8")


def say(microzone: Microzone, command: Command) -> None:
    """Run a command, and compare with what the page has."""
    ended = microzone(*shlex.split(command.line)[1:])
    assert ended.status == (1 if command.broken else 0), ended.err
    assert matches(command.printed, ended), ended.err + ended.out


@pytest.mark.slow
def test_the_bench_of_the_tutorial_passes(microzone: Microzone) -> None:
    say(microzone, COMMANDS[0])


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(command, marks=[] if "cxxrtl" in command.line else pytest.mark.slow)
        for command in COMMANDS
        if command.broken
    ],
    ids=lambda command: command.line,
)
def test_the_broken_gateware_of_the_tutorial_is_found(
    microzone: Microzone, monkeypatch: pytest.MonkeyPatch, command: Command
) -> None:
    core = changed(microcircuit, *TUTORIAL_CHANGE).Microcircuit

    def broken_verilog(config: ChipConfig, channels: int) -> str:
        return to_verilog(core(config, channels), "microcircuit")

    monkeypatch.setattr(bench_module, "core_verilog", broken_verilog)
    say(microzone, command)


@pytest.mark.slow
def test_netlist_and_bitstream_of_the_tutorial(microzone: Microzone) -> None:
    built = [command for command in COMMANDS if not command.broken][1:]
    assert [shlex.split(command.line)[1] for command in built] == ["sim", "build", "sim", "host"]
    for command in built:
        if "bitstream" in command.line and shutil.which("icebox_vlog") is None:
            continue
        say(microzone, command)
