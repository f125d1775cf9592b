"""Faces: boxes from a detector of one's own, blurred before tokens; what was not searched for faces stays out."""

import math
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as PillowImage
from PIL import ImageDraw

from gobelin.data.schemas import DOCUMENTS, IMAGE_SCORES, IMAGES
from gobelin.store.dataset import Attempt
from gobelin.transforms.score.config import ScoreConfig
from gobelin.transforms.vision.faces import (
    Face,
    FaceConfig,
    blur_faces,
    boxes_of,
    faces_of_images,
    faces_of_shard,
    find_faces,
    load_detector,
)

Row = dict[str, Any]
GREEN = (20, 160, 60)
RED = (230, 20, 20)
NUM_SHARDS = 5
"""More than there are images: some shards are empty."""

DETECTORS = "gobelin.transforms.vision.face_detectors"


def red_detector(least: int = 0) -> Callable[[PillowImage.Image], Iterator[Face]]:
    """A detector for tests: what is red is a face; a picture that is all blue breaks it."""

    def detect(image: PillowImage.Image) -> Iterator[Face]:
        pixels = np.asarray(image).astype(int)
        if (pixels[..., 2] > 200).all():
            raise RuntimeError("a detector that fails")
        rows, columns = np.nonzero((pixels[..., 0] > 150) & (pixels[..., 1] < 90))
        if len(rows) > least:
            height, width = pixels.shape[:2]
            yield Face(columns.min() / width, rows.min() / height, (columns.max() + 1) / width,
                       (rows.max() + 1) / height, 0.9)  # fmt: skip

    return detect


@pytest.fixture(autouse=True)
def detectors(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("detectors_of_tests")
    module.red = red_detector  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "detectors_of_tests", module)


def picture(box: tuple[int, int, int, int] | None, size: tuple[int, int] = (200, 100)) -> PillowImage.Image:
    """A green picture with fine stripes, and a red ellipse with a dark mouth in the box."""
    image = PillowImage.new("RGB", size, GREEN)
    draw = ImageDraw.Draw(image)
    for x in range(0, size[0], 4):
        draw.line((x, 0, x, size[1]), fill=(20, 120, 60))
    if box is not None:
        left, _, right, bottom = box
        draw.ellipse(box, fill=RED)
        draw.rectangle((left + 10, bottom - 12, right - 10, bottom - 8), fill=(40, 0, 0))
    return image


def test_a_detector_of_ones_own() -> None:
    detector = load_detector(FaceConfig(detector="detectors_of_tests:red", options={"least": 5}))
    (face,) = find_faces(picture((50, 20, 90, 70)), detector)
    assert (face.x0, face.y0, face.x1, face.y1) == pytest.approx((0.25, 0.2, 0.455, 0.71), abs=0.01)
    assert find_faces(picture(None), detector) == []
    assert find_faces(picture((50, 20, 90, 70)), detector, min_score=0.95) == []


