"""The report: true numbers, and nothing of the web comes alive in it."""

from __future__ import annotations

import base64
import dataclasses
import io
import json
import math
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import lxml.html
import pytest
from PIL import Image as PillowImage
from PIL.PngImagePlugin import PngInfo

from gobelin.data.ids import image_id, shard_of
from gobelin.data.schemas import DECISIONS, DOCUMENT_SCORES, DOCUMENTS, IMAGE_CODES, IMAGE_SCORES, IMAGES, TOKEN_SHARDS
from gobelin.pipeline.recipe.recipe import as_dict, load_recipe
from gobelin.report import wording
from gobelin.report.documents import view_documents
from gobelin.report.page import _environment, write_report
from gobelin.report.survey import survey_scores
from gobelin.store.dataset import commit_shards
from gobelin.store.shards import read_folder, write_shard
from gobelin.store.tables import shard_path
from gobelin.transforms.images.thumbnail import NUM_CELLS
from gobelin.transforms.selection.config import SelectConfig
from gobelin.transforms.selection.document_thresholds import DocumentRules
from gobelin.transforms.selection.node_thresholds import ImageRules, TextRules

Row = dict[str, Any]

NUM_SHARDS = 2
HOSTILE = "</p><script>alert('x')</script>\"'><img src=x onerror=alert(1)>{{ 7*7 }}"
SECRET = b"SECRET-IN-THE-FILE"
NUM_DOCUMENTS = 6


def doc_id(number: int) -> str:
    return f"{number:032x}"


def picture(shade: int, size: tuple[int, int] = (320, 200)) -> bytes:
    """A PNG that carries a text chunk and bytes behind its end."""
    note = PngInfo()
    note.add_text("Comment", SECRET.decode())
    stream = io.BytesIO()
    PillowImage.new("RGB", size, (shade, 100, 200)).save(stream, "PNG", pnginfo=note)
    return stream.getvalue() + SECRET


PICTURES = [picture(shade) for shade in (10, 60, 110, 160)] + [picture(200, (40, 40))]
IDS = [image_id(data) for data in PICTURES]
SMALL = IDS[4]
UNSAFE = IDS[3]


def node_scores(kind: str, **values: Any) -> Row:
    names = [field.name for field in DOCUMENT_SCORES.field("nodes").type.value_type]
    return {**dict.fromkeys(names), "kind": kind, **values}


def write_set(folder: Path, schema: Any, rows: list[Row], key: str) -> None:
    folder.mkdir(parents=True)
    for index in range(NUM_SHARDS):
        part = sorted(
            (row for row in rows if shard_of(row[key] or row["image_id"] or row["url"], NUM_SHARDS) == index),
            key=lambda row: row[key] or "",
        )
        write_shard(shard_path(str(folder), index, NUM_SHARDS), part, schema)
    assert commit_shards(str(folder), NUM_SHARDS)


def document(number: int) -> Row:
    """Two texts, a picture, a small picture, and a picture that the archive does not hold."""
    url = "javascript:alert(document.domain)" if number == 1 else f"https://site{number % 2}.example/{number}"
    image = {"kind": "image", "alt": HOSTILE, "caption": HOSTILE, "image_url": "javascript:alert(3)"}
    blank: Row = dict.fromkeys(field.name for field in DOCUMENTS.field("nodes").type.value_type)
    nodes = [
        {"kind": "text", "text": f"{HOSTILE} number {number}, write to someone@mail.example please"},
        {**image, "image_id": IDS[number % 4], "rendered_width": 320},
        {"kind": "text", "text": "too short"},
        {**image, "image_id": SMALL},
        {**image, "image_id": None},
    ]
    return {
        "doc_id": doc_id(number), "url": url, "warc_file": "crawl/a.warc.gz", "warc_offset": 100 * number,
        "warc_length": 90, "warc_date": "2020-01-01T00:00:00Z", "content_digest": "sha256:0", "title": HOSTILE,
        "language": "en", "language_score": 0.5 + 0.1 * number,
        "charset": "utf-8", "extractor": "fast", "page_kind": "thread",
        "licences": [{"uri": "javascript:alert(2)", "scope": "page", "evidence": "link[rel=license]"}],
        "consent": [f"meta robots: {HOSTILE}"], "nodes": [{**blank, **node} for node in nodes],
    }  # fmt: skip


