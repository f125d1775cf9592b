"""Runs each extractor on each page: gobelin here, the others in environments of their own, because their pins clash.

uv makes the environments on the first run, in a folder outside the repository. An output is kept there under a digest
of the peer's script, the versions of its packages and the pages. So another run costs only gobelin's time.
"""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, median

from extraction_gold import Page
from extraction_metrics import DRAWING, Piece, normal_url

from gobelin.transforms.pages.tree import find_nodes

PACKAGES = {
    "extractors": ("trafilatura==2.3.1", "resiliparse==2.0.1", "readability-lxml==0.9", "lxml_html_clean"),
    "datatrove": ("datatrove[io,processing]==0.10.1", "trafilatura==1.11.0", "lxml_html_clean"),
    "datatrove-curate": (
        "datatrove[io,processing]==0.10.1",
        "trafilatura==1.11.0",
        "lxml_html_clean",
        "spacy",
        "tokenizers",
    ),
}
"""What each environment holds; datatrove wants trafilatura<1.12."""

PEERS = {
    "trafilatura": "extractors",
    "trafilatura no comments": "extractors",
    "trafilatura images": "extractors",
    "trafilatura sentinels": "extractors",
    "resiliparse": "extractors",
    "readability": "extractors",
    "datatrove": "datatrove",
}
"""Environment of each peer."""

GOBELIN = "gobelin"
SCRIPT = Path(__file__).parent / "peers" / "extract.py"


class Outputs:
    """Outputs of all extractors over a set of pages, by extractor and page; CPU-seconds beside them."""

    def __init__(self, folder: Path, fresh: bool) -> None:
        self._folder, self._fresh = folder, fresh
        self.seconds: dict[str, dict[str, float]] = {}
        self.errors: dict[str, dict[str, str]] = {}
        self.ways: dict[str, str] = {}  # page -> which of gobelin's ways found its main content

    def of(self, extractor: str, pages: Sequence[Page]) -> dict[str, list[Piece]]:
        """The pieces of every page; a page that an extractor fails on has none."""
        if extractor == GOBELIN:
            return self._gobelin(pages)
        return self._peer(extractor, pages)

    def _gobelin(self, pages: Sequence[Page]) -> dict[str, list[Piece]]:
        found = {}
        seconds, errors = self.seconds.setdefault(GOBELIN, {}), self.errors.setdefault(GOBELIN, {})
        for page in pages:
            start = time.process_time()
            try:
                content = find_nodes.read_page(page.payload, page.charset, page.url, ())
            except Exception as problem:  # noqa: BLE001  # an extractor under development still gets its figures
                errors[page.name] = f"{type(problem).__name__}: {problem}"
                content = None
            seconds[page.name] = time.process_time() - start
            self.ways[page.name] = (
                getattr(content, "extractor", None) or f"refused: {getattr(content, 'rule', 'error')}"
            )
            found[page.name] = [gobelin_piece(piece, page.url) for piece in getattr(content, "pieces", ())]
        return found

    def _peer(self, extractor: str, pages: Sequence[Page]) -> dict[str, list[Piece]]:
        python = environment(PEERS[extractor], self._folder)
        digest = hashlib.sha256(SCRIPT.read_bytes() + "\n".join((extractor, *PACKAGES[PEERS[extractor]])).encode())
        for page in pages:
            digest.update(f"{page.name} {page.url} {hashlib.sha256(page.payload).hexdigest()}\n".encode())
        kept = self._folder / "outputs" / f"{extractor.replace(' ', '-')}-{digest.hexdigest()[:20]}.jsonl"
        if self._fresh or not kept.exists():
            kept.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory() as work:
                job, out = Path(work, "job.jsonl"), Path(work, "out.jsonl")
                write_job(job, pages)
                subprocess.run(
                    [str(python), str(SCRIPT), extractor, str(job), str(out)], check=True, stderr=subprocess.DEVNULL
                )
                shutil.move(out, kept)
        found = {}
        seconds, errors = self.seconds.setdefault(extractor, {}), self.errors.setdefault(extractor, {})
        urls = {page.name: page.url for page in pages}
        for line in kept.read_text("utf-8").splitlines():
            row = json.loads(line)
            name = row["name"]
            found[name] = [_peer_piece(piece, urls[name]) for piece in row["pieces"]]
            seconds[name] = row["seconds"]
            if row["error"]:
                errors[name] = row["error"]
        return found

    def way_costs(self) -> dict[str, dict[str, float | None]]:
        """For each of gobelin's ways: pages that it served, and CPU milliseconds a page (no reading of archives)."""
        seconds: dict[str, list[float]] = {}
        for name, way in self.ways.items():
            seconds.setdefault(way, []).append(1000 * self.seconds[GOBELIN][name])
        return {
            way: {"pages": len(costs), "mean ms": fmean(costs), "median ms": median(costs), "most ms": max(costs)}
            for way, costs in sorted(seconds.items())
        }


def gobelin_piece(piece: object, url: str) -> Piece:
    """A piece of gobelin's as the bench sees it."""
    candidates = getattr(piece, "candidates", None)
    if candidates is None:
        return Piece(text=getattr(piece, "text"))  # noqa: B009
    urls = frozenset(normal_url(url, one) for one in candidates)
    if candidates[0].startswith("data:image/svg"):
        urls |= {DRAWING}
    return Piece(urls=urls, alt=getattr(piece, "alt", None) or "", caption=getattr(piece, "caption", None) or "")


def _peer_piece(piece: list, url: str) -> Piece:
    if piece[0] == "text":
        return Piece(text=piece[1])
    urls = frozenset(normal_url(url, one) for one in piece[1]) or frozenset(("unknown",))
    return Piece(urls=urls, alt=piece[2] or "", caption=piece[3] or "")


def write_job(path: Path, pages: Sequence[Page]) -> None:
    """Pages as peers/extract.py reads them."""
    with path.open("w", encoding="utf-8") as job:
        for page in pages:
            html = base64.b64encode(page.payload).decode()
            job.write(json.dumps({"name": page.name, "url": page.url, "html": html}) + "\n")


def environment(name: str, folder: Path) -> Path:
    """The Python of an environment; made with uv where it is not there yet."""
    packages = PACKAGES[name]
    key = hashlib.sha256("\n".join(packages).encode()).hexdigest()[:8]
    home = folder / f"{name}-{key}"
    python = home / "bin" / "python"
    if not (home / "ready").exists():
        print(f"making the environment of {name} ...", file=sys.stderr)
        uv = _uv()
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        subprocess.run([uv, "venv", "--quiet", "--clear", "--python", version, str(home)], check=True)
        subprocess.run([uv, "pip", "install", "--quiet", "--python", str(python), *packages], check=True)
        (home / "ready").touch()
    return python


def _uv() -> str:
    beside = Path(sys.executable).with_name("uv")
    found = str(beside) if beside.exists() else shutil.which("uv")
    if found is None:
        raise ValueError(
            "uv was not found: install it (pip install uv) to make the environments of the other extractors"
        )
    return found
