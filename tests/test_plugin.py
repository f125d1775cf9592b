"""Scores and rules of other packages: the example, used as docs/plugins.md says; and plug-ins that fail."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image as PillowImage

from gobelin import plugins
from gobelin.data.model import Action, Unit
from gobelin.data.schemas import DOCUMENT_SCORES, NODE_SCORES
from gobelin.pipeline.cli.main import main
from gobelin.pipeline.recipe.help import warnings_of
from gobelin.pipeline.recipe.recipe import RecipeError, change, load_recipe
from gobelin.pipeline.run.inputs import Archive
from gobelin.pipeline.run.keys import stage_keys
from gobelin.pipeline.run.run_summary import summary_lines
from gobelin.report.page import write_report
from gobelin.store.tables import list_shards
from gobelin.transforms.duplicates.groups import IMAGE_GROUPS
from gobelin.transforms.score.join_scores import IMAGE_FACTS
from gobelin.transforms.score.plugin_scores import apply_scorers, load_scorers
from gobelin.transforms.selection import rules
from gobelin.transforms.selection.document_thresholds import DocumentRules
from gobelin.transforms.selection.select import judge_document
from gobelin.transforms.vision.eval_images import IMAGE_CONTAMINATION
from gobelin.transforms.vision.faces import IMAGE_FACES
from gobelin.transforms.vision.score_heads import IMAGE_HEADS

ROOT = Path(__file__).parents[1]
LOUD, QUIET = "https://loud.example/", "https://quiet.example/"

SECOND = (
    "In winter the ferry does not run, so the islanders keep flour and oil enough for six weeks in their cellars. "
    "When the ice comes late, children walk along the shore and count the swans that have stayed behind."
)

pytestmark = [pytest.mark.timeout(300), pytest.mark.slow]


def commands() -> list[str]:
    """The commands of docs/plugins.md: indented lines that call something of the environment."""
    text = (ROOT / "docs" / "plugins.md").read_text(encoding="utf-8")
    return [line.strip() for line in text.splitlines() if line.startswith("    .venv/")]


class Workplace:
    """A folder in which the commands of the documentation run as they are written there."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.site = folder, folder / "site"
        (folder / ".venv").symlink_to(Path(sys.prefix))
        shutil.copytree(ROOT / "examples" / "plugin", folder / "examples" / "plugin")

    def run(self, command: str) -> str:
        if " uv pip install " in command:  # not into the environment that runs the tests
            command += f" --target {self.site} --no-deps --no-build-isolation --offline"
        paths = os.pathsep.join([str(self.site), str(ROOT / "src")])
        done = subprocess.run(
            ["bash", "-c", command], cwd=self.folder, env={**os.environ, "PYTHONPATH": paths}, capture_output=True,
            text=True, timeout=240,
        )  # fmt: skip
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        return done.stdout


@pytest.fixture(scope="module")
def told(
    tmp_path_factory: pytest.TempPathFactory,
    pack: Callable[..., bytes],
    record: type,
    html_page: Callable[..., bytes],
    jpeg: Callable[..., bytes],
    encode: Callable[..., bytes],
    prose: str,
) -> tuple[Path, dict[str, str]]:
    """The folder, and what each command of the documentation printed."""
    place = Workplace(tmp_path_factory.mktemp("plugin"))
    grey = PillowImage.fromarray(np.random.default_rng(0).integers(0, 255, (160, 200), np.uint8)).convert("RGB")
    shouted = f'<p>{prose.upper()}</p><img src="{QUIET}colour.jpg"><p>{SECOND.upper()}</p>'
    quiet = f'<p>{prose}</p><img src="/colour.jpg"><p>{SECOND}</p><img src="/grey.png">'
    records = [
        record(LOUD, html_page(shouted, title="LOUD")),
        record(QUIET, html_page(quiet)),
        record(f"{QUIET}colour.jpg", jpeg(1), content_type="image/jpeg"),
        record(f"{QUIET}grey.png", encode(grey, "PNG"), content_type="image/png"),
    ]
    (place.folder / "crawl").mkdir()
    (place.folder / "crawl" / "a.warc.gz").write_bytes(pack(records))
    return place.folder, {command: place.run(command) for command in commands()}


def rows(output: Path, name: str) -> list[dict[str, Any]]:
    return [row for path in list_shards(str(output / name)) for row in pq.read_table(path).to_pylist()]


def said(told: tuple[Path, dict[str, str]], *words: str) -> str:
    (found,) = [text for command, text in told[1].items() if all(word in command for word in words)]
    return found


