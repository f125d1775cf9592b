"""Writes the sample crawl: WARC files, the truth about every page and picture in them, and a summary.

    python -m examples.sample_crawl.make_crawl --output DIR --seed 1

Same seed, same bytes. The number of pages is split by `SHARES`; each page is built by `pages`, written into one of six
files, its pictures mostly into others. `truth.jsonl` is described in README.md. Some 20 s for 900 pages on one core.
"""

from __future__ import annotations

import argparse
import collections
import dataclasses
import json
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from examples.sample_crawl import dirt
from examples.sample_crawl.archive import CrawlArchive
from examples.sample_crawl.languages import LANGUAGES
from examples.sample_crawl.pages import (
    OPT_OUTS,
    BuiltPage,
    PageTruth,
    build_answer,
    build_foreign,
    build_good,
    build_lorem,
    build_spam,
    build_thin,
    mirror_of,
    opted_out,
    truth_line,
)
from examples.sample_crawl.references import ImageTruth, Resource, image_id
from examples.sample_crawl.sites import SITES

NUM_FILES = 6
MIN_PAGES = 40
PLAN_STREAM = 0x91A4

SHARES: dict[str, float] = {
    "near_duplicate": 0.022, "mirror": 0.022, "spam": 0.022, "lorem_ipsum": 0.014, "thin": 0.018,
    "opt_out_meta": 0.012, "opt_out_header": 0.012, "opt_out_tdm": 0.012, "opt_out_tdm_meta": 0.012,
    "german": 0.012, "french": 0.012, "spanish": 0.012, "chinese": 0.012,
    "not_found": 0.013, "redirect": 0.012, "plain_text": 0.012,
}  # fmt: skip
"""How many of the pages are dirt, by kind; the others are good. At least one of each."""

BUTTONS = {"icon-pen.png": ("P", 16), "button-share.png": ("S", 64), "icon-like.png": ("L", 24),
           "icon-mail.png": ("M", 24), "icon-home.png": ("H", 16)}  # fmt: skip


@dataclasses.dataclass(frozen=True, slots=True)
class CrawlSummary:
    """What was written."""

    paths: tuple[Path, ...]  # the WARC files
    truth_path: Path
    num_records: int
    num_bytes: int  # of the WARC files
    pages_by_kind: dict[str, int]
    images_by_kind: dict[str, int]  # URLs
    num_scenes: int  # distinct level-6 scenes shown whole, with true words, on pages that should be kept


def plan_roles(num_pages: int, seed: int) -> list[str]:
    """The role of each page, in random order."""
    if num_pages < MIN_PAGES:
        raise ValueError(f"pages={num_pages} is too few to hold every kind of dirt; give at least {MIN_PAGES}")
    dirty = [role for role, share in SHARES.items() for _ in range(max(1, round(share * num_pages)))]
    roles = dirty + ["good"] * (num_pages - len(dirty))
    return [roles[i] for i in np.random.default_rng([PLAN_STREAM, seed]).permutation(num_pages).tolist()]


def _is_whole(role: str) -> bool:
    """Built by `build_good`, with a place of its own in its site."""
    return role == "good" or role in OPT_OUTS


class Truth:
    """Collects the truth; one entry an image URL, whichever pages use it."""

    def __init__(self) -> None:
        self.pages: list[PageTruth] = []
        self.images: dict[str, tuple[ImageTruth, list[str]]] = {}

    def add(self, page: BuiltPage) -> None:
        self.pages.append(page.truth)
        for image in page.images:
            known, users = self.images.get(image.url, (image, []))
            if page.truth.url not in users:
                users.append(page.truth.url)
            best = image if (image.keep, image.group is not None) > (known.keep, known.group is not None) else known
            self.images[image.url] = best, users

    def lines(self) -> list[dict[str, Any]]:
        found = []
        for page in self.pages:
            found.append(
                truth_line("page", url=page.url, keep=page.keep, kind=page.kind, group=page.group, note=page.note)
            )
            if not page.keep:
                continue
            for text in page.boilerplate:
                found.append(truth_line("text", url=page.url, keep=False, kind="boilerplate", text=text))
            for text in page.content:
                found.append(truth_line("text", url=page.url, keep=True, kind="good", text=text))
            for address in page.emails:
                found.append(truth_line("email", url=page.url, keep=False, kind="email", text=address))
        for image, users in self.images.values():
            found.append(truth_line("image", page_url=users, **dataclasses.asdict(image)))
        return found


def shared_resource(url: str) -> Resource:
    """The bytes behind a logo, icon, banner or tracker, by the name in its URL."""
    name = url.rsplit("/", 1)[1]
    if "metrics.example" in url:
        return Resource(url, dirt.PLACEHOLDER_GIF, "image/gif")
    if "ads.example" in url:
        picture = dirt.banner(("SPRING", "SALE"), (176, 92, 60), 125, 125)
    elif name == "campaign.png":  # the same bytes on every site
        picture = dirt.banner(("Join us", "this summer"), (60, 110, 120), 160, 96)
    elif name == "logo.png":
        site = next((site for site in SITES if site.label in url), SITES[0])
        picture = dirt.logo(site.name, site.tint)
    else:
        picture = dirt.icon(*BUTTONS[name])
    return Resource(url, dirt.encode(picture), "image/png")


