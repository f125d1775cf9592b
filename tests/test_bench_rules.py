"""Leaving one rule out: every rule of the list can be, and what it does then shows in the pieces and the table."""

from __future__ import annotations

import sys
from pathlib import Path

from gobelin.transforms.pages.content import boilerplate, main_content, region_rules

sys.path.insert(0, str(Path(__file__).parent.parent / "bench"))

import rules as rules_bench
import rules_list
from extraction_gold import Page

_SENTENCE = "The ferry leaves the harbour at seven and comes back when the tide has turned. "
_HTML = f"""<html><title>Ferries</title><body><main><h1>Ferries</h1><p>{_SENTENCE * 4}</p>
<p>{_SENTENCE * 3}</p><h2>Read also: trains</h2><ul><li><a href="a">Trains to the north</a></li></ul>
</main><div class="related"><p>{_SENTENCE}</p></div></body></html>"""


def _page(name: str = "page") -> Page:
    return Page(name, "site", "http://ferry.example/", "utf-8", _HTML.encode(), body=_SENTENCE * 7)


def test_every_rule_can_be_left_out_and_is_back_afterwards() -> None:
    before = dict(vars(main_content)), dict(vars(region_rules)), dict(vars(boilerplate))
    rules = rules_list.all_rules()
    assert len({rule.name for rule in rules}) == len(rules) > 40
    assert {function.__name__ for _, functions in main_content.RULES for function in functions} <= {
        rule.name for rule in rules
    }
    reader = rules_bench.Reader(_page())
    pieces = reader.read(rules_list.Depth.CONTENT)
    for rule in rules:
        with rule.left_out():
            reader.read(rule.depth)
        assert rule.says
    assert (dict(vars(main_content)), dict(vars(region_rules)), dict(vars(boilerplate))) == before
    for depth in rules_list.Depth:
        assert reader.read(depth) == pieces


def test_a_rule_that_is_left_out_shows_in_the_measure() -> None:
    samples = [rules_bench.Sample("news", _page(name)) for name in ("one", "two")]
    rules = [rule for rule in rules_list.all_rules() if rule.name in ("RELATED", "drop_paging")]
    base, changes = rules_bench._run(samples, rules, jobs=1)
    assert [len(changed) for changed in changes] == [0 if rule.name == "drop_paging" else 2 for rule in rules]
    report = rules_bench._report(rules_bench._measures(samples, base), {})
    assert report.startswith("| rule | news | helps | hurts | pages |")