def document_scores(number: int) -> Row:
    nodes = [
        node_scores("text", num_words=12, special_char_ratio=0.3, site_count=1),
        node_scores(
            "image", image_id=IDS[number % 4], width=320, height=200, format="png", num_documents=1, near_count=1,
            clip_near_max=0.271, clip_alt=0.111, nsfw=0.99 if IDS[number % 4] == UNSAFE else 0.01,
        ),
        node_scores("text", num_words=2, special_char_ratio=0.1, site_count=1),
        node_scores("image", image_id=SMALL, width=40, height=40, format="png", num_documents=6, nsfw=0.01),
        node_scores("image"),
    ]  # fmt: skip
    name = doc_id(number)
    groups = dict.fromkeys(("url_group", "exact_group"), name)
    near = doc_id(0) if number < 3 else name
    return {"doc_id": name, "num_words": 14, "num_images": 2, **groups, "near_group": near, "nodes": nodes}


def decision(rule: str, unit: str, action: str = "drop", stage: str = "select", **about: Any) -> Row:
    return {**dict.fromkeys(DECISIONS.names), "stage": stage, "unit": unit, "action": action, "rule": rule, **about}


def recipe(**changes: Any) -> Row:
    select = SelectConfig(
        document=DocumentRules(languages=("en",), min_language_score=0.75, max_perplexity=1500, unique=("near",)),
        text=TextRules(min_words=4, max_special_char_ratio=0.5, max_site_count=0),
        image=ImageRules(min_side_px=150, max_nsfw=0.85),
    )
    plain = json.loads(json.dumps(dataclasses.asdict(select)))
    others = as_dict(load_recipe("gobelin", ("name=demo", "seed=7", f"num_shards={NUM_SHARDS}")))
    return {**others, "select": {**plain, **changes}}


def counts(seen: int, kept: int, dropped: dict[str, int], failed: int = 0) -> Row:
    return {"seen": seen, "kept": kept, "dropped": dropped, "failed": failed, "failed_by": {}}


LATER = ("tokenize", "train", "sample", "report")


