"""Fits a head on labelled embeddings: logistic regression with an L2 penalty.

    inputs     embeddings of unit length, each dimension standardised by the labelled images' mean and deviation
    fit        penalised log-likelihood by L-BFGS (scipy), from zero; mean loss + l2 / (2 n) * |w|^2
    strength   the one of ``STRENGTHS`` with the highest AUC in cross-validation
    folds      five, with equal shares of both labels, by a hash of image_id: equal labels give equal heads

The standardisation is folded into the weights, so the result is one linear layer and a sigmoid. The printed AUC is that
of images outside the fit. It also selects the strength among seven, so it is slightly too high. MMC4 made its face
filter in this way, with a threshold at 95 % recall; such thresholds are stored in the head's notes.

Cost: 5000 images with 512 dimensions take about a CPU-second.
"""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import io

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from scipy.optimize import minimize
from scipy.special import expit
from scipy.stats import rankdata

from gobelin.errors import MissingDataError, UserError
from gobelin.store.files import open_input
from gobelin.store.paths import join
from gobelin.store.tables import list_shards, read_tables
from gobelin.transforms.finite import require_finite
from gobelin.transforms.vision.heads import Head, Layer, fold_standardisation

NUM_FOLDS = 5
STRENGTHS = (0.1, 1.0, 10.0, 100.0, 1e3, 1e4, 1e5)
"""Penalties that are tried."""

RECALLS = (0.9, 0.95, 0.99)
"""Shares of the positives for which a threshold is stored."""

MIN_OF_EACH = 10
"""Minimum number of images per label; with fewer, five folds are not meaningful."""

Vectors = npt.NDArray[np.float64]
Labels = npt.NDArray[np.bool_]


@dataclasses.dataclass(frozen=True, slots=True)
class HeadFit:
    """The result of a fit."""

    head: Head
    num_positive: int
    num_negative: int
    auc: dict[float, float]  # AUC on held-out images, by strength
    strength: float
    cuts: dict[float, float]  # recall of held-out positives -> threshold that gives it
    num_unknown: int  # number of labelled images without an embedding


def train_head(embeddings: str, labels: str, name: str) -> HeadFit:
    """Fits a head on the images of a CSV file.

    Args:
        embeddings: the folder ``score`` of a run, with ``image_embeddings/`` and ``images/``.
        labels: CSV with the columns image_id and label (0 or 1; the score is high for 1).
        name: of the head.

    Raises:
        UserError: a file or column is missing, a label is invalid, the embeddings come from more than one model, or too
            few
            images of a label have one.
    """
    wanted = read_labels(labels)
    clip_model = model_of(embeddings)
    image_ids, vectors = read_embeddings(embeddings, wanted)
    is_positive = np.array([wanted[identifier] for identifier in image_ids], bool)
    return fit_head(image_ids, vectors, is_positive, name, clip_model, len(wanted) - len(image_ids))


def fit_head(
    image_ids: list[str],
    embeddings: npt.NDArray[np.floating],
    is_positive: Labels,
    name: str,
    clip_model: str,
    num_unknown: int = 0,
) -> HeadFit:
    """Fits a head on N labelled embeddings, (N, D); see the module's docstring.

    Raises:
        UserError: there are too few images of a label, or an embedding is zero or not finite.
    """
    num_positive, num_negative = int(is_positive.sum()), int((~is_positive).sum())
    if min(num_positive, num_negative) < MIN_OF_EACH:
        raise UserError(
            f"{num_positive} images of label 1 and {num_negative} of label 0 have an embedding: a head needs at least "
            f"{MIN_OF_EACH} of each (more help; MMC4's took 60,000)"
        )
    order = np.argsort(np.array(image_ids))  # the order of rows must not change the last bits of sums
    is_positive = is_positive[order]
    vectors = embeddings[order].astype(np.float64)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unusable = np.flatnonzero(~np.isfinite(lengths) | (lengths == 0.0))
    if len(unusable):
        raise UserError(
            f"{len(unusable)} of {len(vectors)} labelled images have an embedding that is zero or no number, "
            f"{image_ids[order[unusable[0]]]} among them: leave them out of the labels, or run score again"
        )
    vectors /= lengths
    folds = _folds([image_ids[place] for place in order], is_positive)
    left_out = {strength: _left_out(vectors, is_positive, folds, strength) for strength in STRENGTHS}
    auc = {strength: roc_auc(scores, is_positive) for strength, scores in left_out.items()}
    strength = max(STRENGTHS, key=lambda each: (round(auc[each], 6), each))  # the strongest penalty among equals
    weight, bias = _fit(vectors, is_positive, strength)
    cuts = {recall: _cut(left_out[strength][is_positive], recall) for recall in RECALLS}
    head = Head(
        name=name,
        clip_model=clip_model,
        layers=(Layer(weight[None], np.array([bias]), "sigmoid"),),
        higher_is="worse",
        range=(0.0, 1.0),
        source="gobelin heads train",
        notes={
            "num_positive": num_positive,
            "num_negative": num_negative,
            "cross_validated_auc": round(auc[strength], 4),
            "l2": strength,
            "cuts_by_recall": {str(recall): round(cut, 4) for recall, cut in cuts.items()},
        },
    )
    return HeadFit(head, num_positive, num_negative, auc, strength, cuts, num_unknown)