class _Builder:
    """Builds the pages of a plan. Copies are of good pages, each of which is copied at most once."""

    def __init__(self, roles: list[str], seed: int) -> None:
        self.roles = roles
        self.seed = seed
        self.good_index = {index: n for n, index in enumerate(i for i, role in enumerate(roles) if _is_whole(role))}
        sources = [index for index, role in enumerate(roles) if role == "good"]
        copies = [index for index, role in enumerate(roles) if role in ("near_duplicate", "mirror")]
        chosen = np.random.default_rng([PLAN_STREAM, seed, 1]).permutation(len(sources))
        self.source_of = {copy: sources[int(i)] for copy, i in zip(copies, chosen)}
        self.copy_of = {source: copy for copy, source in self.source_of.items()}
        self.counts: collections.Counter[str] = collections.Counter()

    def _good(self, index: int, role: str = "good") -> BuiltPage:
        return build_good(self.seed, index, self.good_index[index], role)

    def build(self, index: int) -> BuiltPage:
        """The page of this index, with its truth."""
        role = self.roles[index]
        number = self.counts[role] = self.counts[role] + 1
        match role:
            case "good":
                return self._original(index)
            case "near_duplicate":
                source = self.source_of[index]
                page = self._good(source, role)
                truth = dataclasses.replace(
                    page.truth, group=f"near-{source}", note="a few words of another page changed"
                )
                return dataclasses.replace(page, truth=truth, resources=())
            case "mirror":
                return mirror_of(self._good(self.source_of[index]))[1]
            case "spam":
                return build_spam(self.seed, index, number)
            case "lorem_ipsum":
                return build_lorem(self.seed, index, number)
            case "thin":
                return build_thin(self.seed, index, number)
            case _ if role in LANGUAGES:
                return build_foreign(self.seed, index, number, role)
            case _ if role in OPT_OUTS:
                return opted_out(self._good(index, role), role)
        return build_answer(index, number, role)

    def _original(self, index: int) -> BuiltPage:
        page = self._good(index)
        match self.roles[self.copy_of[index]] if index in self.copy_of else None:
            case "mirror":
                return mirror_of(page)[0]
            case "near_duplicate":
                note = "has a near-duplicate; exactly one of the two should stay"
                return dataclasses.replace(
                    page, truth=dataclasses.replace(page.truth, group=f"near-{index}", note=note)
                )
        return page


def make_crawl(
    output: Path, seed: int = 1, pages: int = 900, on_progress: Callable[[int, int], None] | None = None
) -> CrawlSummary:
    """Writes the crawl into the folder ``output``: sample-0000N.warc.gz, truth.jsonl and summary.json.

    ``on_progress(done, total)`` is called after each page. ValueError for fewer than MIN_PAGES pages.
    """
    builder = _Builder(plan_roles(pages, seed), seed)
    output.mkdir(parents=True, exist_ok=True)
    truth = Truth()
    written: dict[str, str] = {}  # shared URL -> image id
    with CrawlArchive(output, seed, NUM_FILES) as archive:
        for number, host in enumerate(sorted({site.host for site in SITES} | {"deals.example", "metrics.example"})):
            robots = Resource(f"https://{host}/robots.txt", b"User-agent: *\nAllow: /\n", "text/plain")
            archive.write(robots, number)
        for index in range(pages):
            page = builder.build(index)
            for image in page.images:
                if image.image_id is None and image.scene is None and image.url not in written:
                    resource = shared_resource(image.url)
                    written[image.url] = image_id(resource.body)
                    archive.write(resource, index + 1)
            images = tuple(
                dataclasses.replace(image, image_id=written[image.url]) if image.url in written else image
                for image in page.images
            )
            truth.add(dataclasses.replace(page, images=images))
            archive.write(page.response, index)
            for resource in page.resources:
                elsewhere = zlib.crc32(resource.url.encode()) % 10
                archive.write(resource, index + elsewhere)
            if on_progress is not None:
                on_progress(index + 1, pages)
    lines = truth.lines()
    truth_path = output / "truth.jsonl"
    truth_path.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), encoding="utf-8")
    summary = CrawlSummary(
        tuple(archive.paths), truth_path, archive.num_records, sum(path.stat().st_size for path in archive.paths),
        _count(lines, "page"), _count(lines, "image"), _num_scenes(lines),
    )  # fmt: skip
    shape = {name: value for name, value in dataclasses.asdict(summary).items() if name not in ("paths", "truth_path")}
    (output / "summary.json").write_text(json.dumps({"seed": seed, **shape}, indent=2) + "\n")
    return summary


def _count(lines: list[dict[str, Any]], unit: str) -> dict[str, int]:
    return dict(sorted(collections.Counter(line["kind"] for line in lines if line["unit"] == unit).items()))


def _num_scenes(lines: list[dict[str, Any]]) -> int:
    """Distinct pictures (variants and mirrors count once) of one big shape that should stay."""
    kept = [line for line in lines if line["unit"] == "image" and line["keep"]]
    return len({line.get("group", line["url"]) for line in kept if line["scene"]["family"] == "shape"})


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Write the sample crawl: WARC files with drawn pages, and their truth."
    )
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder to write into")
    parser.add_argument("--seed", type=int, default=1, help="same seed, same bytes (default 1)")
    parser.add_argument("--pages", type=int, default=900, help=f"number of pages, at least {MIN_PAGES} (default 900)")
    arguments = parser.parse_args()
    try:
        summary = make_crawl(arguments.output, arguments.seed, arguments.pages)
    except ValueError as error:
        parser.error(str(error))
    num_pages, num_images = sum(summary.pages_by_kind.values()), sum(summary.images_by_kind.values())
    print(f"{num_pages} pages, {num_images} image URLs, {summary.num_scenes} scenes to keep")
    print(
        f"{summary.num_records} records, {summary.num_bytes / 1e6:.1f} MB in {len(summary.paths)} files "
        f"in {arguments.output}"
    )


if __name__ == "__main__":
    main()
