"""Recipes: what is wrong is said in one line with what to do; what is right survives being written down."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from gobelin.pipeline.recipe.help import explained_yaml
from gobelin.pipeline.recipe.recipe import Recipe, RecipeError, as_dict, fingerprint, load_recipe, preset_names, to_yaml


@pytest.fixture
def write(tmp_path: Path) -> Any:
    """(YAML text, name="recipe.yaml") -> path."""

    def make(text: str, name: str = "recipe.yaml") -> str:
        (tmp_path / name).write_text(text, encoding="utf-8")
        return str(tmp_path / name)

    return make


def refuse(name: str, *overrides: str) -> str:
    """The message of the error, after checking that it is one line."""
    with pytest.raises(RecipeError) as caught:
        load_recipe(name, overrides)
    message = str(caught.value)
    assert message
    assert "\n" not in message
    assert len(message) < 1000
    return message


def test_there_are_presets() -> None:
    assert {"obelics", "mmc4", "small", "common-crawl"} <= set(preset_names())


@pytest.mark.parametrize("name", preset_names())
def test_every_recipe_loads_and_survives_being_written(name: str, tmp_path: Path) -> None:
    recipe = load_recipe(name)
    assert recipe.name == name
    (tmp_path / "copy.yaml").write_text(to_yaml(recipe), encoding="utf-8")
    again = load_recipe(str(tmp_path / "copy.yaml"))
    assert again == recipe
    assert to_yaml(again) == to_yaml(recipe)
    assert fingerprint(again) == fingerprint(recipe)


@pytest.mark.parametrize("name", preset_names())
def test_a_presets_first_line_says_what_it_is(name: str) -> None:
    """``gobelin recipe list`` prints it."""
    from gobelin.pipeline.recipe.recipe import PRESETS

    first = (PRESETS / f"{name}.yaml").read_text(encoding="utf-8").splitlines()[0]
    assert first.startswith("# ")
    assert len(first) > 20


def test_to_yaml_spells_out_every_default(write: Any) -> None:
    recipe = load_recipe(write("name: x\n"))
    assert recipe == Recipe(name="x")
    written = yaml.safe_load(to_yaml(recipe))
    assert list(written) == [field.name for field in dataclasses.fields(Recipe)]
    assert written["select"]["image"]["min_side_px"] is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("select: {image: {min_side: 3}}", "unknown key select.image.min_side; did you mean select.image.min_side_px?"),
        ("selct: {}", "unknown key selct; did you mean select?"),
        ("select: {documents: {}}", "unknown key select.documents; did you mean select.document?"),
        ("score: {minhash: {band: 3}}", "unknown key score.minhash.band; did you mean score.minhash.bands?"),
        ("score: {clip: {modle: x}}", "unknown key score.clip.modle; did you mean score.clip.model?"),
        ("extract: {image: {max_pixel: 3}}", "did you mean extract.image.max_pixels?"),
        ("train: {stepz: 3}", "did you mean train.steps?"),
        ("zzz: 1", "unknown key zzz; known keys: name, seed, num_shards"),
        ("select: {image: {min_clip_text: {topfraction: 1}}}", "did you mean select.image.min_clip_text.top_fraction?"),
        ("1: 2", "unknown key 1"),
    ],
)
def test_unknown_keys_name_the_nearest(write: Any, text: str, expected: str) -> None:
    path = write(text)
    message = refuse(path)
    assert expected in message
    assert path in message


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("seed: x", "seed"),
        ("num_shards: 1.5", "num_shards"),
        ("num_shards: [8]", "num_shards"),
        ("select: {image: {min_side_px: abc}}", "select.image.min_side_px"),
        ("select: {image: {min_side_px: {a: 1}}}", "select.image.min_side_px"),
        ("select: {image: {formats: png}}", "select.image.formats"),
        ("select: {image: {formats: [png, [jpeg]]}}", "select.image.formats"),
        ("select: {document: {unique: [url, foo]}}", "select.document.unique"),
        ("select: {document: {unique: near}}", "select.document.unique"),
        ("select: {pii: {email: hide}}", "select.pii.email"),
        ("select: {pii: {email: yes}}", "select.pii.email"),
        ("select: 3", "select"),
        ("select: null", "select"),
        ("select: []", "select"),
        ("score: {clip: {}}", "score.clip.model"),
        ("score: {minhash: {bands: 0}}", "score.minhash"),
        ("name: null", "name"),
    ],
)
def test_wrong_types_name_their_place(write: Any, text: str, where: str) -> None:
    path = write(text)
    message = refuse(path)
    assert where in message
    assert path in message
    assert any(word in message for word in ("got", "must")), "what is wrong with it"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "select: {image: {min_clip_text: {top_fraction: 1.5}}}",
            "select.image.min_clip_text: top_fraction must be in",
        ),
        ("select: {document: {languages: english}}", 'languages: expected a list, as [a, b], got "english"'),
    ],
)
def test_the_type_that_was_meant_says_what_is_wrong(write: Any, text: str, expected: str) -> None:
    assert expected in refuse(write(text))


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("num_shards: 0", "num_shards"),
        ("num_shards: -1", "num_shards"),
        ("num_shards: 200000", "num_shards"),
        ("score: {near_images: {phash_distance: -1}}", "phash_distance"),
        ("score: {near_images: {phash_distance: 70}}", "phash_distance"),
        ("extract: {max_page_bytes: -1}", "max_page_bytes"),
        ("extract: {image: {max_pixels: 0}}", "max_pixels"),
        ("score: {clip: {model: ViT-B-32}}", "clip"),
    ],
)
def test_values_that_cannot_work_are_refused_before_anything_runs(write: Any, text: str, where: str) -> None:
    assert where in refuse(write(text))


def test_clip_without_weights_says_what_to_do(write: Any) -> None:
    message = refuse(write("score: {clip: {model: ViT-B-32}}"))
    assert "pretrained" in message or "weights" in message


@pytest.mark.parametrize("value", [".nan", ".inf", "-.inf"])
def test_thresholds_are_numbers(write: Any, value: str) -> None:
    """A threshold that is not a number drops everything in silence."""
    assert "min_aspect_ratio" in refuse(write(f"select: {{image: {{min_aspect_ratio: {value}}}}}"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "expected a mapping"),
        ("# only a comment", "expected a mapping"),
        ("- a\n- b", "expected a mapping"),
        ("just words", "expected a mapping"),
        ("a: [1", "not valid YAML"),
        ("a:\n\t- 1", "not valid YAML"),
        ("!!python/object/apply:os.system [echo hi]", "not valid YAML"),
        ("a: 1\n---\nb: 2", "not valid YAML"),
        ("select:\n  image: {min_side_px: 100}\n  image: {max_side_px: 900}", "the key image is repeated"),
        ("select: {pii: {ip: keep, ip: drop}}", "the key ip is repeated"),
    ],
)
def test_files_that_are_no_recipe(write: Any, text: str, expected: str) -> None:
    path = write(text)
    message = refuse(path)
    assert expected in message
    assert path in message


def test_a_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_bytes(b"\xff\xfe\x00\x80")
    assert "x.yaml" in refuse(str(tmp_path / "x.yaml"))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("obelix", "did you mean obelics?"),
        ("mmc", "did you mean mmc4?"),
        ("no-such-thing", "mmc4, mmc4-core, obelics, omnicorpus"),
        ("folder/none.yaml", "neither a file nor a preset"),
        ("", "neither a file nor a preset"),
        (".", "neither a file nor a preset"),
        ("../presets/obelics", "neither a file nor a preset"),
    ],
)
def test_a_missing_recipe_names_the_nearest(name: str, expected: str) -> None:
    assert expected in refuse(name)


def test_extends_names_only_what_differs(write: Any) -> None:
    recipe = load_recipe(write("extends: obelics\nselect: {image: {min_side_px: 7}, text: {min_words: null}}"))
    preset = load_recipe("obelics")
    assert recipe.name == "recipe"
    assert (recipe.select.image.min_side_px, recipe.select.text.min_words) == (7, None)
    assert recipe.select.document == preset.select.document
    assert recipe.select.image == dataclasses.replace(preset.select.image, min_side_px=7)


def test_extends_a_file_beside_it_and_that_one_a_preset(write: Any) -> None:
    write("extends: obelics\nnum_shards: 3\nselect: {text: {min_words: 9}}", "base.yaml")
    recipe = load_recipe(write("extends: base.yaml\nname: mine\nselect: {text: {max_words: 99}}", "top.yaml"))
    assert (recipe.name, recipe.num_shards) == ("mine", 3)
    assert (recipe.select.text.min_words, recipe.select.text.max_words) == (9, 99)


def test_lists_are_replaced_not_joined(write: Any) -> None:
    recipe = load_recipe(write("extends: obelics\nselect: {document: {languages: [de], unique: []}}"))
    assert (recipe.select.document.languages, recipe.select.document.unique) == (("de",), ())


def test_a_section_that_is_emptied_in_an_extension_changes_nothing(write: Any) -> None:
    assert load_recipe(write("extends: obelics\nselect: {}")).select == load_recipe("obelics").select


def test_a_preset_is_not_changed_by_what_extends_it(write: Any) -> None:
    before = load_recipe("obelics")
    load_recipe(write("extends: obelics\nselect: {text: {min_words: 99}}"))
    assert load_recipe("obelics") == before


@pytest.mark.timeout(20)
def test_cycles_are_errors(write: Any) -> None:
    write("extends: b.yaml", "a.yaml")
    path = write("extends: a.yaml", "b.yaml")
    assert "extends itself" in refuse(path)
    assert "extends itself" in refuse(write("extends: self.yaml", "self.yaml"))


@pytest.mark.timeout(20)
def test_a_cycle_is_told_however_its_files_are_spelled(write: Any, tmp_path: Path) -> None:
    """Each step names the other file by a longer path, so that no name comes twice."""
    (tmp_path / "sub").mkdir()
    write("extends: ./sub/../sub/b.yaml", "a.yaml")
    (tmp_path / "sub" / "b.yaml").write_text("extends: ../sub/../a.yaml")
    told = refuse(str(tmp_path / "a.yaml"))
    assert "extends itself: " in told
    first, middle, last = told.partition("extends itself: ")[2].split(" -> ")
    assert Path(first).resolve() == Path(last).resolve() == tmp_path / "a.yaml"
    assert Path(middle).name == "b.yaml"


def test_two_that_extend_a_third_are_no_cycle(write: Any) -> None:
    write("extends: obelics", "base.yaml")
    write("extends: base.yaml", "middle.yaml")
    assert load_recipe(write("extends: middle.yaml", "top.yaml")).select == load_recipe("obelics").select


NUMBER = "select: {text: {min_words: %s}}"


@pytest.mark.parametrize("text", ["010", "0o10", "1_000", "12:30", "0b11", "-010", "1_0.0", "0x1_0", "00"])
def test_numbers_that_yaml_reads_in_two_ways_are_refused(write: Any, text: str) -> None:
    told = refuse(write(NUMBER % text))
    assert f"min_words: {text} is read in more ways than one" in told
    assert "line 1, column 28" in told
    assert text in refuse("obelics", f"select.text.min_words={text}")


@pytest.mark.parametrize(("text", "value"), [("10", 10), ("0", 0), ("1e3", 1000), ("0x10", 16), ("'010'", 10)])
def test_numbers_that_mean_one_thing(write: Any, text: str, value: int) -> None:
    assert load_recipe(write(NUMBER % text)).select.text.min_words == value


@pytest.mark.parametrize("word", ["no", "No", "off", "yes", "on"])
def test_a_word_that_yaml_takes_for_a_truth_value(write: Any, word: str) -> None:
    told = refuse(write(f"select: {{document: {{languages: [en, {word}]}}}}"))
    assert "select.document.languages.1" in told
    assert "quote it" in told
    assert "quote it" in refuse("obelics", f"select.document.languages={word}")
    recipe = load_recipe(write(f"select: {{document: {{languages: [en, '{word}']}}}}"))
    assert recipe.select.document.languages == ("en", word)
    assert "expected a number, got" in refuse(write(NUMBER % word))
    assert load_recipe("obelics", (f"tokenize.alt_as_caption={word}",)).tokenize.alt_as_caption is (
        word in ("yes", "on")
    )


@pytest.mark.parametrize("text", ["no", "010", "1e3", "12:30", "0o7", "2024-01-01", "~", "true", ".5", "<<", "x: y"])
def test_what_is_written_is_read_back(write: Any, text: str, tmp_path: Path) -> None:
    recipe = dataclasses.replace(load_recipe("obelics"), name=text)
    for written in (to_yaml(recipe), explained_yaml(recipe)):
        (tmp_path / "again.yaml").write_text(written)
        assert load_recipe(str(tmp_path / "again.yaml")) == recipe


@pytest.mark.parametrize("text", ["[" * 5000, "seed: !!int abc", "seed: " + "1" * 5000, "? [a]\n: b"])
def test_yaml_that_breaks_its_reader(write: Any, text: str) -> None:
    assert "not valid YAML" in refuse(write(text))


@pytest.mark.parametrize("parent", ["3", "[a]", "nothing.yaml", "''"])
def test_extends_what_is_not_there(write: Any, parent: str) -> None:
    assert "no recipe" in refuse(write(f"extends: {parent}"))


@pytest.mark.parametrize(
    ("override", "get", "value"),
    [
        ("select.image.min_side_px=7", lambda recipe: recipe.select.image.min_side_px, 7),
        ("select.image.min_side_px=null", lambda recipe: recipe.select.image.min_side_px, None),
        ("select.image.min_side_px=", lambda recipe: recipe.select.image.min_side_px, None),
        ("select.document.languages=[en, de]", lambda recipe: recipe.select.document.languages, ("en", "de")),
        ("select.document.min_language_score=1", lambda recipe: recipe.select.document.min_language_score, 1.0),
        ("seed=3", lambda recipe: recipe.seed, 3),
        ("name=a=b", lambda recipe: recipe.name, "a=b"),
        ("score.clip={model: 'hf-hub:x'}", lambda recipe: recipe.score.clip.model, "hf-hub:x"),
        ("score.clip.model=hf-hub:x", lambda recipe: recipe.score.clip.model, "hf-hub:x"),
        ("score.minhash.bands=3", lambda recipe: recipe.score.minhash.bands, 3),
    ],
)
def test_overrides(override: str, get: Any, value: Any) -> None:
    assert get(load_recipe("obelics", (override,))) == value


def test_the_last_override_counts() -> None:
    recipe = load_recipe("obelics", ("seed=1", "select.text.min_words=5", "seed=2"))
    assert (recipe.seed, recipe.select.text.min_words) == (2, 5)


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("select.image.min_side_px", "expected section.key=value"),
        ("=5", "unknown key"),
        ("select=3", "select"),
        ("select.image.min_sid_px=3", "did you mean select.image.min_side_px?"),
        ("select.image.min_side_px=[", "not valid YAML"),
        ("select.image.min_side_px.x=3", "select.image.min_side_px"),
        ("select..image=3", "unknown key"),
    ],
)
def test_bad_overrides(override: str, expected: str) -> None:
    assert expected in refuse("obelics", override)


def test_fingerprints_tell_settings_apart() -> None:
    recipe = load_recipe("obelics")
    changed = load_recipe("obelics", ("select.image.min_side_px=7",))
    assert fingerprint(recipe.select) != fingerprint(changed.select)
    assert fingerprint(recipe.score) == fingerprint(changed.score)
    assert fingerprint("a", "b") != fingerprint("ab")
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})


def test_every_setting_is_plain_yaml() -> None:
    """Nothing in a recipe that JSON or YAML cannot hold: it goes into run.json and recipe.yaml."""
    for name in preset_names():
        assert yaml.safe_load(yaml.safe_dump(as_dict(load_recipe(name)))) == as_dict(load_recipe(name))


def test_a_preset_is_found_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "obelics").mkdir()
    monkeypatch.chdir(tmp_path)
    assert os.listdir() == ["obelics"]
    assert load_recipe("obelics").name == "obelics"