@pytest.fixture
def output(tmp_path: Path) -> Path:
    """A run up to select: of six documents two are dropped by their language, one is a copy, and three stay."""
    out = tmp_path / "out"
    documents = [document(number) for number in range(NUM_DOCUMENTS)]
    write_set(out / "extract" / "documents", DOCUMENTS, documents, "doc_id")
    images = [
        {"image_id": name, "data": data, "format": "png", "width": 40 if name == SMALL else 320,
         "height": 40 if name == SMALL else 200, "phash": "0" * 16, "dhash": "0" * 16, "colour": "0" * 96,
         "thumbnail": "0000000100000001" + "00" * NUM_CELLS,
         "md5": "0" * 32, "consent": [], "source": "archive", "urls": ["https://a.example/x.png"],
         "warc_file": "crawl/a.warc.gz", "warc_offset": 0}
        for name, data in zip(IDS, PICTURES)
    ]  # fmt: skip
    write_set(out / "extract" / "images", IMAGES, images, "image_id")
    gone = decision("http_status", "document", stage="extract", url="https://a.example/?<b>", value=404, threshold=200)
    write_set(out / "extract" / "decisions", DECISIONS, [gone], "url")
    scores = [document_scores(number) for number in range(NUM_DOCUMENTS)]
    write_set(out / "score" / "documents", DOCUMENT_SCORES, scores, "doc_id")
    image_scores = [
        {"image_id": name, "width": 320, "height": 200, "phash": "0" * 16, "num_documents": 1,
         "near_group": min(IDS[:2]) if name in IDS[:2] else name, "near_count": 3,
         "nsfw": 0.99 if name == UNSAFE else 0.01}
        for name in IDS
    ]  # fmt: skip
    write_set(out / "score" / "images", IMAGE_SCORES, image_scores, "image_id")
    decisions = [
        *(
            decision("document.min_language_score", "document", doc_id=doc_id(number), url=documents[number]["url"],
                     value=0.5 + 0.1 * number, threshold=0.75)
            for number in (0, 1)
        ),
        decision("document.unique.near", "document", doc_id=doc_id(2), url="https://site0.example/2", value=3,
                 threshold=1, detail=f"kept: {doc_id(0)}"),
        *(
            decision("text.min_words", "node", doc_id=doc_id(number), node_index=2, value=2, threshold=4,
                     url="https://a.example/")
            for number in range(NUM_DOCUMENTS)
        ),
        *(
            decision("image.min_side_px", "node", doc_id=doc_id(number), node_index=3, image_id=SMALL, value=40,
                     threshold=150, url="javascript:alert(4)")
            for number in range(NUM_DOCUMENTS)
        ),
        *(
            decision("image.max_nsfw", "node", doc_id=doc_id(number), node_index=1, image_id=UNSAFE, value=0.99,
                     threshold=0.85, url="https://a.example/u.png")
            for number in (3,)
        ),
        decision("image.min_side_px", "image", image_id=SMALL, value=6),
    ]  # fmt: skip
    write_set(out / "select" / "decisions", DECISIONS, decisions, "doc_id")
    write_set(out / "select" / "documents", DOCUMENTS, documents[3:], "doc_id")
    stages: Row = {
        "extract": {"documents": counts(7, 6, {"http_status": 1}), "images": counts(5, 5, {})},
        "score": {"documents": counts(6, 6, {}), "images": counts(5, 5, {}), "clip_model": "tiny", "not_run": []},
        "select": {
            "documents": counts(6, 3, {"document.min_language_score": 2, "document.unique.near": 1}),
            "images": counts(5, 3, {"image.min_side_px": 1, "image.max_nsfw": 1}),
            "not_run": {"document.max_perplexity": 6},
        },
    }
    for name in stages:
        stages[name] |= {"status": "done", "stage": name, "seconds": 1.5}
    write_run(out, {**stages, **{name: {"status": "not run"} for name in LATER}})
    return out


def write_run(out: Path, stages: Row, select: Row | None = None) -> None:
    run = {
        "recipe": recipe(**(select or {})),
        "input": [{"path": f"crawl/{HOSTILE}.warc.gz", "bytes": 1000}],
        "schema_version": 1,
        "versions": {"python": "3.11", "gobelin": "0.1.0"},
        "stages": stages,
    }
    (out / "run.json").write_text(json.dumps(run), encoding="utf-8")


