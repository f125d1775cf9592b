"""Makes the picture of the README: one document of the demo, its tokens, and the model's drawings for its captions.

    python -m examples.demo.show_document out/demo/run --row 3 --to docs/images/document.png

Needs Debian's Chromium and the package playwright (extra ``dev``).
"""

from __future__ import annotations

import argparse
import base64
import html
import json
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow.parquet as pq

from gobelin.pipeline.ask.inspect_shards import find_shards, view_row
from gobelin.report.sequence_page import TokenRun
from gobelin.store.dataset import current, paths_of

NUM_CAPTIONS = 6

STYLE = """
body{margin:0;width:1180px;background:#fbfaf7;color:#1f2328;font:15px/1.45 system-ui,sans-serif;padding:18px}
h2{font-size:16px;margin:0 0 10px;color:#33638f}.all{display:flex;gap:16px}
.all>div{background:#fff;border:1px solid #e2ded6;border-radius:8px;padding:14px 16px}
.page{width:330px}.page h1{font-size:19px;margin:0 0 8px}.page p{margin:0 0 9px}
.page img{width:132px;display:block;border:1px solid #ddd}.page figcaption{color:#666;font-size:13px;margin:3px 0 9px}
figure{margin:0}.tokens{width:400px;font:12px/1.6 ui-monospace,monospace}.tokens h2,.drawn h2{font-family:system-ui}
.special{background:#33638f;color:#fff;border-radius:4px;padding:1px 5px}.text{background:#f4ead6;border-radius:4px}
.codes{display:flex;gap:12px;align-items:center;margin:5px 0}.codes img{width:96px;image-rendering:pixelated}
table{border-collapse:collapse}td{text-align:right;padding:0 4px;color:#8a5a00;line-height:1.3}
.drawn{width:296px}.drawn img{width:68px;image-rendering:pixelated;border:1px solid #ddd;margin:0 3px 6px 0}
.drawn p{margin:0 0 4px;font-size:14px}.note{color:#666;font-size:13px}
"""


def _image(data: bytes) -> str:
    return f'<img src="data:image/png;base64,{base64.b64encode(data).decode()}" alt="">'


def _pictures(run: str, wanted: set[str]) -> dict[str, bytes]:
    """Image id -> its file, as the crawl held it."""
    found = {}
    for path in paths_of(current(f"{run}/extract/images")):
        for row in pq.read_table(path, columns=["image_id", "data"]).to_pylist():
            if row["image_id"] in wanted:
                found[row["image_id"]] = row["data"]
    return found


def _page(runs: Sequence[TokenRun], pictures: dict[str, bytes]) -> Iterator[str]:
    """The document as a reader sees it. A text behind a token of a caption is one."""
    before, waiting = "", ""
    for number, run in enumerate(runs):
        if run.kind == "image" and run.image_id is not None:
            yield f"<figure>{_image(pictures[run.image_id])}{waiting}</figure>"
            waiting = ""
        elif run.kind == "text" and "caption" in before:
            caption = f"<figcaption>{html.escape(run.words)}</figcaption>"
            waiting = caption if "next" in before else ""
            yield "" if waiting else caption
        elif run.kind == "text":
            yield f"<h1>{html.escape(run.words)}</h1>" if number < 4 else f"<p>{html.escape(run.words)}</p>"
        before = run.words if run.kind == "special" else ""


def _tokens(runs: Sequence[TokenRun], codes: Sequence[int], offset: int, folder: Path) -> Iterator[str]:
    for run in runs:
        if run.kind == "special":
            yield f"<span class=special>{html.escape(run.words)}</span> "
        elif run.kind == "text":
            words = run.words if len(run.words) < 60 else f"{run.words[:56]}…"
            number = run.stop - run.start
            yield f"<span class=text>{html.escape(words)}</span> <span class=note>{number} tokens</span><br>"
        elif run.grid is not None:
            own = [code - offset for code in codes[run.start : run.stop]]
            rows = [own[place : place + run.grid[1]] for place in range(0, len(own), run.grid[1])]
            table = "".join(f"<tr>{''.join(f'<td>{code}' for code in row)}" for row in rows)
            drawn = _image((folder / run.picture).read_bytes()) if run.picture else ""
            yield f"<div class=codes><table>{table}</table>→{drawn}</div>"


def _drawn(run: str, captions: Sequence[str]) -> Iterator[str]:
    folder = Path(run, "sample")
    drawn = json.loads((folder / "samples.json").read_text("utf-8"))["from_captions"]
    for each in [each for each in drawn if each["caption"] in captions][:NUM_CAPTIONS]:
        pictures = "".join(_image((folder / name).read_bytes()) for name in each["images"][:4])
        yield f"<p>“{html.escape(each['caption'])}”</p>{pictures}"


def show(run: str, number: int, num_runs: int) -> str:
    """The picture as an HTML page.

    Args:
        run: output folder of a local run, all stages done.
        number: row of the token shards.
        num_runs: how many runs of tokens of it are shown.
    """
    shards = find_shards(run)
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work, "row")
        view = view_row(shards, number, None, str(folder))
        place, shard = number, 0
        while place >= shards[shard].num_rows:
            place, shard = place - shards[shard].num_rows, shard + 1
        codes = pq.read_table(shards[shard].path, columns=["tokens"])["tokens"][place].as_py()
        offset = shards[shard].vocabulary.image_offset
        runs = view.runs[:num_runs]
        pictures = _pictures(run, {each.image_id for each in runs if each.image_id is not None})
        texts = [each.words for each in view.runs if each.kind == "text"]
        columns = {
            "page": ("What was kept of a page", _page(runs, pictures)),
            "tokens": ("Its tokens: text, and 7 × 7 codes a picture", _tokens(runs, codes, offset, folder)),
            "drawn": ("Drawn by a model that has not seen it", _drawn(run, texts)),
        }
        body = "".join(
            f"<div class={name}><h2>{title}</h2>{''.join(of)}</div>" for name, (title, of) in columns.items()
        )
    return f"<!doctype html><meta charset=utf-8><style>{STYLE}</style><div class=all>{body}</div>"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("run", help="output folder of a run of the demo")
    parser.add_argument("--row", type=int, default=3)
    parser.add_argument("--runs", type=int, default=19, help="how many runs of tokens are shown")
    parser.add_argument("--to", required=True, help="the PNG")
    given = parser.parse_args()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1216, "height": 300})
        page.set_content(show(given.run, given.row, given.runs))
        page.screenshot(path=given.to, full_page=True)
        browser.close()


if __name__ == "__main__":
    main()