@pytest.mark.parametrize(
    ("detector", "options", "message"),
    [
        ("no_such_module:f", {}, "No module named"),
        ("detectors_of_tests:blue", {}, "has no attribute 'blue'"),
        ("detectors_of_tests:red", {"most": 3}, "options do not fit"),
    ],
)
def test_a_detector_that_is_not_there(detector: str, options: Row, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_detector(FaceConfig(detector=detector, options=options))


@pytest.mark.parametrize("text", ["", "module", ":f", "module:"])
def test_a_detector_that_is_no_name(text: str) -> None:
    with pytest.raises(ValueError, match="detector must be module:function"):
        FaceConfig(detector=text)


def test_boxes_are_cut_to_the_picture_and_sorted_by_size() -> None:
    given = [Face(0.4, 0.4, 0.5, 0.5), Face(-0.2, 0.5, 0.3, 1.7), Face(0.9, 0.9, 0.9, 1.0), Face(1.1, 0, 1.2, 1),
             Face(0.1, 0.1, 0.2, 0.2, 0.3), Face(math.nan, 0, 1, 1)]  # fmt: skip
    found = find_faces(picture(None), lambda _: given, min_score=0.5)
    assert found == [Face(0.0, 0.5, 0.3, 1.0), Face(0.4, 0.4, 0.5, 0.5)]


def test_a_blurred_face_is_gone_and_the_rest_is_there() -> None:
    box = (50, 20, 90, 70)
    image = picture(box)
    (face,) = find_faces(image, red_detector())
    blurred = np.asarray(blur_faces(image, ((face.x0, face.y0, face.x1, face.y1),))).astype(int)
    original = np.asarray(image).astype(int)
    edges = [abs(np.diff(pixels[20:71, 50:91], axis=axis)).max() for pixels in (original, blurred) for axis in (0, 1)]
    assert min(edges[:2]) > 150  # the mouth and the outline can be seen
    assert max(edges[2:]) < 45  # and cannot any more: what is left are stripes of the ground at the corners
    diagonal = math.hypot(41, 51)
    reach = round(0.1 * diagonal + 4 * 0.1 * diagonal)  # growth, and four sigmas of the mask's edge
    outside = np.ones(original.shape[:2], bool)
    outside[max(0, 20 - reach) : 71 + reach, 50 - reach : 91 + reach] = False
    assert outside.sum() > 5000
    assert np.array_equal(blurred[outside], original[outside])


def test_how_far_the_blur_reaches() -> None:
    """On noise, what is left of it at a place is 1 - mask. The mask is a box grown by 10 % of its diagonal, and its
    edge a Gaussian of the same width: 16 % are left at the edge of the face, half where the grown box ends."""
    noise = np.random.default_rng(1).integers(0, 256, (600, 600, 3), np.uint8)
    blurred = np.asarray(blur_faces(PillowImage.fromarray(noise), ((0.25, 0.25, 0.75, 0.75),))).astype(float)
    diagonal = math.hypot(300, 300)
    for shares, expected in ((0.0, 0.16), (0.1, 0.5), (0.2, 0.84), (-0.2, 0.0)):
        column = round(150 - shares * diagonal)
        left = (blurred[200:400, column] - 127.5).std() / (noise[200:400, column] - 127.5).std()
        assert left == pytest.approx(expected, abs=0.06), shares


def test_the_blur_scales_with_the_picture() -> None:
    """Blurred and then made small is nearly the same as made small and then blurred."""
    image = picture((120, 40, 220, 160), (400, 200))
    boxes = ((0.3, 0.2, 0.55, 0.8),)
    small = (100, 50)
    one = np.asarray(blur_faces(image, boxes).resize(small, PillowImage.Resampling.BOX)).astype(int)
    other = np.asarray(blur_faces(image.resize(small, PillowImage.Resampling.BOX), boxes)).astype(int)
    assert abs(one - other).mean() < 2


def test_no_box_no_change() -> None:
    image = picture((50, 20, 90, 70))
    assert blur_faces(image, ()) is image


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1)])
@pytest.mark.parametrize("box", [(0.0, 0.0, 1.0, 1.0), (0.2, 0.2, 0.2001, 0.2001)])
def test_any_picture_and_any_box(size: tuple[int, int], box: tuple[float, float, float, float]) -> None:
    assert blur_faces(PillowImage.new("RGB", size, RED), (box,)).size == size


def a_face(**changes: float) -> Row:
    return {"x0": 0.25, "y0": 0.25, "x1": 0.5, "y1": 0.5, "score": 1.0, **changes}


def score_rows(*faces: list[Row] | None) -> list[Row]:
    facts = {"width": 1, "height": 1, "phash": "0" * 16, "num_documents": 1, "near_group": "x", "near_count": 1}
    return [
        {**dict.fromkeys(IMAGE_SCORES.names), "image_id": f"{place:064x}", **facts, "faces": found}
        for place, found in enumerate(faces)
    ]


def test_stored_boxes(tmp_path: Path, write_data_set: Callable[..., str]) -> None:
    rows = score_rows([a_face()], [], None)
    folder = write_data_set(tmp_path / "images", rows, IMAGE_SCORES, 2, "image_id")
    expected = {f"{0:064x}": ((0.25, 0.25, 0.5, 0.5),), f"{1:064x}": ()}
    assert faces_of_images(folder) == expected == boxes_of(rows)
    assert faces_of_shard(folder, 0, 2) | faces_of_shard(folder, 1, 2) == expected


def in_data_sets(tmp_path: Path, pictures: list[bytes], fixtures: tuple[Callable[..., Any], ...]) -> Path:
    a_document, an_image, write_data_set = fixtures
    names = [f"{place:064x}" for place in range(len(pictures))]
    rows = [an_image(name, data=data) for name, data in zip(names, pictures, strict=True)]
    write_data_set(tmp_path / "images", rows, IMAGES, NUM_SHARDS, "image_id")
    documents = [a_document("d" * 32, ["Some words of text.", *[(name,) for name in names]])]
    write_data_set(tmp_path / "documents", documents, DOCUMENTS, NUM_SHARDS)
    return tmp_path


@pytest.fixture
def fixtures(
    a_document: Callable[..., Row], an_image: Callable[..., Row], write_data_set: Callable[..., str]
) -> tuple[Callable[..., Any], ...]:
    return a_document, an_image, write_data_set


