"""What is held out from training: whole sites, nothing that training has seen, written down and used again."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gobelin.errors import UserError
from gobelin.pipeline.stages.train_held_out import hold_out
from gobelin.store.dataset import commit_shards, data_output, shard_name
from gobelin.train.config import TrainConfig
from gobelin.train.held_out import HeldOut, choose_sites, hash_of

CONFIG = TrainConfig(validation_ratio=0.2)


def _write(folder: Path, rows: list[dict[str, str]]) -> None:
    with data_output(str(folder), shard_name(0, 1)) as new:
        pq.write_table(pa.Table.from_pylist(rows), new.stream)
        new.num_rows = len(rows)
    assert commit_shards(str(folder), 1)


def _output(folder: Path, sites: dict[str, str], near: dict[str, str], dropped: dict[str, str] | None = None) -> str:
    """A corpus of documents and their sites. ``near``: the group of a document, where it is not its own."""
    _write(
        folder / "select" / "documents",
        [{"doc_id": name, "url": f"https://{site}/{name}"} for name, site in sites.items()],
    )
    scored = [*sites, *(dropped or {})]
    _write(
        folder / "score" / "documents",
        [
            {"doc_id": name, "exact_group": name, "near_group": {**near, **(dropped or {})}.get(name, name)}
            for name in scored
        ],
    )
    return str(folder)


SITES = {f"{number:032x}": f"{'www.' * (number % 2)}site{number % 20}.example" for number in range(200)}


def test_whole_sites_are_held_out(tmp_path: Path) -> None:
    split = hold_out(_output(tmp_path, SITES, {}), CONFIG)
    assert split.by == "site"
    assert len(split.sites) == 4
    assert not any(site.startswith("www.") for site in split.sites)
    held_out = {name for name, site in SITES.items() if site.removeprefix("www.") in split.sites}
    assert set(split.documents) == held_out
    assert len(held_out) == 40
    assert split.left_out == ()
    assert hold_out(str(tmp_path), CONFIG) == split


def test_near_duplicates_across_the_split_are_on_neither_side(tmp_path: Path) -> None:
    before = hold_out(_output(tmp_path / "before", SITES, {}), CONFIG)
    trained = next(name for name in SITES if name not in before.documents)
    first, second, third, fourth = before.documents[:4]
    near = {first: trained, second: third}  # across the split; within what is held out
    split = hold_out(_output(tmp_path / "after", SITES, near, dropped={"f" * 32: fourth}), CONFIG)
    assert split.left_out == (first,)
    assert set(split.documents) == set(before.documents) - {first}  # the fourth's duplicate was dropped by `select`


@pytest.mark.parametrize(
    ("documents", "ratio", "shares"),
    [
        ({f"s{number}": 1 for number in range(1000)}, 0.05, (0.05, 0.051)),
        ({"big": 900, **{f"s{number}": 1 for number in range(100)}}, 0.05, (0.05, 0.051)),  # the big one is passed over
        ({f"s{number}": 10 for number in range(8)}, 0.05, (0.125, 0.125)),  # the smallest there is
        ({"a": 10, "b": 10}, 0.05, (0.0, 0.0)),  # half of all is too much
        ({"a": 10}, 0.0, (0.0, 0.0)),
    ],
    ids=["small sites", "a big site", "few sites", "two sites", "nothing asked for"],
)
def test_the_share_of_documents(documents: dict[str, int], ratio: float, shares: tuple[float, float]) -> None:
    chosen = choose_sites({hash_of(site): count for site, count in documents.items()}, ratio)
    share = sum(documents[site] for site in documents if hash_of(site) in chosen) / sum(documents.values())
    assert shares[0] <= share <= shares[1]


def test_documents_of_one_site_are_split_one_by_one(tmp_path: Path) -> None:
    sites = dict.fromkeys(SITES, "one.example")
    split = hold_out(_output(tmp_path, sites, {}), CONFIG)
    assert (split.by, split.sites) == ("document", ())
    assert 20 < len(split.documents) < 60


def test_another_run_uses_what_was_written_down(tmp_path: Path) -> None:
    split = hold_out(_output(tmp_path / "one", SITES, {}), CONFIG)
    split.save(str(tmp_path))
    assert HeldOut.load(str(tmp_path / "held_out.json")) == split
    config = dataclasses.replace(CONFIG, held_out=str(tmp_path / "held_out.json"), validation_ratio=0.0)
    site = split.sites[0]
    other = {name: site_of for name, site_of in SITES.items() if int(name, 16) % 3}
    other |= {"a" * 32: f"www.{site}", "b" * 32: "new.example"}
    again = hold_out(_output(tmp_path / "two", other, {}), config)
    assert again.by == "file"
    assert set(again.documents) == set(split.documents) & set(other)
    assert again.left_out == ("a" * 32,)  # another page of a site that is held out


@pytest.mark.parametrize(
    "content", ["[]", "{}", '{"version": 1, "by": "site", "sites": [1], "documents": [], "left_out": []}']
)
def test_other_files_are_refused(content: str, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(content)
    with pytest.raises(UserError, match=r"is not a held_out\.json"):
        HeldOut.load(str(tmp_path / "x.json"))
    with pytest.raises(UserError, match="no file"):
        HeldOut.load(str(tmp_path / "none.json"))


def test_the_file_is_json_with_a_version(tmp_path: Path) -> None:
    HeldOut("site", ("a.example",), ("0" * 32,), ()).save(str(tmp_path))
    values = json.loads((tmp_path / "held_out.json").read_text())
    assert values == {"version": 1, "by": "site", "sites": ["a.example"], "documents": ["0" * 32], "left_out": []}
