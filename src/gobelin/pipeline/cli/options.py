"""Options that several commands share: their names, help texts and groups."""

from __future__ import annotations

import dataclasses
import os
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Group, Parameter

if TYPE_CHECKING:
    Address = str
else:
    from pathlib import Path

    Address = str | Path  # shells complete names of files for it; what is given stays a string

DEFAULTS = Parameter(negative=(), allow_repeating=True, json_list=False, json_dict=False)
"""How all options are parsed: there is no ``--no-``, the last counts where one is given twice, a value is taken as it
is given."""

FILES = Group("Input and output")
RECIPE = Group("Recipe")
MACHINE = Group("Machine")

Output = Annotated[
    Address,
    Parameter(group=FILES, metavar="FOLDER", help="output folder, local, s3:// or gs://"),
]
RunFolder = Annotated[
    Address, Parameter(group=FILES, metavar="FOLDER", help="output folder of a run, local, s3:// or gs://")
]
RecipeName = Annotated[Address, Parameter(group=RECIPE, metavar="RECIPE", help="a preset or a YAML file")]
Settings = Annotated[
    list[str],
    Parameter(
        name="--set",
        group=RECIPE,
        metavar="KEY=VALUE",
        help="change a setting of the recipe, such as select.image.min_side_px=100; may be given more than once",
    ),
]
Quiet = Annotated[bool, Parameter(group=MACHINE, help="print only errors")]
Scratch = Annotated[
    Address | None,
    Parameter(
        group=MACHINE,
        metavar="FOLDER",
        help="local folder for logs and temporary files (the output folder; for one on a store, one in ~/.cache)",
    ),
]


Input = Parameter(
    name="--input",
    group=FILES,
    metavar="PATH",
    consume_multiple=1,
    help="archives (WARC, ARC, WACZ): paths, globs or folders, local, s3://, gs:// or https://; or lists of archives "
    "(*.paths.gz); or the name of a crawl of Common Crawl (CC-MAIN-2026-21); may be given more than once; not needed "
    "again for an output folder that already has its input",
)
Sample = Parameter(
    group=FILES,
    metavar="SHARE",
    help="read only this share of the archives, such as 0.001; always the same ones, and a larger share includes a "
    "smaller one",
)
Languages = Parameter(
    group=FILES,
    metavar="CODES",
    help="for a crawl of Common Crawl, read only pages in these languages, by the index of the crawl: en,is",
)
_Workers = Parameter(group=MACHINE, metavar="N", help="number of processes of a local run (all cores)")
_Runner = Parameter(
    group=MACHINE,
    metavar="NAME",
    help="runner of Beam: local (Beam's in-process runner, in worker processes), FlinkRunner, DataflowRunner or "
    "PortableRunner (local)",
)
_RunningJob = Parameter(
    group=MACHINE,
    metavar="wait|cancel",
    help="what to do with a job that an earlier command left running on another runner (wait)",
)
_LogJson = Parameter(
    name="--log-json",
    allow_leading_hyphen=True,
    group=MACHINE,
    metavar="FILE",
    help="write events to this file, one JSON object per line (-: standard error); see docs/watching.md",
)
_Metrics = Parameter(
    group=MACHINE,
    metavar="PORT|FILE",
    help="metrics for Prometheus: on this port of 127.0.0.1, or in a file (*.prom) for node_exporter",
)
_HIDDEN = Parameter(show=False)


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunOptions:
    """The options of ``run`` and of every stage."""

    input: Annotated[list[Address], Input] = dataclasses.field(default_factory=list)
    sample: Annotated[float, Sample] = 1.0
    languages: Annotated[str | None, Languages] = None
    recipe: Annotated[
        Address | None,
        Parameter(
            group=RECIPE,
            metavar="RECIPE",
            help="a preset (`gobelin recipe list`) or a YAML file; not needed again for an output folder that has one",
        ),
    ] = None
    settings: Settings = dataclasses.field(default_factory=list)
    workers: Annotated[int, _Workers] = dataclasses.field(default_factory=lambda: os.cpu_count() or 1)
    runner: Annotated[str, _Runner] = "local"
    running_job: Annotated[Literal["wait", "cancel"], _RunningJob] = "wait"
    scratch: Scratch = None
    log_json: Annotated[Address | None, _LogJson] = None
    metrics: Annotated[Address | None, _Metrics] = None
    quiet: Quiet = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class LaterOptions(RunOptions):
    """The options of a stage after ``extract``. The help hides options about the input."""

    input: Annotated[list[Address], Input, _HIDDEN] = dataclasses.field(default_factory=list)
    sample: Annotated[float, Sample, _HIDDEN] = 1.0
    languages: Annotated[str | None, Languages, _HIDDEN] = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelOptions(LaterOptions):
    """The options of a stage without Beam graphs. The help hides options about runners."""

    workers: Annotated[int, _Workers, _HIDDEN] = dataclasses.field(default_factory=lambda: os.cpu_count() or 1)
    runner: Annotated[str, _Runner, _HIDDEN] = "local"
    running_job: Annotated[Literal["wait", "cancel"], _RunningJob, _HIDDEN] = "wait"


@dataclasses.dataclass(frozen=True)
class Call:
    """The data that a command gets from the calling process, not from its options."""

    beam_args: tuple[str, ...] = ()
    """What stood behind ``--``."""
    owns_process: bool = False
    """Nothing else happens in this process, so that worker processes may be forked from it."""


Caller = Annotated[Call, Parameter(parse=False)]