def test_its_scores_are_columns(told: tuple[Path, dict[str, str]]) -> None:
    output = told[0] / "out" / "loud"
    documents = {row["url"]: row["doc_id"] for row in rows(output, "extract/documents")}
    scores = {row["doc_id"]: row for row in rows(output, "score/documents")}
    loud, quiet = (scores[documents[url]] for url in (LOUD, QUIET))
    assert loud["capital_ratio"] > 0.8 > 0.1 > quiet["capital_ratio"] > 0
    by_image = {row["image_id"]: row["colourfulness"] for row in rows(output, "score/images")}
    assert sorted(value > 10 for value in by_image.values()) == [False, True]
    shown = [node for row in scores.values() for node in row["nodes"] if node["kind"] == "image"]
    assert [node["colourfulness"] for node in shown] == [by_image[node["image_id"]] for node in shown]
    schema = pq.read_schema(list_shards(str(output / "score/images"))[0])
    assert schema.field("colourfulness").metadata == {b"unit": b"Hasler and S\xc3\xbcsstrunk's scale"}


def test_its_rules_decide(told: tuple[Path, dict[str, str]]) -> None:
    output = told[0] / "out" / "loud"
    decisions = [row for row in rows(output, "select/decisions") if row["rule"].startswith("plugins.")]
    found = {(row["unit"], row["rule"], row["threshold"]) for row in decisions}
    assert found >= {("document", "plugins.max_capital_ratio", 0.3), ("node", "plugins.min_colourfulness", 10.0)}
    assert all(
        row["value"] > 0.3 if row["rule"].endswith("capital_ratio") else row["value"] < 10
        for row in decisions
        if row["unit"] != "image"
    )
    assert [row["url"] for row in rows(output, "select/documents")] == [QUIET]


def test_help_explain_and_what_if_know_them(told: tuple[Path, dict[str, str]]) -> None:
    shown = said(told, "recipe show")
    assert "# Capital letters (share of letters), of each document; from gobelin-shouting 0.1.0." in shown
    assert "# Letters that a page must have; below, its score is null." in shown
    assert "packages: [gobelin-shouting]" in shown
    explained = said(told, "explain")
    assert "capital_ratio" in explained
    assert "at most 0.3: broken" in explained
    assert "drop      select: plugins.max_capital_ratio" in explained
    assert "plugins.max_capital_ratio" in said(told, "--what-if")
    assert "would come in: 1" in said(told, "--what-if")


def test_the_report_knows_them(told: tuple[Path, dict[str, str]]) -> None:
    report = json.loads((told[0] / "out/loud/report/report.json").read_text(encoding="utf-8"))
    scores = {entry["score"]: entry for entry in report["scores"]}
    assert (scores["capital_ratio"]["section"], scores["colourfulness"]["section"]) == ("document", "image")
    (rule,) = scores["capital_ratio"]["rules"]
    assert (rule["rule"], rule["passed"], rule["failed"]) == ("plugins.max_capital_ratio", 1, 1)
    assert sum(bar["passed"] + bar["failed"] for bar in scores["capital_ratio"]["bars"]) == 2
    page = (told[0] / "out/loud/report/index.html").read_text(encoding="utf-8")
    assert "Capital letters" in page
    assert "share of letters" in page
    run = json.loads((told[0] / "out/loud/run.json").read_text(encoding="utf-8"))
    assert run["versions"]["gobelin-shouting"] == "0.1.0"
    assert run["stages"]["score"]["plugin_errors"] == {"capital_ratio": 0, "colourfulness": 0}


def test_a_machine_without_the_package_says_which(told: tuple[Path, dict[str, str]]) -> None:
    with pytest.raises(RecipeError, match=r"made with gobelin-shouting, which is not installed"):
        load_recipe(str(told[0] / "out/loud/recipe.yaml"))


# --------------------------------------------------------------------------------------- plug-ins as others write them