def test_faces_through_the_stage_without_clip(
    tmp_path: Path, encode: Callable[..., bytes], fixtures: tuple[Callable[..., Any], ...],
    score_documents: Callable[..., Any], plan_here: Callable[..., Any],
) -> None:  # fmt: skip
    """Two faces' boxes, none, and two images that fail: each is in the scores or in the decisions."""
    from gobelin.pipeline.run.plan import Batch, Step, data_sets
    from gobelin.pipeline.stages.score import EmbedJob, embed_images

    boxes = ((50, 20, 90, 70), None)
    pictures = [encode(picture(box), "PNG") for box in boxes]
    pictures += [encode(PillowImage.new("RGB", (50, 50), (0, 0, 255)), "PNG"), b"no picture"]
    source = in_data_sets(tmp_path / "extract", pictures, fixtures)
    config = ScoreConfig(faces=FaceConfig(detector="detectors_of_tests:red"))
    output = tmp_path / "score"
    job = EmbedJob(config, str(source / "images"), Attempt(str(output), ""), NUM_SHARDS)
    made = data_sets(str(output), NUM_SHARDS, "image_faces", "embed_decisions")
    plan_here().run(Step("look", embed_images, [Batch(list(range(NUM_SHARDS)), job)], made))
    scored = score_documents(source, output, NUM_SHARDS, config)
    names = [f"{place:064x}" for place in range(4)]
    assert {row["image_id"]: row["rule"] for row in scored.decisions} == {
        names[2]: "face_detector", names[3]: "undecodable_image",
    }  # fmt: skip
    assert set(scored.images) == set(names[:2])
    (face,) = scored.images[names[0]]["faces"]
    assert [face[side] for side in ("x0", "y0", "x1", "y1")] == pytest.approx([0.25, 0.2, 0.455, 0.71], abs=0.01)
    assert (scored.images[names[1]]["faces"], scored.images[names[1]]["num_faces"]) == ([], 0)
    (document,) = scored.documents.values()
    assert [node["num_faces"] for node in document["nodes"]] == [None, 1, 0, None, None]
    assert [node["image_id"] for node in document["nodes"]] == [None, *names[:2], None, None]


def test_tokens_are_those_of_blurred_pictures(
    tmp_path: Path,
    encode: Callable[..., bytes],
    fixtures: tuple[Callable[..., Any], ...],
    plan_here: Callable[..., Any],
) -> None:
    torch = pytest.importorskip("torch")
    from gobelin.pipeline.run.plan import Batch, Step, data_sets
    from gobelin.pipeline.stages.tokenize import EncodeJob, encode_images
    from gobelin.store.shards import read_folder
    from gobelin.tokenize.encode import Encoding
    from gobelin.tokenize.fit import fit_images
    from gobelin.tokenize.image_tokenizer import ImageTokenizer, save_image_tokenizer
    from gobelin.tokenize.preprocess import preprocess
    from gobelin.tokenize.shapes import VQVAEConfig
    from gobelin.transforms.images.open_image import open_rgb
    from gobelin.transforms.images.stored_images import StoredImages

    torch.set_num_threads(1)
    config = VQVAEConfig(image_size=32, patch_size=8, num_codes=64, channels=16, num_blocks=1)
    squares = [preprocess(picture((place, 5, place + 50, 80)), (32, 32)) for place in range(0, 150, 5)]
    tokenizer = ImageTokenizer(fit_images(np.stack(squares), config, seed=1, steps=40)[0])
    save_image_tokenizer(tokenizer, str(tmp_path / "tokenizer"))
    whole = encode(picture((50, 20, 90, 70)), "PNG")
    source = in_data_sets(tmp_path, [whole] + [encode(picture(None), "PNG")] * 2, fixtures)
    box = {"x0": 0.25, "y0": 0.2, "x1": 0.45, "y1": 0.7}
    scores = fixtures[2](
        tmp_path / "scores", score_rows([a_face(**box)], [], None), IMAGE_SCORES, NUM_SHARDS, "image_id"
    )
    found = {}
    for name, folder in (("as they are", None), ("blurred", scores)):
        work = tmp_path / name
        images = StoredImages(str(source / "images"), None, NUM_SHARDS)
        encoding = Encoding(
            str(tmp_path / "tokenizer"), images, str(work / "codes"), str(work / "failed"), scores=folder
        )
        job = EncodeJob(encoding, str(source / "documents"))
        made = data_sets(str(work), NUM_SHARDS, "codes", "failed")
        plan_here().run(Step("encode", encode_images, [Batch(list(range(NUM_SHARDS)), job)], made))
        found[name] = {row["image_id"]: row["codes"] for row in read_folder(str(work / "codes"))}
    names = [f"{place:064x}" for place in range(3)]
    assert set(found["as they are"]) == set(names)
    blurred = blur_faces(open_rgb(whole, 64), (tuple(np.float32(side).item() for side in box.values()),))
    expected = tokenizer.encode(preprocess(blurred, (32, 32))[None])[0].tolist()
    assert found["blurred"] == {names[0]: expected, names[1]: found["as they are"][names[1]]}
    assert found["as they are"][names[0]] != expected
    (decision,) = read_folder(str(tmp_path / "blurred" / "failed"))
    assert (decision["rule"], decision["image_id"]) == ("faces_unknown", names[2])


