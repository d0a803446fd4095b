"""The page in a real browser: everything is drawn, nothing is complained of, nothing is asked of the network."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from tests.analysis.report.sweeps import live, no_params, whole

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium")]

OF_THE_MACHINE = ("GPU stall", "GL Driver", "WebGL", "SwiftShader")
"""What the console says of the machine that the browser runs on."""


@dataclass(frozen=True)
class Site:
    """A server on loopback that has the files of one folder, and remembers what it was asked for."""

    folder: Path
    url: str
    asked: list[str]


@pytest.fixture
def site(tmp_path) -> Iterator[Site]:
    asked: list[str] = []
    folder = tmp_path / "site"
    folder.mkdir()

    class Handler(SimpleHTTPRequestHandler):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, directory=str(folder), **kwargs)

        def log_request(self, *_):
            asked.append(self.path)

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield Site(folder, f"http://127.0.0.1:{server.server_port}", asked)
        server.shutdown()
        thread.join()


def opened(url: str, tmp_path: Path, *, height: int = 30_000) -> tuple[str, list[str], str]:
    """The page as it is after its scripts, what the console said, and the browser's log of what it asked for."""
    log = tmp_path / "net.json"
    command = [str(CHROMIUM), "--headless=new", "--no-sandbox", "--enable-unsafe-swiftshader", "--no-first-run"]
    command += ["--disable-background-networking", "--disable-component-update", "--enable-logging=stderr"]
    command += [f"--user-data-dir={tmp_path / 'profile'}", f"--window-size=1280,{height}", f"--log-net-log={log}"]
    command += ["--virtual-time-budget=20000", "--dump-dom", url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=110, check=True)
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    said = [line for line in console if not any(word in line for word in OF_THE_MACHINE)]
    return done.stdout, said, log.read_text("utf-8", "replace")


def of_the_browser(url: str) -> bool:
    """What chromium asks for by itself, whatever the page."""
    return bool(re.match(r"https?://([\w-]+\.)*(google|googleapis|gstatic|gvt1)\.com\b", url))


@pytest.mark.timeout(400)
@pytest.mark.parametrize("make", [whole, live, no_params], ids=lambda make: make.__name__)
def test_all_figures_are_drawn_and_nothing_else_is_asked_for(make, site, tmp_path):
    page = make().report(site.folder / "page.html")
    declared = re.findall(r'data-of="(\w+)"', page.read_text("utf-8"))
    for _ in range(3):  # virtual time does not wait for a busy machine
        dom, console, log = opened(f"{site.url}/page.html", tmp_path)
        drawn = {
            name: "main-svg" in inner for name, inner in re.findall(r'data-of="(\w+)"(.*?)<figcaption', dom, re.S)
        }
        if drawn and all(drawn.values()):
            break
    assert list(drawn) == declared != []
    assert all(drawn.values()), drawn
    assert [line for line in console if "favicon" not in line] == []
    assert set(site.asked) <= {"/page.html", "/favicon.ico"}
    asked = set(re.findall(r'"url":\s*"((?:https?|wss?)://[^"]+)"', log))
    assert f"{site.url}/page.html" in asked
    assert [url for url in asked if not (url.startswith(site.url) or of_the_browser(url))] == []


@pytest.mark.timeout(400)
def test_it_fits_a_phone(site, tmp_path):
    whole().report(site.folder / "page.html")
    measure = """
    const frame = document.querySelector("iframe");
    frame.onload = () => setTimeout(() => {
      const page = frame.contentDocument, count = what => page.querySelectorAll(what).length;
      const {scrollWidth, clientWidth} = page.documentElement;
      document.title = JSON.stringify([scrollWidth, clientWidth, count(".plot .plot-container"), count(".plot")]);
    }, 9000);
    """
    frame = '<iframe style="width:360px;height:20000px;border:0" src="page.html"></iframe>'
    (site.folder / "frame.html").write_text(f"<body>{frame}<script>{measure}</script>")
    for _ in range(3):  # virtual time does not wait for a busy machine
        dom, _, _ = opened(f"{site.url}/frame.html", tmp_path, height=20_000)
        scroll, client, drawn, figures = json.loads(re.search(r"<title>(.*?)</title>", dom)[1])
        if drawn == figures:
            break
    assert (scroll, client) == (360, 360)  # nothing makes the page wider than the screen
    assert drawn == figures >= 8
