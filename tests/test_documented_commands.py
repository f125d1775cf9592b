"""Every command of the README and of the tutorial, run as it stands there: in a folder of its own, on a small crawl.

A line is left out where its comment begins with ``[network]`` (it fetches something from elsewhere), ``[server]`` (it
runs until it is stopped) or ``[minutes]`` (it fits many models; it has tests of its own). Of what runs, three things
are changed: the address of the site that is crawled, the pause between requests, and settings that make fits small.
"""

from __future__ import annotations

import http.server
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from warcio.archiveiterator import ArchiveIterator

from examples.demo.show_document import show
from examples.sample_crawl.make_crawl import make_crawl

ROOT = Path(__file__).parents[1]
SITE = "https://www.example.org/handbook/"
LEFT_OUT = ("[network]", "[server]", "[minutes]")
SMALL = [
    "num_shards=2", "select.image.max_near_documents=null", "select.image.min_side_px=48", "tokenize.vqvae_steps=6",
    "tokenize.text_vocab_size=400",
    "tokenize.vqvae={image_size: 16, patch_size: 8, num_codes: 16, channels: 8, num_blocks: 1}",
    "train.steps=3", "train.batch_rows=2", "train.row_tokens=128", "train.threads=1", "train.log_every=1",
    "train.model={width: 16, num_layers: 1, num_heads: 2, hidden: 32}",
    "sample.num_captions=2", "sample.images_per_caption=1", "sample.num_documents=1", "sample.max_document_tokens=64",
]  # fmt: skip

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def commands(page: str) -> list[str]:
    """The lines of a page's blocks of bash, those with a backslash joined."""
    text = (ROOT / page).read_text("utf-8")
    blocks = re.findall(r"^```bash\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [line for block in blocks for line in re.sub(r"\s*\\\n\s*", " ", block).splitlines() if line.strip()]


def is_left_out(command: str) -> bool:
    return command.partition("  # ")[2].startswith(LEFT_OUT)


class Workplace:
    """A folder in which the commands run, with what they expect to be there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / ".venv").symlink_to(Path(sys.prefix))
        self.said: dict[str, str] = {}

    def run(self, command: str, site: str = SITE) -> str:
        shell = command.replace(SITE, site).replace("--wait=1 ", "--wait=0 ")
        if " run " in shell and "--recipe" in shell:
            shell = shell.replace(" --recipe small", f" --recipe small {' '.join(f'--set {each!r}' for each in SMALL)}")
        done = subprocess.run(
            ["bash", "-c", f"set -o pipefail; {shell}"], cwd=self.folder, capture_output=True, text=True, timeout=600,
            check=False, env={**os.environ, "OMP_NUM_THREADS": "1", "no_proxy": "127.0.0.1"},
        )  # fmt: skip
        good = (0, 8) if command.startswith("wget ") else (0, 141)  # 8: a dead link; 141: `head` has read enough
        assert done.returncode in good, f"{command}\n{done.stdout[-1500:]}\n{done.stderr[-1500:]}"
        self.said[command] = done.stdout
        return done.stdout


def resources(folder: Path) -> dict[str, tuple[str, bytes]]:
    """URL -> type and body of what a drawn crawl holds."""
    found = {}
    for path in sorted(folder.glob("*.warc.gz")):
        with path.open("rb") as stream:
            for record in ArchiveIterator(stream):
                url = record.rec_headers.get_header("WARC-Target-URI")
                if record.rec_type == "response" and record.http_headers.get_statuscode() == "200":
                    found[url] = record.http_headers.get_header("Content-Type"), record.content_stream().read()
    return found


class SiteHandler(http.server.BaseHTTPRequestHandler):
    """The pages of a drawn crawl below /handbook/HOST/, behind a page that links to all of them."""

    files: dict[str, tuple[str, bytes]]

    def do_GET(self) -> None:
        kind, body = self.files.get(self.path, ("text/plain", b""))
        self.send_response(200 if self.path in self.files else 404)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def _below(page: bytes, folder: bytes) -> bytes:
    """A page whose links lead to /handbook/HOST/ in place of https://HOST/."""
    page = re.sub(rb'((?:src|href)=")/(?!/)', rb"\1" + folder, page)
    return re.sub(rb"https?://(?=[a-z.]+\.example)", b"/handbook/", page)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[str]:
    (tmp_path / "drawn").mkdir()
    make_crawl(tmp_path / "drawn", seed=3, pages=40)
    files, links = {}, []
    hosts = {"shapes.example", "atlas.example", "docs.example", "www.studio.example"}
    for url, (kind, body) in resources(tmp_path / "drawn").items():
        parts = urlsplit(url)
        if parts.hostname in hosts:
            path = f"/handbook/{parts.hostname}{parts.path}"
            is_page = kind.startswith("text/html")
            files[path] = kind, _below(body, f"/handbook/{parts.hostname}/".encode()) if is_page else body
            links += [f"<li><a href='{path}'>{parts.path}</a>"] if is_page else []
    words = "The handbook has a page for each set of drawings, and this is the list of all of them, in no order."
    files["/handbook/"] = "text/html; charset=utf-8", f"<h1>Handbook</h1><p>{words}<ul>{''.join(links)}</ul>".encode()
    files["/robots.txt"] = "text/plain", b"User-agent: *\nDisallow: /nothing/\n"
    handler = type("Handler", (SiteHandler,), {"files": files})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/handbook/"
        server.shutdown()
        thread.join(10)


@pytest.mark.skipif(shutil.which("wget") is None, reason="no wget here: apt-get install wget")
def test_the_tutorial(tmp_path: Path, site: str) -> None:
    """From wget to a page of samples."""
    folder = tmp_path / "work"
    folder.mkdir()
    work = Workplace(folder)
    lines = commands("docs/tutorial.md")
    assert len([line for line in lines if not is_left_out(line)]) >= 10
    for line in lines:
        if not is_left_out(line):
            work.run(line, site)
    assert (folder / "crawl" / "site.warc.gz").stat().st_size > 10_000
    assert (folder / "out" / "site" / "sample" / "index.html").is_file()
    assert len(list((folder / "out" / "asked" / "images").glob("*.png"))) == 2
    assert '"url"' in next(said for line, said in work.said.items() if "--stage select" in line)


def test_the_readme(tmp_path: Path) -> None:
    """The block on archives of one's own; what it names lies where it says."""
    work = Workplace(tmp_path)
    (tmp_path / "crawl").mkdir()
    make_crawl(tmp_path / "crawl", seed=1, pages=40)
    lines = [line for line in commands("README.md") if not is_left_out(line)]
    assert len(lines) >= 6
    for line in lines:
        work.run(line)
    written = re.findall(r"^    (out/mine/\S+) ", (ROOT / "README.md").read_text("utf-8"), re.MULTILINE)
    assert len(written) == 5
    assert [path for path in written if not (tmp_path / path.rstrip(",")).exists()] == []
    assert (tmp_path / "out" / "row" / "index.html").is_file()
    picture = show(str(tmp_path / "out" / "mine"), 0, 200)  # what the README's own picture is made of
    assert all(part in picture for part in ("<table><tr><td>", "<figure><img", "<figcaption>"))