def add_model(out: Path) -> None:
    """Adds tokenize, train and sample: random codes of a tokenizer that learned nothing."""
    import torch

    from gobelin.tokenize.image_tokenizer import ImageTokenizer, save_image_tokenizer
    from gobelin.tokenize.shapes import VQVAEConfig
    from gobelin.tokenize.vocabulary import Vocabulary
    from gobelin.tokenize.vqvae import PatchAutoencoder

    folder = out / "tokenize"
    torch.manual_seed(0)
    tokenizer = ImageTokenizer(
        PatchAutoencoder(VQVAEConfig(image_size=16, patch_size=8, num_codes=4, channels=8, num_blocks=1))
    )
    save_image_tokenizer(tokenizer, str(folder / "image_tokenizer"))
    codes = [{"image_id": name, "codes": [0, 1, 1, 3]} for name in IDS[:3]]
    write_set(folder / "codes", IMAGE_CODES, codes, "image_id")
    vocabulary = Vocabulary(
        text_size=100, codebooks=(tokenizer.codebook,), text_fingerprint="0" * 64, text_token_bytes=(1,) * 100
    )
    vocabulary.save(str(folder))
    shards = [
        {"doc_id": doc_id(number), "tokens": [1, 5, 50, 51, 52, 3, 108, 109, 109, 111, 4, 2],
         "image_spans": [{"start": 6, "length": 4, "image_id": IDS[0]}]}
        for number in (3, 4, 5)
    ]  # fmt: skip
    write_set(folder / "shards", TOKEN_SHARDS, shards, "doc_id")
    train = out / "train"
    train.mkdir()
    lines = [{"step": step, "text_bits_per_byte": 8 / step, "image_nats": None} for step in (1, 2, 3)]
    (train / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    sample = out / "sample"
    (sample / "images").mkdir(parents=True)
    PillowImage.new("RGB", (16, 16), "red").save(sample / "images" / "0.png")
    samples = {
        "from_captions": [{"caption": HOSTILE, "images": ["images/0.png"]}],
        "from_images": [{"image": "images/0.png", "caption": HOSTILE, "true_caption": HOSTILE}],
        "documents": [[{"kind": "text", "text": HOSTILE}, {"kind": "image", "image": "images/0.png", "caption": None}]],
    }
    (sample / "samples.json").write_text(json.dumps(samples))
    stages = json.loads((out / "run.json").read_text())["stages"]
    gap = {"mean": 0.1, "low": -0.1, "high": 0.3, "true_nats": 1.0, "win_ratio": 0.6}
    stages["tokenize"] = {
        "documents": counts(3, 3, {}), "images": counts(3, 3, {}), "image_tokenizer": {"psnr_db": 20.0},
        "tokens": {"all": 36, "image": 12, "vocabulary": 112},
    }  # fmt: skip
    stages["train"] = {
        "steps": 3, "documents": {"training": 2, "validation": 1}, "losses": {"validation_text_bits_per_byte": 3.0},
        "grounding": {"num_pairs": 9, "image": gap, "text": {**gap, "low": 0.05}},
        "alerts": ["the model overfits: from step 1"], "notes": ["1 caption leaves no room"],
    }  # fmt: skip
    stages["sample"] = {"pictures": 1}
    for name in ("tokenize", "train", "sample"):
        stages[name] |= {"status": "done", "stage": name, "seconds": 2.0}
    write_run(out, stages)


def read(out: Path) -> tuple[lxml.html.HtmlElement, str, Row]:
    """The page as a tree and as text, and the numbers."""
    path = write_report(str(out), str(out / "report"))
    source = Path(path).read_text(encoding="utf-8")
    numbers = json.loads((out / "report" / "report.json").read_text(encoding="utf-8"))
    return lxml.html.document_fromstring(source), source, numbers


def links(tree: lxml.html.HtmlElement) -> set[str]:
    """Ids of the sections that the page's head links to, all of which are there."""
    found = {link.removeprefix("#") for link in tree.xpath("//nav/a/@href")}
    assert found <= set(tree.xpath("//section/@id"))
    return found


def section(tree: lxml.html.HtmlElement, name: str) -> str:
    return " ".join(tree.get_element_by_id(name).text_content().split())


@pytest.mark.parametrize("with_model", [False, True], ids=["to select", "whole"])
def test_nothing_of_the_web_comes_alive(output: Path, with_model: bool) -> None:
    if with_model:
        add_model(output)
    tree, source, _ = read(output)
    policy = tree.xpath("//meta[@http-equiv='Content-Security-Policy']/@content")[0]
    assert policy.startswith("default-src 'none'; img-src data:; style-src 'unsafe-inline'")
    assert not tree.xpath("//script | //iframe | //object | //embed | //form | //base | //link | //video | //audio")
    for element in tree.iter("*"):
        assert not [name for name in element.attrib if name.lower().startswith("on")], element.attrib
    assert all(uri.startswith("data:image/") for uri in tree.xpath("//img/@src"))
    links = tree.xpath("//a/@href")
    assert links
    assert all(link.startswith(("http://", "https://", "#")) for link in links)
    for anchor in tree.xpath("//a[not(starts-with(@href, '#'))]"):
        assert set(anchor.get("rel").split()) == {"noreferrer", "noopener"}
    assert "<script" not in source.lower()
    assert "url(" not in source
    assert "&lt;script&gt;alert(" in source  # it is there, as words
    assert "javascript:alert(document.domain)" in section(tree, "dropped")  # the address is told, but leads nowhere
    assert "49" not in section(tree, "kept")  # {{ 7*7 }} is no template


def test_pictures_are_encoded_anew_and_small(output: Path) -> None:
    tree, _, _ = read(output)
    uris = tree.xpath("//img/@src")
    assert uris
    for uri in uris:
        data = base64.b64decode(uri.partition(",")[2])
        assert SECRET not in data
        with PillowImage.open(io.BytesIO(data)) as image:
            assert max(image.size) <= 160
            assert not image.info.get("Comment")


def test_same_folder_gives_the_same_bytes(output: Path) -> None:
    add_model(output)
    first = [(output / "report" / name).read_bytes() for name in _written(output)]
    again = [(output / "report" / name).read_bytes() for name in _written(output)]
    assert first == again


def _written(out: Path) -> list[str]:
    write_report(str(out), str(out / "report"))
    names = sorted(path.name for path in (out / "report").iterdir())
    assert names == ["index.html", "report.json"]
    return names


def test_funnel_is_what_run_json_counts(output: Path) -> None:
    tree, _, numbers = read(output)
    rows = [(row["stage"], row["seen"], row["kept"], row["dropped"]) for row in numbers["funnel"]["documents"]]
    assert rows == [("extract", 7, 6, 1), ("score", 6, 6, 0), ("select", 6, 3, 3)]
    assert section(tree, "funnel").count("adds up") == 6
    assert "3 kept (50.0 %; 42.9 % of all)" in section(tree, "funnel").replace("\xa0", " ")


def test_reasons_on_pictures_show_them_beside_value_and_threshold(output: Path) -> None:
    tree, _, _ = read(output)
    rows = {
        (table.getparent().xpath("string(preceding-sibling::h3[1])").split(" ")[1], rule): row
        for table in tree.xpath("//section[@id='reasons']//table")
        for row in table.xpath(".//tr[td]")
        for rule in [row.xpath("string(td[1])").strip()]
    }
    for unit in ("pictures,", "texts"):
        (example,) = rows[unit, "image.min_side_px"].xpath(".//div[@class='met']")
        assert example.xpath(".//img/@src")[0].startswith("data:image/webp")
        assert "40 against 150" in " ".join(example.text_content().split())
        assert "javascript:alert(4)" in example.text_content()
        assert not example.xpath(".//a")
    unsafe = rows["texts", "image.max_nsfw"]
    assert not unsafe.xpath(".//img")


def test_answers_in_place_of_fonts_and_icons_are_counted_apart(output: Path) -> None:
    """They are pages in form; four of the ten seen are answers to requests for files."""
    files = ["favicon.ico", "favicon.ico", "fonts/a.woff2?v=1", "a.b/Photo.JPG#x"]
    pages = ["gone", "about.html", "a?b=favicon.ico", "icon.ico/more"]
    urls = [f"https://a.example/{name}" for name in (*files, *pages)] + ["https://favicon.ico", "https://a.ico/"]
    rows = [decision("http_status", "document", stage="extract", url=url, value=404, threshold=200) for url in urls]
    shutil.rmtree(output / "extract" / "decisions")
    write_set(output / "extract" / "decisions", DECISIONS, rows, "url")
    stages = json.loads((output / "run.json").read_text())["stages"]
    stages["extract"]["documents"] = counts(16, 6, {"http_status": 10})
    write_run(output, stages)
    tree, _, numbers = read(output)
    first = numbers["funnel"]["documents"][0]
    assert (first["seen"], first["kept"], first["dropped"], first["apart"]) == (12, 6, 6, 4)
    assert "counted apart: 4 answers other than 200 to requests for fonts" in section(tree, "funnel")
    assert "kept of 12 (25.0 %) after select" in tree.xpath("string(//header)").replace("\xa0", " ")
    assert "; 4 of them to requests for fonts" in section(tree, "reasons")


def test_numbers_that_do_not_add_up_are_told_first(output: Path) -> None:
    stages = json.loads((output / "run.json").read_text())["stages"]
    stages["select"]["documents"]["kept"] = 4
    write_run(output, stages)
    _, _, numbers = read(output)
    assert numbers["warnings"][0]["title"] == "The numbers do not add up"


def test_stages_that_have_not_run_are_told(output: Path) -> None:
    tree, _, numbers = read(output)
    assert [section(tree, name)[-8:] for name in ("tokens", "training", "samples")] == ["Not run."] * 3
    assert links(tree).isdisjoint({"tokens", "training", "samples"})
    assert links(tree) > {"kept", "dropped", "pictures", "duplicates"}
    assert numbers["tokens"] is None
    assert {"level": "note", "title": "Stages that have not run", "text": "tokenize, train, sample"} in numbers[
        "warnings"
    ]


@pytest.mark.parametrize("is_stale", [False, True], ids=["never ran", "left by an older run"])
def test_report_of_extract_alone(output: Path, is_stale: bool) -> None:
    stages = json.loads((output / "run.json").read_text())["stages"]
    for name in ("score", "select"):
        if not is_stale:
            (output / name).rename(output / f"no {name}")
        stages[name] = {"status": "not run"}
    write_run(output, stages)
    tree, _, numbers = read(output)
    assert section(tree, "kept").endswith("Not run.")
    assert links(tree) == {"funnel", "reasons", "scores", "properties", "openings", "recipe"}
    assert [reason["rule"] for reason in numbers["reasons"]] == ["http_status"]
    assert not any(numbers["examples"].values())
    assert numbers["duplicates"] == {"images": [], "documents": []}


def test_reasons_are_counted_by_stage_unit_and_rule(output: Path) -> None:
    _, _, numbers = read(output)
    found = {(row["stage"], row["unit"], row["rule"]): row["times"] for row in numbers["reasons"]}
    assert found == {
        ("extract", "document", "http_status"): 1,
        ("select", "document", "document.min_language_score"): 2,
        ("select", "document", "document.unique.near"): 1,
        ("select", "image", "image.min_side_px"): 1,
        ("select", "node", "image.max_nsfw"): 1,
        ("select", "node", "image.min_side_px"): 6,
        ("select", "node", "text.min_words"): 6,
    }


def test_each_rule_is_surveyed_by_itself(output: Path) -> None:
    found = {
        rule.rule.name: (rule.num_passed, rule.num_failed, rule.num_missing)
        for survey in survey_scores(str(output), recipe()["select"])
        for rule in survey.rules
    }
    assert found == {
        "document.min_language_score": (3, 3, 0),
        "document.max_perplexity": (0, 0, 6),
        "text.min_words": (6, 6, 0),
        "text.max_special_char_ratio": (12, 0, 0),
        "text.max_site_count": (0, 12, 0),
        "image.min_side_px": (6, 6, 0),
        "image.max_nsfw": (11, 1, 0),
    }


def test_words_and_pictures_left_are_those_of_nodes_not_dropped(output: Path) -> None:
    select = recipe(document=dataclasses.asdict(DocumentRules(min_words=13, min_images=1)))["select"]
    found = {survey.score: survey.rules[0] for survey in survey_scores(str(output), select)}
    assert found["words_left"].num_failed == 6  # 12 of 14 words are left
    assert found["images_left"].num_failed == 0  # the picture that is missing counts, as it has no decision here


def test_what_lies_near_a_threshold_is_nearest_first(output: Path) -> None:
    surveys = {survey.score: survey for survey in survey_scores(str(output), recipe()["select"])}
    rule = surveys["language_score"].rules[0]
    assert [round(near.value, 3) for near in rule.near_failed] == [0.7, 0.6, 0.5]
    assert [near.doc_id for near in rule.near_passed] == [doc_id(3), doc_id(4), doc_id(5)]


def test_pictures_beyond_the_safety_threshold_are_never_shown(output: Path) -> None:
    tree, source, _ = read(output)
    _, with_all, _ = read_with(output, image=dataclasses.asdict(ImageRules(min_side_px=150)))
    shade = thumbnail_of(PICTURES[3])
    assert shade in with_all
    assert shade not in source
    assert "1 picture beyond the safety threshold is never shown here" in section(tree, "pictures")


def read_with(out: Path, **select: Row) -> tuple[lxml.html.HtmlElement, str, Row]:
    write_run(out, json.loads((out / "run.json").read_text())["stages"], select)
    return read(out)


def thumbnail_of(data: bytes) -> str:
    from gobelin.report.pictures import THUMBNAIL_PX, webp_uri
    from gobelin.transforms.images.open_image import open_rgb

    image = open_rgb(data, 2 * THUMBNAIL_PX)
    image.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX), PillowImage.Resampling.LANCZOS)
    return webp_uri(image)