MODULE = '''
import dataclasses
from typing import ClassVar
import pyarrow as pa
from gobelin.errors import UserError
from gobelin.plugins import PluginRule
from gobelin.scores import Score

@dataclasses.dataclass
class Moody:
    """Fails on documents of one host, and has no value on another."""
    bad: str = "bad.example"
    limits: tuple[float, ...] = (1.0, 2.0)
    """Two numbers."""
    score: ClassVar[Score] = Score("moody", ("document",), "Mood", "moods", arrow=pa.int32(), axis="count")
    def __call__(self, document):
        if self.bad in document.url:
            raise UserError("a bad day")
        return {"none": None, "half": 0.5, "nan": float("nan"), "big": 2**40, "text": "7"}.get(document.title, 7)

def entry(name, of=("document",), **more):
    return Score(name, of, name, name, **more)

@dataclasses.dataclass
class num_words:
    score: ClassVar[Score] = entry("num_words")
    def __call__(self, document): return 1

@dataclasses.dataclass
class picky:
    """Settings of many kinds."""
    size: int = 3
    pair: tuple[float, str] = (1.0, "x")
    made: list[int] = dataclasses.field(init=False, default_factory=list)
    score: ClassVar[Score] = entry("picky")
    def __post_init__(self):
        if self.size < 0:
            raise ValueError("size must be positive")
        if self.size > 9:
            raise KeyError("too large")
    def __call__(self, document): return self.size

@dataclasses.dataclass
class unreadable:
    size: "NoSuchType" = 3
    score: ClassVar[Score] = entry("unreadable")
    def __call__(self, document): return 1

@dataclasses.dataclass
class of_texts:
    score: ClassVar[Score] = entry("of_texts", ("text",))
    def __call__(self, document): return 1

@dataclasses.dataclass
class misnamed:
    score: ClassVar[Score] = entry("another")
    def __call__(self, document): return 1

@dataclasses.dataclass
class thumbnail:
    score: ClassVar[Score] = entry("thumbnail", ("image",))
    def __call__(self, image): return 1

@dataclasses.dataclass
class curved:
    score: ClassVar[Score] = entry("curved", axis="curved")
    def __call__(self, document): return 1

@dataclasses.dataclass
class uncallable:
    score: ClassVar[Score] = entry("uncallable")

@dataclasses.dataclass
class wordy:
    score: ClassVar[Score] = entry("wordy", arrow=pa.string())
    def __call__(self, document): return "x"

def function(document): return 1

MAX_MOODY = PluginRule("moody", of="document")
MAX_SAFE_MOODY = PluginRule("moody", of="document", is_safety=True)
MIN_SITE_COUNT = PluginRule("site_count", of="text")
MIN_SHARPNESS = PluginRule("sharpness", of="image")
MAX_MOODY_IMAGE = PluginRule("moody", of="image")
'''

ENTRY_POINTS = """
[gobelin.scores]
moody = moods:Moody
num_words = moods:num_words
of_texts = moods:of_texts
thumbnail = moods:thumbnail
curved = moods:curved
misnamed = moods:misnamed
uncallable = moods:uncallable
wordy = moods:wordy
picky = moods:picky
unreadable = moods:unreadable
function = moods:function
lost = moods:lost
twice = moods:Moody
[gobelin.rules]
max_moody = moods:MAX_MOODY
max_safe_moody = moods:MAX_SAFE_MOODY
min_site_count = moods:MIN_SITE_COUNT
min_sharpness = moods:MIN_SHARPNESS
max_moody_image = moods:MAX_MOODY_IMAGE
moody_at_most = moods:MAX_MOODY
max_words = moods:MAX_MOODY
max_number = moods:entry
"""


def forget() -> None:
    for kept in (plugins._entry_points, plugins._loaded, rules.plugin_rule):
        kept.cache_clear()


def install(site: Path, name: str, version: str, entry_points: str) -> None:
    """A package as an installer leaves it, its module aside."""
    info = site / f"{name}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (info / "entry_points.txt").write_text(entry_points)


