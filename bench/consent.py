"""Counts signals and licence statements of pages, and measures the cost of finding them.

    python bench/consent.py ../shared/corpus/web/*.warc.gz ../shared/corpus/warc-edge/*/*
    python bench/consent.py ../shared/corpus/extraction/*/*.html*          # pages as files count by folder
    python bench/consent.py --list FILE...                                 # each statement, for reading by eye

Prints one row per file or folder. Then it prints the time per page and per policy (the least of three runs, median over
pages). docs/consent.md explains the columns.
"""

from __future__ import annotations

import argparse
import gzip
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

from gobelin.transforms.archives.ranges import ArchiveRange
from gobelin.transforms.archives.read_warc import Capture, PageCapture, PolicyCapture, read_range
from gobelin.transforms.pages.tree.decode_text import decode
from gobelin.transforms.pages.tree.find_nodes import PageProblem, parse_html
from gobelin.transforms.rights.consent import effective, find_consent, merge_signals
from gobelin.transforms.rights.licences import find_licences
from gobelin.transforms.rights.site_policy import host_key, policy_row, read_site

MAX_BYTES = 10 << 20
LARGE = range(100_000, 250_000)
"""Bytes of the pages that the times are of."""

Headers = tuple[tuple[str, str], ...]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("paths", nargs="+", type=Path, help="archives and HTML files")
    parser.add_argument("--list", action="store_true", help="print each refusal and each licence statement")
    options = parser.parse_args()
    counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    times: defaultdict[str, list[float]] = defaultdict(list)
    for path in options.paths:
        pages, policies = _read(path)
        name = "/".join(path.parts[-2:]) if ".htm" not in path.name else f"{path.parts[-2]}/"
        sites = defaultdict(list)
        for row in filter(None, map(policy_row, policies)):
            sites[row["host"]].append(row)
            counts[name]["policies"] += 1
            times["read a policy, ms"].append(1000 * _least(lambda row=row: read_site([row])))
        read = {host: read_site(rows) for host, rows in sites.items()}
        for url, payload, charset, headers in pages:
            tree = parse_html(decode(payload, charset)[0])
            if isinstance(tree, PageProblem):
                continue
            own = find_consent(tree, headers)
            host = read.get(host_key(url))
            signals = merge_signals(own, host.signals(url) if host else ())
            licences = find_licences(tree, url)
            counts[name] += Counter(
                ["pages", *["with signals"] * bool(signals), *["with licences"] * bool(licences)]
                + [f"refuses {use}" for use, verdict in effective(signals).items() if verdict == "disallow"]
                + [f"licence of {scope}" for scope in {licence.scope for licence in licences}]
            )
            if len(payload) in LARGE:
                times["signals of a page, ms"].append(1000 * _least(find_consent, tree, headers))
                times["licences of a page, ms"].append(1000 * _least(find_licences, tree, url))
            if options.list:
                for line in (*signals, *licences):
                    print(f"{url}\t{line}")
    columns = sorted({column for counted in counts.values() for column in counted})
    print("\t".join(["", *columns]))
    for name, counted in counts.items():
        print("\t".join([name, *(str(counted[column]) for column in columns)]))
    for what, measured in sorted(times.items()):
        print(f"{what}: {median(measured):.2f} (median of {len(measured)}), longest {max(measured):.2f}")


def _read(path: Path) -> tuple[list[tuple[str, bytes, str | None, Headers]], list[Capture]]:
    """Pages as (url, payload, charset, headers), and captures of policies."""
    if ".htm" in path.name:
        data = path.read_bytes()
        return [(f"https://{path.name}/", gzip.decompress(data) if path.suffix == ".gz" else data, None, ())], []
    found = list(_captures(path))
    pages = [each.capture for each in found if isinstance(each, PageCapture)]
    policies = [each.capture for each in found if isinstance(each, PolicyCapture)]
    return [(page.url, page.payload, page.charset, page.headers) for page in pages if page.status == 200], policies


def _captures(path: Path) -> Iterator[PageCapture | PolicyCapture]:
    for found in read_range(ArchiveRange(str(path)), MAX_BYTES, MAX_BYTES):
        if isinstance(found, (PageCapture, PolicyCapture)):
            yield found


def _least(work: Callable[..., Any], *arguments: Any) -> float:
    """Seconds of the fastest of three runs."""
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        work(*arguments)
        seconds.append(time.perf_counter() - start)
    return min(seconds)


if __name__ == "__main__":
    main()
