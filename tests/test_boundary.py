"""Every step that meets the web turns an exception into a decision, and all else goes on."""

from __future__ import annotations

import ast
import errno
import importlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gobelin
from gobelin.data.model import Decision
from gobelin.data.schemas import DOCUMENTS, IMAGES
from gobelin.errors import UserError
from gobelin.scores import Score
from gobelin.tokenize import assemble, encode, preprocess
from gobelin.tokenize.framing import Frames, Framing
from gobelin.tokenize.split import TokenSequence
from gobelin.transforms import urls
from gobelin.transforms.boundary import Refused, WebStep, attempt
from gobelin.transforms.images.block_list import url_spellings
from gobelin.transforms.rights.site_policy import is_policy_url, origin_of
from gobelin.transforms.score import plugin_scores
from gobelin.transforms.score.config import ScoreConfig
from gobelin.transforms.selection.config import SelectConfig
from gobelin.transforms.selection.url_words import url_words
from gobelin.transforms.vision import embed

pytestmark = pytest.mark.timeout(240)
Make = Callable[..., Any]
ROOT = Path(next(iter(gobelin.__path__)))

# ------------------------------------------------------------------------------------------------ which steps there are

WEB_STEPS = {
    "_AssembleShard", "_EmbedImages", "_EmbedTexts", "_EncodeImages", "_ExtractImages", "_ExtractPages", "_FetchGroup",
    "_JudgeDocuments", "_Measure", "_ReadWarc", "_ScoreByPlugins", "_WriteCorpusShard", "_WriteDocumentScores",
    "_WriteDocumentShard",
    "_block_revisit", "_find_signals", "_keep_first_capture", "_keep_shown_once", "_score_image", "policy_rows",
}  # fmt: skip
"""Steps on what the web wrote. Each is thrown an exception below, ``_FetchGroup`` in ``test_fetch_misdeeds.py``."""

NUMBERS_AND_KEYS = {
    # Rows, ids, digests, dates and numbers of our own; of addresses only what the functions of ``urls.py`` make, which
    # never raise. Images whose bytes were written by ``extract`` are copied, not opened.
    "_alike_images", "_alike_texts", "_as_group", "_as_own", "_band_keys", "_blank", "_both_ways", "_by_address",
    "_by_data_set", "_by_doc_id", "_by_group", "_by_host", "_by_id", "_by_image_id", "_by_place", "_by_rule",
    "_by_text", "_by_url", "_candidates_by_id", "_chosen", "_codes_by_id", "codes_in_part", "_codes_to_shards",
    "_components", "_count_images", "_deal_out", "_decision_to_shard", "_document_row", "_document_to_shard",
    "_downwards", "_earlier_by_id", "earlier_rows", "_edge_of_row", "_edge_row", "_embedding_by_id", "_ends",
    "facts_by_document", "_fetched_tally", "_group_edges", "_host_to_shard", "_image_keys", "_image_row",
    "_image_set_edges", "_image_set_key", "_image_to_shard", "_is_of_shards", "is_stored", "_is_unfinished",
    "_keep_one", "_key_alone", "key_of_fetch", "_keyed_capture", "_keyed_revisit", "_keys_of_same", "large_star",
    "_match", "_member_by_id", "_name_group", "_not_run_row", "_one_of_copies", "_one_spelling", "_own_by_id",
    "_paragraph_keys", "_policy_by_host", "read_rows", "read_wishes", "_resolution_by_doc_id", "_resolve",
    "_ScoreHeads", "shown_images", "shown_in_part", "_shown_key", "_signals_by_id", "_signals_row", "_site_counts",
    "small_star", "_star_edges", "_stay_to_shard", "_taken", "_taken_by_id", "_to_candidates", "_to_component",
    "_to_first_shard", "_to_one_worker", "_to_shard", "_unfinished_row", "_urls", "use_by_image", "_use_to_shard",
    "_uses", "uses_by_image", "uses_of_images", "wishes_in_index", "wishes_in_part", "_write_decisions_of_shard",
    "_write_token_shard", "_WriteImageShard", "_WriteRowsOfShard", "_WriteShardOfDataSet",
}  # fmt: skip
PLUMBING = {"WebStep", "Guarded", "_Extractor", "_Embedder"}


def steps_in_source() -> Iterator[tuple[str, bool]]:
    """(name, whether it has the boundary) of each DoFn, and of each function that is a step."""
    for path in sorted(ROOT.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef):
                bases = {ast.unparse(base) for base in node.bases}
                if bases & {"beam.DoFn", "WebStep", "_Extractor", "_Embedder"}:
                    yield node.name, "beam.DoFn" not in bases
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                if ast.unparse(node.func) in ("beam.Map", "beam.FlatMap", "beam.Filter", "beam.MapTuple",
                                              "beam.FlatMapTuple"):  # fmt: skip
                    yield ast.unparse(node.args[0]), False
            elif isinstance(node, ast.Call) and ast.unparse(node.func) == "Guarded":
                yield ast.unparse(node.args[0]), True