@pytest.fixture
def moods(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package ``moods`` on the path, in the version 1; the folder that it is in."""
    site = tmp_path / "site"
    install(site, "moods", "1", ENTRY_POINTS)
    (site / "moods.py").write_text(MODULE)
    install(site, "rival", "2", "[gobelin.scores]\ntwice = moods:Moody\n")
    monkeypatch.syspath_prepend(str(site))
    forget()
    yield site
    sys.modules.pop("moods", None)
    forget()


def with_plugins(*settings: str) -> Any:
    return change(load_recipe("gobelin"), settings)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("score.plugins.num_words={}", "moods 1 gives the score num_words, which is a name of gobelin's own"),
        ("score.plugins.thumbnail={}", "gives the score thumbnail, which is a name of gobelin's own"),
        ("score.plugins.curved={}", "has the axis 'curved': it must be one of linear, count, log"),
        ("score.plugins.of_texts={}", r"which is of \('text',\)"),
        ("score.plugins.misnamed={}", "lacks its entry: score = .* with the same name"),
        ("score.plugins.uncallable={}", "is not a dataclass with callable instances"),
        ("score.plugins.function={}", "is not a dataclass with callable instances"),
        ("score.plugins.wordy={}", "has values of type string"),
        ("score.plugins.lost={}", "moods 1 gives lost, which cannot be imported: AttributeError"),
        ("score.plugins.twice={}", "moods 1 and rival 2 both give a score twice: uninstall one"),
        ("score.plugins.mody={}", r"no installed package gives a score mody .*did you mean moody\?"),
        ("score.plugins.moody={goood: x}", r"unknown key score\.plugins\.moody\.goood; known keys: bad, limits"),
        ("score.plugins.moody={limits: x}", r"score\.plugins\.moody\.limits: expected a list"),
        ("score.plugins.moody=3", "expected settings, as {}, got 3"),
        ("score.plugins=[moody]", r"score\.plugins: expected names and their values"),
        ("score.plugins.picky={size: x}", r"score\.plugins\.picky\.size: Input should be a valid integer.*got \"x\""),
        ("score.plugins.picky={size: yes}", r"score\.plugins\.picky\.size: expected a number, got true"),
        ("score.plugins.picky={size: -1}", r"score\.plugins\.picky: size must be positive"),
        ("score.plugins.picky={size: 10}", r"picky: moods 1 does not take these settings: KeyError: 'too large'"),
        ("score.plugins.picky={made: []}", r"score\.plugins\.picky.*made"),
        ("score.plugins.unreadable={}", "has settings whose types cannot be read: NameError"),
        ("packages=3", r"packages: expected a list of names"),
        ("select.plugins.max_word=3", "no installed package gives a rule max_word"),
        ("select.plugins.max_words=3", "moods 1 has a rule max_words, which is the name of a rule of gobelin"),
        ("select.plugins.max_number=3", r"is no gobelin\.plugins\.PluginRule"),
        ("select.plugins.moody_at_most=3", "must have a name min_... or max_..."),
        ("select.plugins.min_sharpness=3", "compares sharpness: no score"),
        ("select.plugins.max_moody_image=3", "judges images by moody, a score of documents"),
        ("select.plugins.max_moody=yes", "expected a number, got true"),
        ("select.plugins.max_moody=high", r"select\.plugins\.max_moody: "),
    ],
)
def test_what_cannot_be_used_is_one_line(moods: Path, setting: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        with_plugins(setting)


def test_settings_are_spelled_out_and_packages_named(moods: Path) -> None:
    recipe = with_plugins("score.plugins.moody={bad: worse.example}", "select.plugins.max_moody=null")
    assert recipe.score.plugins == {"moody": {"bad": "worse.example", "limits": [1.0, 2.0]}}
    assert recipe.packages == ("moods",)
    assert with_plugins("score.plugins.picky=null").score.plugins == {"picky": {"size": 3, "pair": [1.0, "x"]}}
    assert with_plugins("packages=[gone]").packages == ()
    (scorer,) = load_scorers({"picky": {"size": 4, "pair": [1.0, "x"]}}, Unit.DOCUMENT)
    assert (scorer.call(None), scorer.call.pair) == (4, (1.0, "x"))
    assert warnings_of(recipe) == warnings_of(load_recipe("gobelin"))
    (warned,) = set(warnings_of(with_plugins("select.plugins.max_moody=3"))) - set(warnings_of(recipe))
    assert warned == "select.plugins.max_moody needs score.plugins.moody: it will not run"


def test_a_rule_may_compare_a_score_of_gobelins(moods: Path) -> None:
    (rule,) = rules.plugin_rules(with_plugins("select.plugins.min_site_count=2").select)
    assert (rule.name, rule.unit, rule.subject, rule.score) == (
        "plugins.min_site_count", Unit.NODE, "text", "site_count"
    )  # fmt: skip


def test_another_version_makes_a_stage_anew(moods: Path) -> None:
    archives = (Archive("a.warc.gz", 10),)
    recipes = [
        load_recipe("gobelin"),
        with_plugins("score.plugins.moody={}"),
        with_plugins("select.plugins.max_moody=1"),
    ]
    before = [stage_keys(recipe, archives) for recipe in recipes]
    (moods / "moods-1.dist-info").rename(moods / "moods-2.dist-info")
    metadata = moods / "moods-2.dist-info" / "METADATA"
    metadata.write_text(metadata.read_text().replace("Version: 1", "Version: 2"))
    forget()
    after = [stage_keys(recipe, archives) for recipe in recipes]
    changed = [[stage for stage in old if old[stage] != new[stage]] for old, new in zip(before, after)]
    assert [stages[:1] for stages in changed] == [[], ["score"], ["select"]]


# ------------------------------------------------------------------------------------------------- values and failures


@pytest.fixture
def moody(moods: Path, a_document: Callable[..., Any]) -> Callable[..., Any]:
    """(title, host) -> (value, details of decisions) of the score ``moody``."""

    def score(title: str, host: str = "a.example") -> tuple[Any, list[str | None]]:
        (scorer,) = load_scorers({"moody": {}}, Unit.DOCUMENT)
        row = a_document("d" * 32, ["A text."], title=title, url=f"https://{host}/")
        values, decisions = apply_scorers([scorer], row, Unit.DOCUMENT)
        assert {(each.rule, each.action, each.doc_id) for each in decisions} <= {
            ("plugin_error.moody", Action.REPLACE, "d" * 32)
        }
        return values["moody"], [each.detail for each in decisions]

    return score


@pytest.mark.parametrize(
    ("title", "host", "value", "detail"),
    [
        ("fine", "a.example", 7, None),
        ("none", "a.example", None, None),
        ("nan", "a.example", None, None),
        ("half", "a.example", None, "TypeError: the score is of type int32, and its value 0.5 is not an integer"),
        ("big", "a.example", None, "ArrowInvalid"),
        ("text", "a.example", None, "TypeError: the score is a number, and its value is '7'"),
        ("fine", "bad.example", None, "RuntimeError: a bad day"),
    ],
)
def test_a_value_is_a_number_or_null(
    moody: Callable[..., Any], title: str, host: str, value: int | None, detail: str | None
) -> None:
    found, details = moody(title, host)
    assert found == value
    assert [str(each).startswith(detail or "") for each in details] == ([] if detail is None else [True])


def test_an_exception_costs_one_value_and_is_told(
    moods: Path, tmp_path: Path, make_warc: Callable[..., str], record: type, html_page: Callable[..., bytes],
    prose: str,
) -> None:  # fmt: skip
    urls = [f"https://{host}.example/" for host in ("bad", "good")]
    pages = [record(url, html_page(f"<p>{prose} {SECOND} {url}</p>")) for url in urls]
    output = tmp_path / "out"
    settings = ["score.plugins.moody={}", "select.plugins.max_moody=6", "select.document.min_images=0", "num_shards=2"]
    command = ["run", "--recipe", "gobelin", "--input", make_warc("a.warc.gz", pages), "--output", str(output),
               "--workers", "2", "--until", "select", "--quiet"]  # fmt: skip
    assert main([*command, *(part for setting in settings for part in ("--set", setting))]) == 0
    assert "scores of plug-ins that failed: moody 1" in summary_lines(str(output))
    urls_of = {row["doc_id"]: row["url"] for row in rows(output, "extract/documents")}
    values = {urls_of[row["doc_id"]]: row["moody"] for row in rows(output, "score/documents")}
    assert values == {urls[0]: None, urls[1]: 7}
    (failed,) = rows(output, "score/decisions")
    assert (failed["url"], failed["rule"], failed["action"]) == (urls[0], "plugin_error.moody", "replace")
    assert {row["rule"]: row["times"] for row in rows(output, "select/not_run")}["plugins.max_moody"] == 1
    assert [row["url"] for row in rows(output, "select/documents")] == [urls[0]]
    write_report(str(output), str(tmp_path / "report"))
    report = json.loads((tmp_path / "report" / "report.json").read_text(encoding="utf-8"))
    warned = {each["title"]: each["text"] for each in report["warnings"]}
    assert warned["Scores of plug-ins that failed"].startswith("moody of 1 documents")
    assert "plugins.max_moody (50.0" in warned["Rules that could not judge all"]


def test_no_score_takes_the_place_of_what_an_image_has_on_its_way() -> None:
    on_the_way = {*IMAGE_GROUPS.names, *IMAGE_FACES.names, *IMAGE_HEADS.names, *IMAGE_CONTAMINATION.names, *IMAGE_FACTS}
    assert on_the_way - plugins._OWN_NAMES == set()


def test_a_safety_rule_drops_what_has_no_value(moods: Path, a_document: Callable[..., Any]) -> None:
    recipe = with_plugins("select.plugins.max_safe_moody=6", "select.document.min_images=0")
    select = dataclasses.replace(recipe.select, document=DocumentRules())
    node = {**dict.fromkeys(field.name for field in NODE_SCORES), "kind": "text"}
    scores = {**dict.fromkeys(DOCUMENT_SCORES.names), "nodes": [node], "moody": None}
    verdict = judge_document(a_document("d" * 32, [SECOND]), scores, select)
    assert verdict.dropped_by == "plugins.max_safe_moody"
    assert "plugins.max_safe_moody" in verdict.not_run
    keeps = dataclasses.replace(select, unscored_for_safety="keep")
    assert judge_document(a_document("d" * 32, [SECOND]), scores, keeps).dropped_by is None