def test_email_addresses_are_masked(output: Path) -> None:
    _, source, _ = read(output)
    assert "number 3, write to" in source
    assert "someone@mail.example" not in source


def test_a_title_that_was_masked_is_no_reason_to_drop_its_document(output: Path) -> None:
    """The decision is counted, and its document stands among those kept."""
    held = list(read_folder(str(output / "select" / "decisions")))
    shutil.rmtree(output / "select" / "decisions")
    masked = {**decision("pii.email", "document", doc_id=doc_id(3), value=1, threshold=0, detail="title"),
              "action": "replace"}  # fmt: skip
    write_set(output / "select" / "decisions", DECISIONS, [masked, *held], "doc_id")
    tree, _, numbers = read(output)
    assert {"stage": "select", "unit": "document", "action": "replace", "rule": "pii.email", "times": 1} in [
        {name: reason[name] for name in ("stage", "unit", "action", "rule", "times")} for reason in numbers["reasons"]
    ]
    assert doc_id(3) in numbers["examples"]["kept_documents"]
    assert doc_id(3) not in numbers["examples"]["dropped_documents"]
    assert "pii.email" not in section(tree, "kept") + section(tree, "dropped")


def test_documents_are_shown_in_reading_order_with_what_was_left_out(output: Path) -> None:
    tree, _, numbers = read(output)
    kept = section(tree, "kept")
    assert sorted(numbers["examples"]["kept_documents"]) == [doc_id(3), doc_id(4), doc_id(5)]
    places = [kept.index(words) for words in ("number", "neighbouring text 0.271", "too short", "40 against 150")]
    assert places == sorted(places)
    assert "alt 0.111" in kept
    dropped = section(tree, "dropped")
    assert dropped.count("document.min_language_score") == 2
    assert f"kept: {doc_id(0)}" in dropped


