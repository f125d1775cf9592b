"""Documents and images for the lists of ``gobelin browse``."""

from __future__ import annotations

import numpy as np

from gobelin.pipeline.browse.collection import Collection, JsonObject
from gobelin.transforms.selection.columns.judged import STAYS, Judged


def document_row(run: Collection, place: int, judged: Judged) -> JsonObject:
    """A document for a list."""
    columns, code = run.columns, int(judged.documents[place])
    begin, end = columns.image_ends[place], columns.image_ends[place + 1]
    images = np.arange(begin, end)[(columns.images[begin:end] >= 0)]
    stays = images[judged.images[images] == STAYS]
    shown = (stays if len(stays) else images)[:3]
    unsafe = run.is_unsafe(shown)
    return {
        "doc_id": columns.ids[place].as_py(), "url": columns.urls[place].as_py(),
        "title": columns.titles[place].as_py() or "", "language": columns.languages[place].as_py() or "",
        "rule": "" if code == STAYS else judged.names["document"][code],
        "words": int(judged.num_words[place]), "images": int(judged.num_images[place]),
        "pictures": [
            {"image_id": columns.image_ids[int(columns.images[each])].as_py(), "unsafe": bool(is_unsafe)}
            for each, is_unsafe in zip(shown, unsafe)
        ],
    }  # fmt: skip


def picture_row(run: Collection, place: int, judged: Judged) -> JsonObject:
    """A place of an image for a list."""
    columns, code = run.columns, int(judged.images[place])
    node = columns.image_nodes[place]
    document = int(columns.of_document[node])
    dropped_with = judged.documents[document] != STAYS
    rule = (
        "document_dropped" if code == STAYS and dropped_with else ("" if code == STAYS else judged.names["image"][code])
    )
    return {
        "image_id": columns.image_ids[int(columns.images[place])].as_py(), "doc_id": columns.ids[document].as_py(),
        "node": int(columns.place_in_document(np.array([node]))[0]), "rule": rule,
        "times": int((columns.images == columns.images[place]).sum()),
        "unsafe": bool(run.is_unsafe(np.array([place]))[0]),
    }  # fmt: skip
