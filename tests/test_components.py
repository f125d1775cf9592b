"""Connected components: union-find, rounds of stars and NumPy give the smallest id of each, on graphs of any shape."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterable

import apache_beam as beam
import numpy as np
import pytest
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.testing.util import assert_that, equal_to
from hypothesis import given
from hypothesis import strategies as st

from gobelin.transforms.duplicates.alike_pairs import join_alike, smallest_connected
from gobelin.transforms.duplicates.components import (
    ConnectEdges,
    CountUnfinished,
    Edge,
    StarRound,
    connected_components,
    large_star,
    small_star,
    star_edges,
)

PAIRS = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), max_size=40)
SHUFFLER = st.randoms(use_true_random=False)


def named(pairs: Iterable[tuple[int, int]]) -> list[Edge]:
    return [(f"{a:06}", f"{b:06}") for a, b in pairs]


def by_definition(edges: list[Edge]) -> dict[str, str]:
    """Spreads the smallest name along edges until nothing changes."""
    names = {node: node for edge in edges for node in edge}
    while any(names[a] != names[b] for a, b in edges):
        for a, b in edges:
            names[a] = names[b] = min(names[a], names[b])
    return names


def grouped(pairs: Iterable[Edge]) -> list[tuple[str, list[str]]]:
    found: dict[str, list[str]] = {}
    for key, value in pairs:
        found.setdefault(key, []).append(value)
    return list(found.items())


def one_round(edges: set[Edge]) -> set[Edge]:
    """What ``StarRound`` does, without Beam."""
    both = [pair for a, b in edges if a != b for pair in ((a, b), (b, a))]
    large = [edge for group in grouped(both) for edge in large_star(group)]
    down = [(max(edge), min(edge)) for edge in large]
    return {edge for group in grouped(down) for edge in small_star(group)}


def are_stars(edges: set[Edge]) -> bool:
    children = [child for child, _ in edges]
    return len(children) == len(set(children)) and not {parent for _, parent in edges} & set(children)


def star_rounds(edges: Iterable[Edge]) -> tuple[dict[str, str], int]:
    """Components by rounds, and how many it took."""
    held = set(edges)
    nodes = {node for edge in held for node in edge}
    for number in itertools.count(1):
        held = one_round(held)
        if are_stars(held):
            return {node: node for node in nodes} | dict(held), number
    raise AssertionError


def numpy_components(edges: list[Edge]) -> dict[str, str]:
    nodes = sorted({node for edge in edges for node in edge})
    place = {node: index for index, node in enumerate(nodes)}
    labels = np.arange(len(nodes))
    if edges:
        labels = smallest_connected(labels, np.array([[place[a] for a, _ in edges], [place[b] for _, b in edges]]))
    return {node: nodes[label] for node, label in zip(nodes, labels.tolist(), strict=True)}


WAYS: list[Callable[[list[Edge]], dict[str, str]]] = [
    connected_components,
    lambda edges: star_rounds(edges)[0],
    numpy_components,
]


@pytest.mark.parametrize("way", WAYS, ids=["union-find", "stars", "numpy"])
@given(pairs=PAIRS, shuffler=SHUFFLER)
def test_every_way_gives_the_definition_in_any_order(
    way: Callable[[list[Edge]], dict[str, str]], pairs: list[tuple[int, int]], shuffler: random.Random
) -> None:
    edges = named(pairs)
    shuffled = [shuffler.choice([(a, b), (b, a)]) for a, b in edges]
    shuffler.shuffle(shuffled)
    assert way(edges) == way(shuffled) == by_definition(edges)


def shapes() -> dict[str, list[Edge]]:
    rng = random.Random(4)
    line = list(range(3000))
    shuffled = line.copy()
    rng.shuffle(shuffled)
    tree = [(node, rng.randrange(node)) for node in range(1, 2000)]
    return {
        "chain": named(itertools.pairwise(line)),
        "chain backwards": named(itertools.pairwise(line[::-1])),
        "chain shuffled": named(itertools.pairwise(shuffled)),
        "ring": named(zip(shuffled, shuffled[1:] + shuffled[:1], strict=True)),
        "star around the smallest": named((0, leaf) for leaf in range(1, 5000)),
        "star around the largest": named((5000, leaf) for leaf in range(5000)),
        "clique": named(itertools.combinations(range(150), 2)),
        "cliques in a chain": named(
            pair for base in range(0, 400, 20) for pair in itertools.combinations(range(base, base + 21), 2)
        ),
        "tree": named(tree),
        "sparse": named((rng.randrange(4000), rng.randrange(4000)) for _ in range(3000)),
        "loops": named((node, node) for node in range(10)),
    }


@pytest.mark.parametrize("shape", list(shapes()))
def test_shapes(shape: str) -> None:
    edges = shapes()[shape]
    expected = connected_components(edges)
    assert numpy_components(edges) == expected
    found, num_rounds = star_rounds(edges)
    assert found == expected
    assert num_rounds <= 16, "rounds grow with the logarithm of the longest chain"


def test_a_chain_needs_more_rounds_than_one_would_guess() -> None:
    """Why rounds run until none is unfinished, and not a fixed number of times."""
    edges = shapes()["chain shuffled"]
    assert star_rounds(edges)[1] > 6


def run_round(edges: Iterable[Edge], expected: set[Edge], unfinished: int) -> None:
    with beam.Pipeline(runner=FnApiRunner()) as pipeline:
        found = pipeline | beam.Create(list(edges)) | StarRound()
        assert_that(found, equal_to(sorted(expected)), label="edges")
        assert_that(found | CountUnfinished(), equal_to([unfinished]), label="unfinished")


def test_rounds_on_beam() -> None:
    """The graph does what the functions do, and counts who is not where it belongs."""
    edges = set(named(itertools.pairwise(range(20))))
    first = one_round(edges)
    assert not are_stars(first)
    children = [child for child, _ in first]
    lost = {v for v in children if children.count(v) > 1 or any(parent == v for _, parent in first)}
    run_round(edges, first, len(lost))
    stars = set(named((leaf, 0) for leaf in range(1, 20)))
    run_round(stars, stars, 0)


def test_no_edges_on_beam() -> None:
    run_round([], set(), 0)


def test_connect_edges_on_beam() -> None:
    with beam.Pipeline(runner=FnApiRunner()) as pipeline:
        found = pipeline | beam.Create([("c", "b"), ("b", "a"), ("z", "y")]) | ConnectEdges()
        assert_that(found, equal_to([("a", "a"), ("b", "a"), ("c", "a"), ("y", "y"), ("z", "y")]))


def test_star_edges() -> None:
    assert star_edges(["c", "a", "b", "a"]) == [("b", "a"), ("c", "a")]
    assert star_edges(["a", "a"]) == []


def test_long_chains_are_one_component() -> None:
    ids = [f"{index:06}" for index in range(50_000)]
    for edges in (list(itertools.pairwise(ids)), list(itertools.pairwise(ids[::-1]))):
        assert set(connected_components(edges).values()) == {"000000"}
        assert set(numpy_components(edges).values()) == {"000000"}


def alike_by_definition(keys: np.ndarray, values: np.ndarray, distance: int) -> list[int]:
    """Components of the pairs that share a key in some band and whose values are near."""
    pairs = [
        (a, b)
        for a, b in itertools.combinations(range(len(values)), 2)
        if (keys[:, a] == keys[:, b]).any() and abs(values[a] - values[b]) <= distance
    ]
    names = by_definition(named(pairs))
    return [int(names.get(f"{item:06}", f"{item:06}")) for item in range(len(values))]


@pytest.mark.parametrize("crowd", [256, 3])
@pytest.mark.parametrize("num_keys", [2, 20, 60])
def test_join_alike_against_brute_force(crowd: int, num_keys: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Small buckets compared at once and crowds one by one give the same: chains within them included."""
    monkeypatch.setattr("gobelin.transforms.duplicates.alike_pairs._CROWD", crowd)
    monkeypatch.setattr("gobelin.transforms.duplicates.alike_pairs._PAIRS_AT_ONCE", 50)
    rng = np.random.default_rng(num_keys)
    keys, values = rng.integers(0, num_keys, (3, 120)), rng.integers(0, 400, 120)

    def is_alike(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.abs(values[a] - values[b]) <= 3

    found = join_alike(120, keys, is_alike)
    assert found.tolist() == alike_by_definition(keys, values, 3)
    assert join_alike(120, keys, None).tolist() == alike_by_definition(keys, values, 10_000)


def test_join_alike_of_nothing() -> None:
    assert join_alike(0, [np.empty(0, np.int64)], None).tolist() == []
    assert join_alike(3, [], None).tolist() == [0, 1, 2]


@pytest.mark.timeout(30)
def test_a_crowd_of_near_copies_costs_about_as_many_comparisons_as_members() -> None:
    num_compared = 0

    def is_alike(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        nonlocal num_compared
        num_compared += len(b)
        return np.ones(len(b), np.bool_)

    assert set(join_alike(100_000, [np.zeros(100_000, np.int64)] * 5, is_alike).tolist()) == {0}
    assert num_compared < 100_000