@pytest.mark.parametrize(
    ("title", "words"),
    [
        ("Rules that could not run", "document.max_perplexity"),
        ("Rules that would drop all that they measure", "text.max_site_count"),
        ("Rules that found nothing to drop", "document.languages"),
    ],
)
def test_warns_of_rules_that_say_nothing(output: Path, title: str, words: str) -> None:
    _, _, numbers = read(output)
    assert words in next(warned["text"] for warned in numbers["warnings"] if warned["title"] == title)


def test_a_long_note_is_folded(output: Path) -> None:
    tree, _, numbers = read(output)
    lengths = {warned["title"]: len(warned["text"]) for warned in numbers["warnings"]}
    shown = {element.find(".//b").text.rstrip("."): element.tag for element in tree.find_class("note")}
    assert shown == {title: "details" if lengths[title] > 100 else "div" for title in shown}
    assert set(shown.values()) == {"details", "div"}


def test_warns_where_nothing_was_checked_for_unsafe_content(output: Path) -> None:
    assert "NSFW not scored" not in {warned["title"] for warned in read(output)[2]["warnings"]}
    stages = json.loads((output / "run.json").read_text())["stages"]
    stages["score"]["not_run"] = ["nsfw"]
    write_run(output, stages)
    tree, _, numbers = read(output)
    assert numbers["warnings"][0]["title"] == "NSFW not scored"
    assert tree.find_class("danger")