def test_every_step_that_meets_the_web_has_the_boundary() -> None:
    """A new step is in neither list: say to which it belongs, and if it meets the web, throw an exception into it."""
    found = {name: has_boundary for name, has_boundary in steps_in_source() if name not in PLUMBING}
    assert {name for name, has_boundary in found.items() if has_boundary} == WEB_STEPS
    assert {name for name, has_boundary in found.items() if not has_boundary} <= NUMBERS_AND_KEYS
    assert issubclass(WebStep, beam.DoFn)


def test_nobody_else_parses_addresses() -> None:
    """Python's parsers raise on what the web holds; ``transforms/urls.py`` never does. ``store/web.py`` reads archives
    by addresses that the user gave, and raises UserError."""
    parsers = {"urlsplit", "urlparse", "urldefrag", "urljoin", "canonicalize_url"}
    users = set()
    for path in ROOT.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and parsers & {each.name for each in node.names}:
                users.add(path.relative_to(ROOT).as_posix())
    assert users <= {"transforms/urls.py", "store/web.py"}


PIECES = st.sampled_from(
    ["http://", "https:", "//", "[", "]", "::1", "a.example", ":", "99999999", "#b", "?q=%", "/../", "\\", "\ud800",
     "@", "data:", "\x00", "é", "ﬀ。", "%zz", ";", " ", "{{", "xn--", "xn--a.", "\u2100", "." * 300]
)  # fmt: skip
ADDRESSES = st.one_of(st.text(max_size=60), st.lists(PIECES, max_size=8).map("".join))


@settings(max_examples=400, deadline=None)
@given(ADDRESSES, ADDRESSES)
def test_functions_on_addresses_never_raise(url: str, other: str) -> None:
    for function in (urls.split_url, urls.canonical_url, urls.url_key, urls.host_of, urls.without_fragment,
                     urls.w3lib_canonical, url_spellings, url_words, is_policy_url, origin_of):  # fmt: skip
        function(url)
    urls.join_url(url, other)
    urls.resolve(url, other)


# ------------------------------------------------------------------------------------------------ what is let through


@pytest.mark.parametrize(
    "error", [ValueError("x"), KeyError("x"), RecursionError(), MemoryError(), AssertionError(), OSError("odd file"),
              UnicodeError("x"), OSError(errno.ENOENT, "x")],
)  # fmt: skip
def test_an_exception_is_about_one_thing(error: Exception) -> None:
    def work() -> None:
        raise error

    refused = attempt(work)
    assert isinstance(refused, Refused)
    assert type(error).__name__ in refused.detail or isinstance(error, OSError)


@pytest.mark.parametrize(
    "error", [KeyboardInterrupt(), SystemExit(1), UserError("the list is not there"), OSError(errno.ENOSPC, "full"),
              OSError(errno.EMFILE, "too many files")],
)  # fmt: skip
def test_what_is_about_the_run_ends_it(error: BaseException) -> None:
    def work() -> None:
        raise error

    with pytest.raises(type(error)):
        attempt(work)


# ------------------------------------------------------------------------------------------------ extract

A, B = "https://a.example/", "https://b.example/"


