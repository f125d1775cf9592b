"""The order of texts and images in the sequence of a document, and the maximum number of its images.

    interleaved    as on the page
    image_first    all images, then all texts
    text_first     all texts, then all images
    assigned       each image before the text to which MMC4's assignment assigns it (arXiv 2304.06939): at most one
                   image per text, with the largest sum of CLIP similarities. The stage ``score`` computes the
                   assignment. An image without a text, or whose text ``select`` dropped, stays before the next text

Images keep their order on the page among themselves, and so do texts.
"""

from __future__ import annotations

from collections.abc import Sequence

from gobelin.store.shards import RowsByDocument, dropped_nodes, read_rows
from gobelin.tokenize.config import Order


def ordered(kinds: Sequence[str], order: Order, assigned: Sequence[int | None] | None = None) -> list[int]:
    """The positions of a document's nodes in the order of its sequence.

    Args:
        kinds: text or image, for each node.
        order: the order.
        assigned: for each node, the position of the text to which it is assigned; None for texts and for images without
            one.
    """
    places = range(len(kinds))
    if order == "interleaved":
        return list(places)
    if order == "assigned":
        return _before_their_texts(kinds, assigned or [None] * len(kinds))
    last = "text" if order == "image_first" else "image"
    return sorted(places, key=lambda place: kinds[place] == last)


def _before_their_texts(kinds: Sequence[str], assigned: Sequence[int | None]) -> list[int]:
    following = len(kinds)  # the next text after the current position
    keys = [(0, False)] * len(kinds)
    for place in reversed(range(len(kinds))):
        if kinds[place] == "text":
            following = place
            keys[place] = (place, True)
        else:
            text = assigned[place]
            keys[place] = (following if text is None else text, False)
    return sorted(range(len(kinds)), key=lambda place: keys[place])


def beyond(kinds: Sequence[str], max_images: int | None) -> set[int]:
    """Positions of the images after the first ``max_images``."""
    images = [place for place, kind in enumerate(kinds) if kind == "image"]
    return set() if max_images is None else set(images[max_images:])


class Assignments:
    """The texts to which the images of a shard's documents are assigned. Documents must be requested in the order of
    their ids.

    Args:
        scores: shard of ``score/documents``.
        decisions: shard of ``select/decisions``.
    """

    def __init__(self, scores: str, decisions: str) -> None:
        columns = ["doc_id", "nodes.list.element.clip_assigned"]
        self._scores = RowsByDocument(read_rows(scores, columns))
        self._dropped = RowsByDocument(dropped_nodes(decisions))

    def of(self, doc_id: str) -> list[int | None]:
        """For each node of a document of the corpus, the position of the text to which it is assigned, or None."""
        nodes = [node for row in self._scores.of(doc_id) for node in row["nodes"]]
        dropped = {row["node_index"] for row in self._dropped.of(doc_id)}
        kept = [place for place in range(len(nodes)) if place not in dropped]
        place_of = {place: index for index, place in enumerate(kept)}
        return [place_of.get(nodes[place]["clip_assigned"]) for place in kept]