def test_largest_groups_of_duplicates(output: Path) -> None:
    groups = read(output)[2]["duplicates"]
    assert [(group["size"], set(group["members"])) for group in groups["images"]] == [(2, set(IDS[:2]))]
    assert [(group["kind"], group["size"]) for group in groups["documents"]] == [("nearly the same text", 3)]


def test_properties_of_documents_seen_and_kept(output: Path) -> None:
    found = read(output)[2]["properties"]
    hosts = {share["value"]: (share["seen"], share["kept"]) for share in found["Hosts"]}
    assert hosts == {"site0.example": (3, 1), "site1.example": (2, 2), "unknown": (1, 0)}
    assert found["Languages"] == [{"value": "en", "seen": 6, "kept": 3}]


def test_tokens_codes_losses_and_samples(output: Path) -> None:
    add_model(output)
    tree, _, numbers = read(output)
    assert numbers["tokens"]["tokens"] == {"text": 9, "image": 12, "special": 15}
    assert numbers["tokens"]["codebooks"]["vqvae"]["used"] == 3
    entropy = -(0.25 * math.log(0.25) * 2 + 0.5 * math.log(0.5))
    assert numbers["tokens"]["codebooks"]["vqvae"]["perplexity"] == pytest.approx(math.exp(entropy))
    assert set(numbers["tokens"]["psnr_db"]) == set(IDS[:3])
    assert section(tree, "training").count("Inconclusive: the interval includes zero.") == 1
    assert "The model overfits: from step 1." in section(tree, "training")
    assert {"level": "warning", "title": "Training", "text": "The model overfits: from step 1."} in numbers["warnings"]
    assert numbers["training"]["alerts"] == ["the model overfits: from step 1"]
    assert len(tree.xpath("//section[@id='samples']//img")) == 3


