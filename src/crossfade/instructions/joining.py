"""`crossfade dynamic-superb join`: the shards of many machines as one run."""

from collections.abc import Sequence
from pathlib import Path

from crossfade.encoders.writer import output_folder
from crossfade.errors import InputError
from crossfade.instructions.runs import (
    Answered,
    Journal,
    Key,
    Run,
    difference,
    read_run,
    write_costs,
    write_header,
    write_results,
)


def join(runs: Sequence[str | Path], output: str | Path, *, overwrite: bool = False) -> Run:
    """Shards of one run in one folder, each item once; what is missing or failed can be asked by going on with it.

    Raises InputError for runs of other models, benchmarks or settings, and for two answers to one item that differ.
    """
    shards = [read_run(path) for path in runs]
    if len(shards) < 2:
        raise InputError(f"join: expected two runs or more, received {len(shards)}")
    folders = [shard.folder.resolve() for shard in shards]
    if twice := [folder for folder in folders if folders.count(folder) > 1]:
        raise InputError(f"{twice[0]}: named twice; expected every shard once")
    header = shards[0].header
    for shard in shards[1:]:
        if found := difference(header, shard.header, shard=False):
            raise InputError(f"{shard.folder}: is no shard of {shards[0].folder}: {found}; join shards of one run")
    settings = header.settings.model_copy(update={"shard": None})
    with output_folder(Path(output), overwrite=overwrite) as draft:
        write_header(draft, header.model_copy(update={"settings": settings}))
        with Journal(draft) as journal:
            said: dict[Key, Path] = {}
            for shard in shards:
                for answered in shard.answers():
                    _add(journal, answered, shard.folder, said)
        joined = read_run(draft)
        write_results(joined)
        write_costs(joined)
    return read_run(output)


def _add(journal: Journal, answered: Answered, folder: Path, said: dict[Key, Path]) -> None:
    """Keep an answer that is the first of its item, or the first that is no error."""
    if answered.key in journal.places and answered.key not in journal.failed:
        if answered.error is None and journal.read(answered.key).answer != answered.answer:
            raise InputError(
                f"{folder}: its answer to {answered.instance} '{answered.id}' is not that of {said[answered.key]}; "
                "join runs that share no items"
            )
        return
    said[answered.key] = folder
    journal.add(answered)
