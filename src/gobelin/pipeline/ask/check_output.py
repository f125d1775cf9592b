"""``gobelin check``: compares every file of an output folder, read in full, with the manifests."""

from __future__ import annotations

from collections.abc import Iterator

from gobelin.errors import DataError, UserError
from gobelin.store.dataset import CURRENT_NAME, MANIFEST_NAME, check, files_of
from gobelin.store.files import is_folder, list_files
from gobelin.store.paths import join, name_of, parent_of


def data_sets_in(output: str) -> list[str]:
    """Addresses of the committed data sets below a folder, sorted.

    Raises:
        UserError: there is no such folder.
    """
    if not is_folder(output):
        raise UserError(f"{output}: there is no such folder")
    names = [name for name, _ in list_files(output)]
    with_attempts = {parent_of(name) for name in names if name_of(name) == CURRENT_NAME}
    with_files = {parent_of(name) for name in names if name_of(name) == MANIFEST_NAME}
    plain = {name for name in with_files if parent_of(name) not in with_attempts}
    return [join(output, name) for name in sorted(with_attempts | plain)]


def check_output(output: str) -> Iterator[tuple[str, list[str]]]:
    """Yields (description of a data set, its problems) for each data set. Reads every byte.

    Raises:
        UserError: there is no such folder, or it holds no data set.
    """
    folders = data_sets_in(output)
    if not folders:
        raise UserError(f"{output} holds no data set: is it an output folder of gobelin?")
    for folder in folders:
        name = folder.removeprefix(output).strip("/")
        try:
            files = files_of(folder)
            problems = list(check(folder))
        except DataError as error:
            yield name, [str(error)]
            continue
        num_bytes, num_rows = sum(file.num_bytes for file in files), sum(file.num_rows for file in files)
        yield f"{name}: {len(files):,} files, {num_rows:,} rows, {num_bytes:,} bytes", problems
