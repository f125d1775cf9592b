"""What is imported when, and what Beam's look-ups say when they are kept."""

from __future__ import annotations

import subprocess
import sys

import imagehash
import numpy as np
import pytest
from PIL import Image as PillowImage

from gobelin.transforms.images.measure_image import _dct_by_scipy, dct_2d, phash

HEAVY = ("apache_beam", "pyarrow", "numpy", "torch", "scipy", "trafilatura", "PIL", "pydantic", "rich")


def loaded(code: str, *names: str) -> list[str]:
    """Which of these modules a new interpreter has loaded after running the code."""
    code = f"import sys\n{code}\nprint(*[name for name in {names!r} if name in sys.modules], file=sys.__stdout__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    return done.stdout.splitlines()[-1].split()


@pytest.mark.parametrize("words", ["--help", "run --help", "export --help", "--version"])
def test_help_imports_nothing_heavy(words: str) -> None:
    code = f"from gobelin.pipeline.cli.main import main\nassert main({words.split()!r}) == 0"
    assert loaded(code, *HEAVY) == []


def test_workers_start_without_what_few_tasks_need() -> None:
    """And with Beam, which all need."""
    names = ("apache_beam", "torch", "scipy", "open_clip", "pymongo", "hdfs")
    assert loaded("import gobelin.pipeline.run.preload", *names) == ["apache_beam"]


def test_kept_look_ups_answer_as_beam_does() -> None:
    """In an interpreter of its own, as it changes Beam."""
    code = """
import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions, TypeOptions
from apache_beam.transforms import userstate
from apache_beam.transforms.core import get_signature
from apache_beam.coders import VarIntCoder
from gobelin.pipeline.run.fast_beam import install

class Counting(beam.DoFn):
    COUNT = userstate.CombiningValueStateSpec("count", VarIntCoder(), sum)
    def process(self, element, count=beam.DoFn.StateParam(COUNT)):
        yield element

class Plain(beam.DoFn):
    def process(self, element, *rest):
        yield element

class Own(beam.DoFn):  # an object whose method is another object's
    def __init__(self, other):
        self.process = other.process

def two(element, by: int = 2) -> int:
    return element * by

def asked():
    subjects = (two, Plain().process, Counting().process, Plain, len, str.strip)
    specs = [userstate.get_dofn_specs(dofn) for dofn in (Plain(), Counting(), Own(Plain()), Own(Counting()), Plain())]
    options = PipelineOptions(["--runner", "x", "--experiments=a", "--no_pipeline_type_check"])
    views = [options.view_as(kind).get_all_options() for kind in (StandardOptions, TypeOptions, PipelineOptions)]
    return [str(beam.transforms.core.get_signature(each)) for each in subjects], specs, views

before = asked()
install()
install()
assert beam.transforms.core.get_signature is not get_signature
for _ in range(3):
    assert asked() == before, (asked(), before)

first, second = PipelineOptions([]), PipelineOptions([])
first.view_as(StandardOptions).runner = "changed"
assert second.view_as(StandardOptions).runner != "changed"
with beam.Pipeline() as pipeline:
    pipeline | beam.Create([1, 2]) | beam.Map(two, by=3) | beam.ParDo(Plain())
"""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_a_beam_without_these_functions_stays_as_it_is() -> None:
    code = """
import apache_beam as beam
from apache_beam.transforms import userstate
from gobelin.pipeline.run.fast_beam import install
del userstate.get_dofn_specs
install()
assert not hasattr(userstate, "get_dofn_specs")
"""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_decoder_starts_without_scipy() -> None:
    code = "from gobelin.transforms.images.measure_image import dct_2d; dct_2d()"
    assert loaded(code, "scipy", "apache_beam", "pyarrow") == []


def test_phash_is_that_of_imagehash() -> None:
    """Of noise, and of pictures whose frequencies are zero in part, where rounding decides."""
    noise = np.random.default_rng(4)
    steps = np.arange(64)
    pictures = [np.full((40, 64), grey) for grey in range(256)]
    pictures += [noise.integers(0, 256, (side, 50)) for side in range(8, 80)]
    for wave in (steps * 4, (steps - 32) ** 2 // 5, (steps // 8 % 2) * 255, 255 * (steps > 40)):
        pictures += [np.tile(wave, (64, 1)), np.tile(wave, (64, 1)).T, np.minimum.outer(wave, wave[::-1])]
        half = np.maximum.outer(wave, wave)
        pictures += [np.hstack([half, half[:, ::-1]]), np.vstack([half, half[::-1]])]
    for pixels in pictures:
        picture = PillowImage.fromarray(pixels.astype(np.uint8))
        assert phash(picture) == str(imagehash.phash(picture))
    assert (dct_2d()(pictures[-1].astype(float)) == _dct_by_scipy(pictures[-1].astype(float))).all()
