"""The order of a document's texts and images in its sequence, and the number of its images.

    interleaved    as they stand on the page
    image_first    all images, then all texts
    text_first     all texts, then all images
    assigned       each image before the text that MMC4's assignment gives it (arXiv 2304.06939): one image per text, so
                   that the sum of their CLIP similarities is largest. ``score`` has made the assignment; an image
                   without one, or whose text ``select`` dropped, keeps its place before the text that follows it

Within a group of images, and of texts, the order of the page stays.
"""

from __future__ import annotations

from collections.abc import Sequence

from gobelin.store.shards import RowsByDocument, dropped_nodes, read_rows
from gobelin.tokenize.config import Order


def ordered(kinds: Sequence[str], order: Order, assigned: Sequence[int | None] | None = None) -> list[int]:
    """Puts the places of a document's nodes in the order of its sequence.

    Args:
        kinds: text or image, of each node.
        assigned: of each node the place of the text that it is assigned to; None for texts and for images without one.
    """
    places = range(len(kinds))
    if order == "interleaved":
        return list(places)
    if order == "assigned":
        return _before_their_texts(kinds, assigned or [None] * len(kinds))
    last = "text" if order == "image_first" else "image"
    return sorted(places, key=lambda place: kinds[place] == last)


def _before_their_texts(kinds: Sequence[str], assigned: Sequence[int | None]) -> list[int]:
    following = len(kinds)  # the text behind a place, as the places are gone through from the end
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
    """The places of the images that are more than so many, counted from the first on the page."""
    images = [place for place, kind in enumerate(kinds) if kind == "image"]
    return set() if max_images is None else set(images[max_images:])


class Assignments:
    """The texts to which the images of a shard's documents are assigned. Documents must be asked for in the order of
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
        """For each node of a document of the corpus, the place there of the text that it is assigned to."""
        nodes = [node for row in self._scores.of(doc_id) for node in row["nodes"]]
        dropped = {row["node_index"] for row in self._dropped.of(doc_id)}
        kept = [place for place in range(len(nodes)) if place not in dropped]
        place_of = {place: index for index, place in enumerate(kept)}
        return [place_of.get(nodes[place]["clip_assigned"]) for place in kept]
