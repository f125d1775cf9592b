"""The process in which images are decoded: it answers as ``check_image`` does, and survives what would end a worker."""

from __future__ import annotations

import os
import signal
import struct
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gobelin.data.model import Action
from gobelin.transforms.images import image_sandbox
from gobelin.transforms.images.check_image import ImageFacts, ImageLimits, ImageProblem, check_image
from gobelin.transforms.images.image_sandbox import ImageChecker

LIMITS = ImageLimits()
Make = Callable[..., Any]

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="limits of a process are those of Unix")


@pytest.fixture
def checker() -> Iterator[ImageChecker]:
    made = ImageChecker(LIMITS)
    yield made
    made.close()


def is_alive(process_id: int) -> bool:
    """Whether a process runs; one that ended and was not waited for does not."""
    try:
        state = Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def ends_within(process_id: int, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while is_alive(process_id):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def slow_picture(side: int = 1800) -> bytes:
    """A plain PPM: Pillow reads its numbers in Python, a second for every megapixel and more."""
    return f"P3\n{side} {side}\n255\n".encode() + b"1 " * (3 * side * side)


def test_the_same_answers_as_without_it(checker: ImageChecker, png: Make, jpeg: Make) -> None:
    files = [png(), jpeg(1, 900, 700), b"", b"x", b"<svg/>", png()[:100], png(2), bytes(LIMITS.max_bytes + 1)]
    assert [checker.check(data) for data in files] == [check_image(data, LIMITS) for data in files]


def test_one_process_serves_many_and_is_ended(png: Make) -> None:
    checker = ImageChecker(LIMITS)
    assert checker.process_ids == []
    ids = set()
    for seed in range(5):
        assert isinstance(checker.check(png(seed)), ImageFacts)
        ids.update(checker.process_ids)
    (process_id,) = ids
    checker.close()
    assert not is_alive(process_id)
    assert isinstance(checker.check(png()), ImageFacts)  # and starts again when asked
    checker.close()
    checker.close()


def test_pdq_is_asked_for_by_the_limits(png: Make) -> None:
    pytest.importorskip("pdqhash")
    checker = ImageChecker(ImageLimits(pdq=True))
    found = checker.check(png())
    checker.close()
    assert isinstance(found, ImageFacts)
    assert found.pdq is not None


def test_a_slow_file_is_cut_off_and_the_next_one_served(png: Make) -> None:
    checker = ImageChecker(ImageLimits(max_seconds=0.5, max_bytes=10**9))
    checker.check(png())
    start = time.monotonic()
    assert checker.check(slow_picture()) == ImageProblem(Action.DROP, "image_seconds", None, 0.5)
    assert time.monotonic() - start < 10
    assert isinstance(checker.check(png()), ImageFacts)
    checker.close()


def test_a_file_that_needs_too_much_memory_is_dropped(encode: Make, png: Make) -> None:
    from PIL import Image as PillowImage

    limits = ImageLimits(max_memory=400 * 1024 * 1024, max_pixels=89_000_000)
    large = encode(PillowImage.new("RGBA", (9000, 9000), "red"), "PNG", compress_level=1)  # 324 MB of pixels
    checker = ImageChecker(limits)
    for _ in range(2):
        assert checker.check(large) == ImageProblem(Action.DROP, "image_memory", None, limits.max_memory)
        assert isinstance(checker.check(png()), ImageFacts)
    checker.close()


@pytest.mark.parametrize(
    ("number", "detail"),
    [
        (signal.SIGSEGV, "the decoder's process ended: SIGSEGV"),
        (signal.SIGABRT, "the decoder's process ended: SIGABRT"),
    ],
)
def test_a_crash_is_a_decision(png: Make, number: signal.Signals, detail: str) -> None:
    checker = ImageChecker(ImageLimits(max_seconds=60, max_bytes=10**9))
    checker.check(png())
    (process_id,) = checker.process_ids
    threading.Timer(0.3, os.kill, (process_id, number)).start()
    assert checker.check(slow_picture()) == ImageProblem(Action.FAIL, "undecodable_image", detail=detail)
    assert not is_alive(process_id)
    assert isinstance(checker.check(png()), ImageFacts)
    checker.close()


@pytest.mark.parametrize("is_first", [False, True])
def test_what_the_system_killed_for_memory_is_tried_again(
    png: Make, monkeypatch: pytest.MonkeyPatch, is_first: bool
) -> None:
    """The memory that was short may have been another's; a second time it is the file's fault."""
    checker = ImageChecker(ImageLimits(max_seconds=60))
    started: list[int] = []
    start = image_sandbox._Child._start

    def noted(child: Any) -> Any:
        process = start(child)
        started.append(process.pid)
        if len(started) == 1 and is_first:
            os.kill(process.pid, signal.SIGKILL)
        return process

    monkeypatch.setattr(image_sandbox._Child, "_start", noted)
    if not is_first:
        checker.check(png())
        threading.Timer(0.2, os.kill, (started[0], signal.SIGKILL)).start()
    assert isinstance(checker.check(slow_picture(700)), ImageFacts)
    assert checker.process_ids == [started[1]]
    checker.close()


def test_the_picture_inside_an_icon_obeys_the_pixel_limit(encode: Make) -> None:
    """Pillow decodes it while it reads the icon's header, which says 16 x 16."""
    from PIL import Image as PillowImage

    inner = encode(PillowImage.new("L", (3000, 2000)), "PNG")
    data = struct.pack("<HHH", 0, 1, 1) + struct.pack("<BBBBHHII", 16, 16, 0, 0, 1, 32, len(inner), 22) + inner
    checker = ImageChecker(ImageLimits(max_pixels=4_000_000))
    assert checker.check(data) == ImageProblem(Action.DROP, "image_pixels", 6_000_000, 4_000_000)
    checker.close()


def test_checkers_with_equal_limits_share_a_process(png: Make) -> None:
    """Two steps of a pipeline in one worker: one start, and no end before both are done."""
    pages, images, others = ImageChecker(LIMITS), ImageChecker(ImageLimits()), ImageChecker(ImageLimits(max_frames=3))
    for checker in (pages, images, others):
        checker.check(png())
    assert pages.process_ids == images.process_ids
    assert len(pages.process_ids) == 1
    assert others.process_ids != pages.process_ids
    pages.close()
    (process_id,) = images.process_ids
    assert is_alive(process_id)
    images.close()
    assert not is_alive(process_id)
    others.close()


def test_several_threads_may_share_one(checker: ImageChecker, png: Make) -> None:
    expected = [check_image(png(seed), LIMITS) for seed in range(4)]
    found: list[Any] = [None] * 4

    def work(index: int) -> None:
        for _ in range(5):
            found[index] = checker.check(png(index))

    threads = [threading.Thread(target=work, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == expected
    assert 1 <= len(checker.process_ids) <= 4


def test_one_can_be_made_in_a_thread_that_ends(png: Make) -> None:
    """A child tied to the thread that started it would die with the first bundle."""
    checker = ImageChecker(LIMITS)
    thread = threading.Thread(target=checker.check, args=(png(),))
    thread.start()
    thread.join()
    process_ids = checker.process_ids
    assert isinstance(checker.check(png(1)), ImageFacts)
    assert checker.process_ids == process_ids
    checker.close()


@pytest.mark.parametrize("busy", [False, True])
def test_a_killed_worker_leaves_nothing(busy: bool) -> None:
    """Idle, the child sees the end of its input; busy, it ends with the picture in hand at the latest."""
    code = (
        "import sys, threading, time\n"
        "from gobelin.transforms.images.check_image import ImageLimits\n"
        "from gobelin.transforms.images.image_sandbox import ImageChecker\n"
        "checker = ImageChecker(ImageLimits(max_seconds=2, max_bytes=10**9))\n"
        "checker.check(b'P2 1 1 255 7')\n"
        "process_ids = checker.process_ids\n"
        "if sys.argv[1] == 'True':\n"
        "    slow = b'P3 2500 2500 255 ' + b'1 ' * 18_750_000\n"
        "    threading.Thread(target=checker.check, args=(slow,)).start()\n"
        "    time.sleep(0.5)\n"
        "print(*process_ids, flush=True)\n"
        "time.sleep(60)\n"
    )
    worker = subprocess.Popen([sys.executable, "-c", code, str(busy)], stdout=subprocess.PIPE, text=True)
    assert worker.stdout is not None
    process_id = int(worker.stdout.readline())
    assert is_alive(process_id)
    worker.kill()
    worker.communicate()
    assert ends_within(process_id, 20)


def test_under_a_forkserver(png: Make, tmp_path: Path) -> None:
    """As the supervisor starts its workers: daemonic processes, which may have no children of multiprocessing."""
    code = (
        "import multiprocessing, sys\n"
        "def work(data):\n"
        "    from gobelin.transforms.images.check_image import ImageLimits\n"
        "    from gobelin.transforms.images.image_sandbox import ImageChecker\n"
        "    checker = ImageChecker(ImageLimits())\n"
        "    print(checker.check(data).width, flush=True)\n"
        "if __name__ == '__main__':\n"
        "    context = multiprocessing.get_context('forkserver')\n"
        "    process = context.Process(target=work, args=(open(sys.argv[1], 'rb').read(),), daemon=True)\n"
        "    process.start(); process.join(30); print(process.exitcode)\n"
    )
    (tmp_path / "a.png").write_bytes(png(0, 123, 45))
    (tmp_path / "run.py").write_text(code)
    command = [sys.executable, str(tmp_path / "run.py"), str(tmp_path / "a.png")]
    result = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert result.stdout.split() == ["123", "0"]


def test_a_child_that_cannot_start_is_no_fault_of_an_image(monkeypatch: pytest.MonkeyPatch, png: Make) -> None:
    monkeypatch.setattr("gobelin.transforms.images.image_sandbox._MODULE", "gobelin.no_such_module")
    with pytest.raises(RuntimeError, match=r"gobelin\.no_such_module"):
        ImageChecker(LIMITS).check(png())


def test_a_bomb_of_deflate_is_bounded(checker: ImageChecker) -> None:
    """A PNG's text chunk that unpacks to a gigabyte."""
    text = b"k\0\0" + zlib.compress(bytes(200_000_000), 9)
    chunk = struct.pack(">I", len(text)) + b"zTXt" + text + struct.pack(">I", zlib.crc32(b"zTXt" + text))
    header = struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0)
    data = (
        b"\x89PNG\r\n\x1a\n"
        + struct.pack(">I", 13)
        + b"IHDR"
        + header
        + struct.pack(">I", zlib.crc32(b"IHDR" + header))
    )
    began = time.monotonic()
    assert isinstance(checker.check(data + chunk), ImageProblem)
    assert time.monotonic() - began < 5


EDGE_CASES = Path(__file__).parents[2] / "shared" / "corpus" / "images-edge"


@pytest.mark.corpus
@pytest.mark.skipif(not EDGE_CASES.is_dir(), reason="the real corpus is not beside the checkout")
def test_pictures_that_trouble_decoders(checker: ImageChecker) -> None:
    """Each within 5 seconds and a gigabyte, and as without the process."""
    for path in sorted(path for path in EDGE_CASES.rglob("*") if path.is_file()):
        data = path.read_bytes()
        start = time.monotonic()
        found = checker.check(data)
        assert time.monotonic() - start < 5, path.name
        assert found == check_image(data, LIMITS), path.name
