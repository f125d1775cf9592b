"""Settings of ``extract``: limits on what may be read. None of them judges quality, which ``select`` does."""

from __future__ import annotations

import dataclasses

from gobelin.errors import UserError
from gobelin.transforms.fetching.fetch_config import FetchConfig
from gobelin.transforms.images.block_list import BlockListConfig
from gobelin.transforms.images.open_image import ImageLimits
from gobelin.transforms.pages.content.gates import Gates
from gobelin.transforms.rights.consent import AI_AGENTS


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ExtractConfig:
    """What may be read at all."""

    max_page_bytes: int = 10 * 1024 * 1024
    """Bytes of an HTML page after decoding; longer pages are dropped unparsed."""

    gates: Gates = dataclasses.field(default_factory=Gates)
    """Pages that are turned away before they are parsed."""

    image: ImageLimits = dataclasses.field(default_factory=ImageLimits)
    """What may be opened as a picture."""

    block_list: BlockListConfig = dataclasses.field(default_factory=BlockListConfig)
    """Lists of files that may not be stored, asked before anything is decoded or written."""

    fetch: FetchConfig = dataclasses.field(default_factory=FetchConfig)
    """Images that pages show and the archives lack. Off by default: nothing leaves the machine."""

    robots_agents: tuple[str, ...] = AI_AGENTS
    """Robots, lower case. Where a site's robots.txt disallows one of them, that is recorded on its pages and images.
    The default names robots that gather material for training."""

    def __post_init__(self) -> None:
        if self.max_page_bytes < 1:
            raise UserError(f"max_page_bytes must be at least 1, got {self.max_page_bytes}")


def image_limits(config: ExtractConfig) -> ImageLimits:
    """The limits of a recipe; a PDQ block list needs the PDQ hash."""
    return dataclasses.replace(config.image, pdq=True) if config.block_list.pdq else config.image
