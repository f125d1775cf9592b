"""Converts a published image tokenizer into gobelin's layout. ``tokenize/convert.py`` reads the published layouts.

torch is imported inside the functions, because the command line starts without it.
"""

from __future__ import annotations

from gobelin.pipeline.tokenizers.folder import check_free
from gobelin.tokenize.codebook import Codebook


def convert(file: str, output: str, size: tuple[int, int] | None, name: str | None) -> tuple[str, Codebook]:
    """Converts a published tokenizer. Returns its layout and codebook. Raises the errors of ``convert_tokenizer``."""
    from gobelin.tokenize.agreement import drawn_pictures, measure_agreement
    from gobelin.tokenize.convert import convert_tokenizer
    from gobelin.tokenize.image_tokenizer import save_image_tokenizer

    check_free(output)
    converted = convert_tokenizer(file, size=size, name=name)
    tokenizer = converted.tokenizer
    tokenizer.agreement = measure_agreement(tokenizer.network, drawn_pictures(tokenizer.size), "drawn patterns")
    save_image_tokenizer(tokenizer, output)
    return converted.layout, converted.tokenizer.codebook