def throws(is_meant: Callable[..., bool], function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, with an exception where the arguments are those that are meant."""

    def wrapped(*arguments: Any, **named: Any) -> Any:
        if is_meant(*arguments):
            raise RuntimeError("thrown")
        return function(*arguments, **named)

    return wrapped


class _Blocked:
    def match_url(self, url: str) -> None:
        if url.endswith("revisited"):
            raise RuntimeError("thrown")


EXTRACT = {
    "a record": ("archives.read_warc", "_read_capture", lambda record, *_: record.fields.get("warc-target-uri") == A),
    "a page": ("extract.extract", "extract_page", lambda capture, *_: capture.url == A),
    "a picture": ("extract.extract", "extract_image", lambda capture, *_: capture.url == f"{A}1.png"),
    "a page's row": ("extract.extract", "address_keys", lambda url, _: url == A),
    "a revisit": ("extract.block_revisits", "load_block_list", None),
    "a policy": ("rights.site_signals", "policy_row", lambda capture: capture.url.startswith(A)),
    "a site": ("rights.site_signals", "read_site", lambda rows, _: rows[0]["host"] == "a.example"),
    "a document": ("extract.write_documents", "resolve_nodes", lambda document, *_: document["url"] == A),
    "captures of a page": ("extract.write_documents", "merge_signals", lambda *_: True),
}  # fmt: skip


@pytest.mark.parametrize("name", EXTRACT)
def test_thrown_into_extract(
    name: str, extract_archives: Make, make_warc: Make, record: Make, html_page: Make, png: Make, prose: str,
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    robots = b"User-agent: GPTBot\nDisallow: /\n"
    records = [record(A, html_page(f"<p>{prose}</p><img src=1.png><p>{prose}"))]
    records += [record(f"{A}1.png", png(1), "image/png")]
    records += [record(B, html_page(f"<p>{prose} And more.</p><img src=2.png><p>{prose}"))]
    records += [record(f"{B}2.png", png(2), "image/png")]
    records += [record(f"{each}robots.txt", robots, "text/plain") for each in (A, B)]
    records += [record(f"{A}revisited", b"", "image/png", kind="revisit")]
    module = importlib.import_module(f"gobelin.transforms.{EXTRACT[name][0]}")
    attribute, is_meant = EXTRACT[name][1:]
    replacement = (lambda _: _Blocked()) if is_meant is None else throws(is_meant, getattr(module, attribute))
    monkeypatch.setattr(module, attribute, replacement)
    found = extract_archives([make_warc("a.warc.gz", records)], tmp_path / "out", 2)

    thrown = [row for row in found.decisions if row["detail"] == "RuntimeError: thrown"]
    assert thrown
    assert {row["action"] for row in thrown} == {"fail"}
    assert {row["rule"] for row in thrown} <= {"extract_error", "policy_error"}
    # Nothing is counted twice or lost: each record is a document, an image, something else, or a decision.
    tally = {key: sum(row[key] for row in found.archives) for key in ("num_documents", "num_images")}
    for unit, rows, key in (("document", found.documents, "num_documents"), ("image", found.images, "num_images")):
        gone = [row for row in found.decisions if row["unit"] == unit and row["action"] in ("drop", "fail")]
        assert tally[key] == len(rows) + len(gone), unit
    if name != "captures of a page":
        assert B in {row["url"] for row in found.documents}  # the other site is whole


# ------------------------------------------------------------------------------------------------ score and select


@pytest.fixture
def corpus(write_data_set: Make, a_document: Make, an_image: Make, prose: str, tmp_path: Path) -> Path:
    """Two documents, each with a picture of its own."""
    documents = [a_document(name * 32, [f"{prose} {name}", (name * 64,)]) for name in "ab"]
    write_data_set(tmp_path / "documents", documents, DOCUMENTS, 1)
    write_data_set(tmp_path / "images", [an_image(name * 64) for name in "ab"], IMAGES, 1, "image_id")
    return tmp_path


def is_a(row: Any, *_: Any) -> bool:
    return row["doc_id"] == "a" * 32


SCORE = {
    "a document": ("score.measure", "measure_document", is_a, "document"),
    "what was joined": ("score.join_scores", "complete_scores", is_a, "document"),
    "an image": ("score.join_scores", "sorted", lambda values: "a" * 32 in values, "image"),
}


@pytest.mark.parametrize("name", SCORE)
def test_thrown_into_score(name: str, corpus: Path, score_documents: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    place, attribute, is_meant, unit = SCORE[name]
    module = importlib.import_module(f"gobelin.transforms.{place}")
    function = throws(is_meant, getattr(module, attribute, sorted))
    monkeypatch.setattr(module, attribute, function, raising=False)
    found = score_documents(corpus, corpus / "scores", 1)
    (thrown,) = [row for row in found.decisions if row["detail"] == "RuntimeError: thrown"]
    assert (thrown["action"], thrown["unit"], thrown["rule"]) == ("fail", unit, "score_error")
    assert set(found.documents) == ({"b" * 32} if unit == "document" else {"a" * 32, "b" * 32})
    assert "b" * 64 in found.images
    gone = [row for row in found.decisions if row["unit"] == "image" and row["action"] == "fail"]
    assert len(found.images) + len(gone) == 2


def test_thrown_into_select(
    corpus: Path, score_documents: Make, select_from: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = score_documents(corpus, corpus / "scores", 1)
    module = importlib.import_module("gobelin.transforms.selection.write_corpus")
    monkeypatch.setattr(module, "judge_document", throws(is_a, module.judge_document))
    config = SelectConfig(unscored_for_safety="keep")
    found = select_from(corpus / "documents", scores.folder / "documents", corpus / "selected", 1, config)
    assert set(found.documents) == {"b" * 32}
    (thrown,) = [row for row in found.decisions if row["action"] == "fail"]
    assert (thrown["rule"], thrown["doc_id"], thrown["detail"]) == ("select_error", "a" * 32, "RuntimeError: thrown")
    assert found.dropped("image") == {"a" * 64: "document_dropped"}


class _Clip:
    """A model that cannot look at every picture, nor read every text."""

    batch_size = 4

    def prepare_image(self, image: Any) -> np.ndarray:
        if image.size[0] == 13:
            raise RuntimeError("thrown")
        return np.zeros(3)

    def embed_texts(self, texts: list[str]) -> np.ndarray:
        if any("bad" in text for text in texts):
            raise RuntimeError("thrown")
        return np.array([[len(text)] for text in texts])


def embedder(kind: type) -> Any:
    step = kind(ScoreConfig(), "", "", 1)
    step._model, step._detector = _Clip(), None
    return step


def test_thrown_into_embeddings_of_images(png: Make) -> None:
    step = embedder(embed._EmbedImages)
    rows = [{"image_id": name, "urls": [f"{A}{name}"], "data": data}
            for name, data in (("bad", png(1, 13, 20)), ("worse", b"no picture"), ("good", png(2)))]  # fmt: skip
    seen = [step._see((0, row)) for row in rows]
    assert [each.failure[0] if each.failure else None for each in seen] == ["undecodable_image"] * 2 + [None]


def test_thrown_into_embeddings_of_texts(a_document: Make, write_data_set: Make, tmp_path: Path) -> None:
    nodes = ["one", "a bad one", ("c" * 64, {"alt": "three!"})]
    write_data_set(tmp_path, [a_document("a" * 32, nodes)], DOCUMENTS, 1)
    step = embedder(embed._EmbedTexts)
    step._source = str(tmp_path)
    decisions: dict[int, list[Decision]] = {0: []}
    rows = [row for _, row in step._embedded((0,), decisions)]
    assert [(row["node_index"], row["role"], row["embedding"].tolist()) for row in rows] == [
        (0, "text", [3]),
        (2, "alt", [6]),
    ]
    (decision,) = decisions[0]
    assert (decision.rule, decision.doc_id, decision.node_index) == ("score_error", "a" * 32, 1)


def test_thrown_into_scores_of_plugins(corpus: Path) -> None:
    step = plugin_scores._ScoreByPlugins({}, str(corpus / "images"), "", 1)
    brightness = Score("brightness", ("image",), "Brightness", "share")
    step._scorers = [plugin_scores.Scorer(brightness, throws(lambda image: image.image_id == "a" * 64, lambda _: 0.5))]
    decisions: list[Decision] = []
    rows = {row["image_id"]: row["brightness"] for row in step._rows(0, decisions)}
    assert rows == {"a" * 64: None, "b" * 64: 0.5}
    (decision,) = decisions
    assert (decision.action, decision.rule, decision.image_id, decision.detail) == (
        "replace", "plugin_error.brightness", "a" * 64, "RuntimeError: thrown",
    )  # fmt: skip


# ------------------------------------------------------------------------------------------------ tokenize


def test_thrown_into_codes(png: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    step = encode._EncodeImages(encode.Encoding("", encode.StoredImages("", None, 1), "", ""))
    framings = (Framing(((2, 2),), 8),)
    step._pool = encode.DecoderPool(framings)
    step._tokenizers = type(
        "Tokenizers",
        (),
        {
            "codebooks": [type("Codebook", (), {"is_continuous": False, "num_codes": 4})],
            "frames": Frames(framings),
            "encode_all": lambda _, all: (pixels for _, pixels in all),
        },
    )()
    monkeypatch.setattr(
        preprocess, "blur_faces", throws(lambda picture, _: picture.size[0] == 13, preprocess.blur_faces)
    )
    files = {"bad": png(1, 13, 20), "good": png(2)}
    pictures = [(encode._Key(0, name, A, 0), (data, (), 0)) for name, data in files.items()]
    decisions: dict[int, list[Decision]] = {0: []}
    assert [row["image_id"] for _, row in step._rows(pictures, decisions)] == ["good"]
    assert [(each.rule, each.image_id, each.detail) for each in decisions[0]] == [
        ("undecodable_image", "bad", "RuntimeError: thrown")
    ]


def test_thrown_into_sequences(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    layout = assemble.SequenceLayout()
    step = assemble._AssembleShard(str(corpus / "documents"), "", 1, None, None, layout)  # type: ignore[arg-type]

    def sequences(doc_id: str, *_: Any) -> tuple[list[TokenSequence], list[Any]]:
        if doc_id == "a" * 32:
            raise RuntimeError("thrown")
        return [TokenSequence([1], [], 0)], []

    monkeypatch.setattr(assemble, "encode_sequences", sequences)
    decisions: list[Decision] = []
    assert [row["doc_id"] for row in step._rows(0, {}, decisions)] == ["b" * 32]
    assert [(each.rule, each.doc_id) for each in decisions] == [("tokenize_error", "a" * 32)]