def test_thumbnails_of_the_report_are_blurred(
    tmp_path: Path, encode: Callable[..., bytes], fixtures: tuple[Callable[..., Any], ...]
) -> None:
    from gobelin.report.pictures import make_thumbnails

    pictures = [encode(picture((50, 20, 90, 70)), "PNG")] * 2
    in_data_sets(tmp_path / "extract", pictures, fixtures)
    names = {f"{place:064x}" for place in range(2)}
    without = make_thumbnails(str(tmp_path), names)
    fixtures[2](tmp_path / "score" / "images", score_rows([a_face()], []), IMAGE_SCORES, 2, "image_id")
    blurred = make_thumbnails(str(tmp_path), names)
    assert blurred[f"{0:064x}"].uri != without[f"{0:064x}"].uri
    assert blurred[f"{1:064x}"].uri == without[f"{1:064x}"].uri


@pytest.mark.parametrize("size", [(320, 240), (900, 700), (40, 30)])
def test_opencvs_cascade_runs(size: tuple[int, int]) -> None:
    """It finds nothing in stripes and a plain ellipse; what it finds in photographs is not tested here."""
    pytest.importorskip("cv2")
    detector = load_detector(FaceConfig(detector=f"{DETECTORS}:haar"))
    for face in find_faces(picture((5, 5, 25, 25), size), detector):
        assert 0 <= face.x0 < face.x1 <= 1
        assert 0 <= face.y0 < face.y1 <= 1
        assert 0 <= face.score <= 1


def test_opencvs_cascade_finds_a_drawn_face() -> None:
    pytest.importorskip("cv2")
    image = drawn_face()
    detector = load_detector(FaceConfig(detector=f"{DETECTORS}:haar", options={"neighbours": 3}))
    found = find_faces(image, detector)
    assert found
    face = found[0]
    assert abs((face.x0 + face.x1) / 2 - 0.5) < 0.15
    assert abs((face.y0 + face.y1) / 2 - 0.5) < 0.2


def drawn_face() -> PillowImage.Image:
    """Light skin, darker eyes and brows, a nose's shadow and a mouth, softened: what the cascade looks for."""
    from PIL import ImageFilter

    image = PillowImage.new("RGB", (400, 400), (120, 130, 140))
    draw = ImageDraw.Draw(image)
    draw.ellipse((110, 70, 290, 330), fill=(60, 45, 35))  # hair
    draw.ellipse((125, 100, 275, 325), fill=(224, 180, 150))
    for x in (165, 235):
        draw.ellipse((x - 24, 165, x + 24, 192), fill=(150, 110, 90))  # socket
        draw.ellipse((x - 15, 170, x + 15, 188), fill=(245, 245, 245))
        draw.ellipse((x - 8, 171, x + 8, 187), fill=(30, 20, 15))
        draw.line((x - 25, 158, x + 25, 156), fill=(60, 40, 30), width=7)
    draw.polygon([(200, 185), (186, 240), (214, 240)], fill=(205, 155, 125))
    draw.line((186, 241, 214, 241), fill=(140, 95, 75), width=4)
    draw.ellipse((168, 262, 232, 286), fill=(150, 60, 60))
    draw.line((170, 274, 230, 274), fill=(90, 30, 30), width=4)
    return image.filter(ImageFilter.GaussianBlur(3))


def test_without_opencv_the_detector_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(ValueError, match=r"pip install 'gobelin\[faces\]'"):
        load_detector(FaceConfig(detector=f"{DETECTORS}:haar"))


def test_yunet_needs_its_file(tmp_path: Path) -> None:
    pytest.importorskip("cv2")
    for path, message in ((tmp_path / "no.onnx", "no file"), (tmp_path / "broken.onnx", "is not a YuNet model")):
        if "broken" in path.name:
            path.write_bytes(b"no network")
        with pytest.raises(ValueError, match=message):
            load_detector(FaceConfig(detector=f"{DETECTORS}:yunet", options={"model": str(path)}))