def test_headings_lists_and_code_look_like_what_they_are(output: Path) -> None:
    row = document(4)
    text = row["nodes"][0]
    roles = [("heading", 2, "Tea"), ("list_item", 3, "green"), ("code", None, "def tea():\n    boil()"),
             ("quotation", None, "Ah."), ("table", None, "a | <b>\nc\n | d"), ("paragraph", None, "So.")]  # fmt: skip
    row["nodes"] = [{**text, "role": role, "level": level, "text": words} for role, level, words in roles]
    row["nodes"][2]["code_language"], row["nodes"][4]["header_rows"] = "python", 1
    shutil.rmtree(output / "extract" / "documents")
    write_set(output / "extract" / "documents", DOCUMENTS, [row], "doc_id")
    views = view_documents(str(output), [row["doc_id"]], set(), {"extract"})
    macros = _environment().get_template("macros.html.j2").make_module({"thumbnails": {}})
    body = lxml.html.fromstring(str(macros.document(views[row["doc_id"]], {}))).find_class("doc-body")[0]
    assert [(element.tag, element.get("class"), element.text_content()) for element in body] == [
        ("h4", "heading", "Tea"), ("div", "list_item", "green"), ("div", "muted small code-language", "python"),
        ("pre", "code", "def tea():\n    boil()"), ("blockquote", "quotation", "Ah."),
        ("div", "scroll", body[5].text_content()), ("p", "paragraph", "So."),
    ]  # fmt: skip
    rows = [[(cell.tag, cell.text_content()) for cell in line] for line in body[5].iter("tr")]
    assert rows == [[("th", "a"), ("th", "<b>")], [("td", "c"), ("td", "")], [("td", ""), ("td", "d")]]
    assert body[0].get("data-level") == "2"
    assert body[1].get("style") == "--level:3"


def test_charts_of_rules_that_found_nothing_are_folded(output: Path) -> None:
    tree, _, numbers = read(output)
    failed = {entry["score"]: sum(rule["failed"] for rule in entry["rules"]) for entry in numbers["scores"]}
    assert failed["perplexity"] == 0  # it could not run
    assert failed["special_char_ratio"] == 0
    assert failed["min_side"] == NUM_DOCUMENTS
    folded = tree.xpath("//section[@id='scores']//details[@class='quiet']//h4/text()")
    shown = tree.xpath("//section[@id='scores']//h4[not(ancestor::details)]/text()")
    titles = {is_quiet: [] for is_quiet in (True, False)}
    for entry in numbers["scores"]:
        titles[not failed[entry["score"]]].append(wording.score_title(entry["score"])[0])
    assert (sorted(folded), sorted(shown)) == (sorted(titles[True]), sorted(titles[False]))


def test_report_starts_without_torch() -> None:
    code = "import sys, gobelin.report.page; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
