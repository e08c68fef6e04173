"""The access matrix as a page: what a real browser makes of it, of hostile text and of a large source."""

import base64
import hashlib
import html
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from stoa_compiler.matrix import Holder, Matrix, Tool
from stoa_compiler.matrix.page import as_html
from stoa_schemas.names import PLATFORM_TENANT

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
HOSTILE = '</script><script>document.title="taken"</script><img src=x onerror=alert(1)>&amp;\u202e@SCRIPT@'


def matrix(tenants: int, contracts: int, operations: int, title: str = "A title") -> Matrix:
    """A matrix of that size; each tenant has an admin and a viewer, who lacks every other tool."""
    tools = {"stoa_catalog": Tool("stoa_catalog", "", "", "List", "read", False, "", False)}
    holders = []
    for t in range(tenants):
        name = f"t{t:04d}"
        mine = [f"{name}:c{c}:op_{o}" for c in range(contracts) for o in range(operations)]
        effects = ("read", "write", "destructive")
        for n, i in enumerate(mine):
            tools[i] = Tool(i, name, i.split(":")[1], title, effects[n % 3], n % 3 == 2, "VH", False)
        people = (("admin", mine), ("viewer", mine[::2]))
        holders += [
            Holder("person", f"{role}.{t}", title, name, (role,), ("stoa_catalog", *held)) for role, held in people
        ]
        holders += [Holder("role", role, "", name, (role,), ("stoa_catalog", *held)) for role, held in people]
    everything = tuple(i for i in tools if ":" in i)
    holders.append(Holder("person", "root", title, PLATFORM_TENANT, ("cpi-admin",), ("stoa_catalog", *everything)))
    return Matrix.sorted(None, tools, holders)


def shown(page: str, folder: Path, act: str = "") -> str:
    """The document after the page's script, and `act` after it, have run in a browser.

    `act` is the test's own, so the copy that is opened permits it by digest, and nothing else.
    """
    assert CHROMIUM is not None
    digest = base64.b64encode(hashlib.sha256(act.encode()).digest()).decode()
    page = page.replace("script-src '", f"script-src 'sha256-{digest}' '", 1)
    page = page.replace("</body>", f"<script>{act}</script></body>")
    file = folder / "page.html"
    file.write_text(page, encoding="utf-8")
    done = subprocess.run(
        [
            CHROMIUM,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            f"--user-data-dir={folder / 'profile'}",
            "--virtual-time-budget=5000",
            "--dump-dom",
            file.as_uri(),
        ],
        capture_output=True,
        timeout=120,
        check=True,
    )
    return done.stdout.decode()


def texts(document: str, tag: str) -> list[str]:
    """The text of each element of a kind."""
    found = re.findall(rf"<{tag}\b[^>]*>(.*?)</{tag}>", document, re.DOTALL)
    return [html.unescape(re.sub(r"<[^>]*>", " ", f)).strip() for f in found]


def test_the_page_loads_nothing_and_runs_only_its_own_script() -> None:
    page = as_html(matrix(2, 1, 3), "person")
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page)
    assert policy is not None
    (style,) = re.findall(r"<style>(.*?)</style>", page, re.DOTALL)
    (script,) = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)

    def digest(text: str) -> str:
        return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()

    assert policy[1] == (
        f"default-src 'none'; style-src 'sha256-{digest(style)}'; script-src 'sha256-{digest(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    assert not re.search(r"\s(on\w+|style|src|href)=", re.sub(r'href="#sections"', "", page.split("<style>")[0]))
    assert not re.search(r"(?i)https?://|url\(|@import|innerHTML|eval\(", style + script)


def test_hostile_text_stays_text() -> None:
    page = as_html(matrix(1, 1, 3, HOSTILE), "person")
    assert page.count("<script") == page.count("</script>") == 2
    assert "<img" not in page
    data = re.search(r'id="data">(.*?)</script>', page, re.DOTALL)
    assert data is not None
    section = json.loads(data[1])["sections"][1]
    assert section["tools"][0][2] == HOSTILE.replace("\u202e", "\\u202e")


@pytest.mark.engine
@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine: `apt-get install chromium`")
class TestInABrowser:
    """One browser for each question."""

    def test_it_shows_who_may_call_what(self, tmp_path: Path) -> None:
        document = shown(as_html(matrix(2, 2, 3, HOSTILE), "person"), tmp_path)
        assert texts(document, "title") == ["Who may call what"]  # The hostile script did not run.
        assert "<img" not in document
        assert [t.split()[0] for t in texts(document, "h2")] == ["The", "t0000", "t0001"]
        tables = re.findall(r"<table>(.*?)</table>", document, re.DOTALL)
        heads = [t.split()[0] for t in texts(tables[1], "th")][:6]
        assert heads == ["Tool", "Effects", "Class", "admin.0", "viewer.0", "root"]
        # All six for the admin and for root, every other one for the viewer.
        assert tables[1].count('aria-label="may call"') == 6 + 3 + 6
        assert "2 of 3" in texts(tables[1], "td")

    def test_finding_filtering_and_columns(self, tmp_path: Path) -> None:
        act = """
          const query = document.getElementById("query"), effects = document.getElementById("effects");
          query.value = "T0001:C1:OP_2"; query.dispatchEvent(new Event("input"));
          effects.value = "destructive"; effects.dispatchEvent(new Event("change"));
          document.querySelector("input[value=role]").click();
          document.dispatchEvent(new KeyboardEvent("keydown", { key: "/", cancelable: true }));
          document.title = document.activeElement.id;
        """
        document = shown(as_html(matrix(3, 2, 3), "person"), tmp_path, act)
        assert texts(document, "title") == ["query"]  # The key `/` leads to the search.
        assert [t.split()[0] for t in texts(document, "h2")] == ["t0001"]
        (table,) = re.findall(r"<table>(.*?)</table>", document, re.DOTALL)
        assert [t.split()[0] for t in texts(table, "th")] == [
            "Tool", "Effects", "Class", "admin", "viewer", "t0001:c1:*", "op_2",
        ]  # fmt: skip

    def test_a_thousand_tenants_are_paged(self, tmp_path: Path) -> None:
        page = as_html(matrix(1000, 5, 6), "person")
        assert len(page) < 4_000_000
        act = 'for (let n = 0; n < 3; n++) document.getElementById("on").click();'
        document = shown(page, tmp_path, act)
        assert "1,000 tenants, 30,001 tools, 2,001 people" in texts(document, "p")[0]
        (where,) = texts(document, "output")
        assert re.fullmatch(r"page 4 of \d+", where)
        rows = document.count('<th scope="row">')
        assert 0 < rows <= 500
        assert "t0048" in [t.split()[0] for t in texts(document, "h2")]
