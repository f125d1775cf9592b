"""Settings of ``extract``: limits on what may be read. None of them judges quality; ``select`` does that."""

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
    """Limits on what may be read."""

    max_page_bytes: int = 10 * 1024 * 1024
    """Maximum size of an HTML page in bytes after decoding. Longer pages are dropped without parsing."""

    gates: Gates = dataclasses.field(default_factory=Gates)
    """Pages that are dropped without parsing."""

    image: ImageLimits = dataclasses.field(default_factory=ImageLimits)
    """Limits on image files."""

    block_list: BlockListConfig = dataclasses.field(default_factory=BlockListConfig)
    """Lists of files that must not be stored. They are checked before anything is decoded or written."""

    fetch: FetchConfig = dataclasses.field(default_factory=FetchConfig)
    """Fetching of images that pages show but the archives lack. Off by default: no connection leaves the machine."""

    robots_agents: tuple[str, ...] = AI_AGENTS
    """Robots, in lower case. If a site's robots.txt disallows one of them, its pages and images record that. By default
    these are robots that collect training data."""

    def __post_init__(self) -> None:
        if self.max_page_bytes < 1:
            raise UserError(f"max_page_bytes must be at least 1, got {self.max_page_bytes}")


def image_limits(config: ExtractConfig) -> ImageLimits:
    """The image limits of a recipe. A PDQ block list enables the PDQ hash."""
    return dataclasses.replace(config.image, pdq=True) if config.block_list.pdq else config.image