def _folds(image_ids: list[str], is_positive: Labels) -> npt.NDArray[np.intp]:
    """The fold of each image. Both labels are distributed evenly."""
    digests = np.array([hashlib.blake2b(name.encode(), digest_size=8).hexdigest() for name in image_ids])
    folds = np.empty(len(image_ids), np.intp)
    for label in (True, False):
        places = np.flatnonzero(is_positive == label)
        folds[places[np.argsort(digests[places])]] = np.arange(len(places)) % NUM_FOLDS
    return folds


def _left_out(vectors: Vectors, is_positive: Labels, folds: npt.NDArray[np.intp], strength: float) -> Vectors:
    """The probability of each image by the fit on the other folds."""
    scores = np.empty(len(vectors))
    for fold in range(NUM_FOLDS):
        is_held = folds == fold
        weight, bias = _fit(vectors[~is_held], is_positive[~is_held], strength)
        scores[is_held] = expit(vectors[is_held] @ weight + bias)
    return scores


def _fit(vectors: Vectors, is_positive: Labels, strength: float) -> tuple[Vectors, float]:
    """Weight (D,) and bias for inputs without standardisation."""
    mean, std = vectors.mean(0), vectors.std(0)
    std[std == 0.0] = 1.0
    inputs = (vectors - mean) / std
    signs = np.where(is_positive, 1.0, -1.0)
    num = len(vectors)

    def loss(parameters: Vectors) -> tuple[float, Vectors]:
        weight, bias = parameters[:-1], parameters[-1]
        margins = signs * (inputs @ weight + bias)
        pull = -signs * expit(-margins) / num
        value = np.logaddexp(0.0, -margins).mean() + strength / (2 * num) * weight @ weight
        return value, np.append(inputs.T @ pull + strength / num * weight, pull.sum())

    found = minimize(loss, np.zeros(vectors.shape[1] + 1), jac=True, method="L-BFGS-B", options={"maxiter": 500})
    require_finite(
        "the fit of a head",
        found.nit,
        {"the loss": float(found.fun), "the largest weight": float(np.abs(found.x).max())},
        "No head was written: look at the labels and embeddings it is fitted on",
    )
    weight, bias = fold_standardisation(found.x[None, :-1], found.x[-1:], mean, std)
    return weight[0], float(bias[0])


def roc_auc(scores: npt.NDArray[np.floating], is_positive: Labels) -> float:
    """Probability that a positive scores higher than a negative; ties count half."""
    num_positive = int(is_positive.sum())
    ranks = rankdata(scores)[is_positive]  # Mann-Whitney
    return float((ranks.sum() - num_positive * (num_positive + 1) / 2) / (num_positive * (len(scores) - num_positive)))


def _cut(scores: Vectors, recall: float) -> float:
    """The highest threshold that at least this share of the scores reaches."""
    return float(np.sort(scores)[::-1][int(np.ceil(recall * len(scores) - 1e-9)) - 1])


def read_labels(path: str) -> dict[str, bool]:
    """image_id -> label, from a CSV file; see ``train_head``."""
    labels: dict[str, bool] = {}
    try:
        with io.TextIOWrapper(open_input(path), encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            if not {"image_id", "label"} <= set(reader.fieldnames or ()):
                raise UserError(f"{path}: the first line must name the columns image_id and label")
            for row in reader:
                identifier, label = (row["image_id"] or "").strip(), (row["label"] or "").strip()
                if label not in ("0", "1"):
                    raise UserError(f"{path}, line {reader.line_num}: label must be 0 or 1, got {label!r}")
                if labels.setdefault(identifier, label == "1") != (label == "1"):
                    raise UserError(f"{path}, line {reader.line_num}: {identifier} has both labels")
    except OSError as error:
        raise UserError(f"labels {path}: {error.strerror}") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"labels {path}: not CSV in UTF-8: {error}") from None
    return labels


def model_of(score_folder: str) -> str:
    """The fingerprint of the one CLIP model of the embeddings in a folder ``score``.

    Raises:
        UserError: there are no embeddings, or embeddings of several models.
    """
    found: set[str] = set()
    for path in _shards(score_folder, "images"):
        for table in read_tables(path, ["clip_model"]):
            found.update(pc.unique(table["clip_model"]).drop_null().to_pylist())
    if not found:
        raise UserError(
            f"{score_folder}: no image in it has an embedding; run score with a recipe that sets score.clip"
        )
    if len(found) > 1:
        raise UserError(f"{score_folder}: its images have embeddings of {len(found)} CLIP models: {sorted(found)}")
    return found.pop()


def read_embeddings(score_folder: str, wanted: dict[str, bool]) -> tuple[list[str], npt.NDArray[np.float16]]:
    """(image_ids, embeddings (N, D)) of the wanted images that have one."""
    values = pa.array(sorted(wanted), pa.string())
    tables = []
    for path in _shards(score_folder, "image_embeddings"):
        for table in read_tables(path):
            tables.append(table.filter(pc.is_in(table["image_id"], value_set=values)))
    whole = pa.concat_tables(tables)
    image_ids = whole["image_id"].to_pylist()
    flat = pc.list_flatten(whole["embedding"]).to_numpy()
    return image_ids, flat.reshape(len(image_ids), -1) if image_ids else np.empty((0, 1), np.float16)


def _shards(score_folder: str, name: str) -> list[str]:
    try:
        return list_shards(join(score_folder, name))
    except MissingDataError:
        raise UserError(
            f"{score_folder}: no {name}/ in it; give the folder `score` of a run whose recipe sets score.clip"
        ) from None
