# SPDX-License-Identifier: Apache-2.0
"""``python -m shmrt.recorder FILE...``: who was where, from the files that SHMRT_RECORDER left.

For when no rank is left to ask. Nothing of a file is believed before it has been checked: it may be cut,
half written, or not one of ours. docs/observability.md has the format. Needs Python alone: the file of
this module also runs by its path.
"""

import argparse
import struct
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

MAGIC = 0x63657274726D6873
VERSION = 1
MOST_RANKS = 64
MOST_RECORDS = 64
MOST_LANES = 256
MOST_BYTES = 1 << 20  # of a file; it has about 7 KiB
TAG_SHIFT = 48
LOW_48 = (1 << TAG_SHIFT) - 1
HEAD = f"Q10I2qi{MOST_RANKS}I256s512s"  # struct shmrt_record_file_head, without padding at its end

COLLECTIVES = [
    "", "barrier", "all-reduce", "broadcast", "reduce", "all-gather", "reduce-scatter", "all-to-all",
    "gather", "scatter", "send", "receive",
]  # fmt: skip
DTYPES = ["float32", "float64", "bfloat16", "float16", "int8", "uint8", "int16", "int32", "int64"]
OPS = ["sum", "min", "max", "prod", "avg"]
REDUCTIONS = ("all-reduce", "reduce", "reduce-scatter")
ROLES = dict.fromkeys(("broadcast", "reduce", "gather", "scatter"), "root") | {
    "send": "to rank",
    "receive": "from rank",
}


class NotAFile(ValueError):
    """What was given is not a whole file of records."""


@dataclass(frozen=True)
class Record:
    """One call of a rank."""

    number: int
    collective: str
    dtype: str
    op: str
    root: int
    count: int
    epoch: int
    done: bool

    def is_message(self) -> bool:
        return self.collective in ("send", "receive")

    def __str__(self) -> str:
        if self.collective == "barrier":
            return f"barrier #{self.epoch}"
        op = f"{self.op} of " if self.collective in REDUCTIONS else ""
        role = f", {ROLES[self.collective]} {self.root}" if self.collective in ROLES else ""
        return f"{self.collective} #{self.epoch} ({op}{self.count} {self.dtype}{role})"


@dataclass(frozen=True)
class Wait:
    """For whom a rank waited, in which record's call, and since when (and until when) by the wall clock."""

    rank: int
    record: int
    since: float
    until: float | None


@dataclass
class RankFile:
    """What the file of one rank of one communicator tells."""

    path: str
    rank: int
    size: int
    pid: int
    pids: tuple[int, ...]
    job: str
    code: int
    error: str
    records: list[Record] = field(default_factory=list)  # the newest first
    waits: list[Wait] = field(default_factory=list)


def _text(raw: bytes) -> str:
    """Of a fixed field, fit for a terminal."""
    text = raw.split(b"\0", 1)[0].decode("utf-8", "replace")
    return "".join(c if c.isprintable() else "?" for c in text)


def _record(words: tuple[int, ...], number: int, size: int) -> Record | None:
    """What four words say, if all of them are of record `number` and they say something possible."""
    if any(word >> TAG_SHIFT != number & 0xFFFF for word in words):
        return None
    call, count, epoch, end = (word & LOW_48 for word in words)
    collective, dtype, op, root = call.to_bytes(6, "little")[:4]
    possible = 0 < collective < len(COLLECTIVES) and dtype < len(DTYPES) and op < len(OPS) and root < size and end <= 1
    if not possible or call >> 32:
        return None
    return Record(number, COLLECTIVES[collective], DTYPES[dtype], OPS[op], root, count, epoch, end == 1)


def _records(data: bytes, order: str, newest_at: int, ring_at: int, count: int, size: int) -> Iterator[Record]:
    (newest,) = struct.unpack_from(order + "Q", data, newest_at)
    # One more: its writer may have died before it said so.
    for number in range(newest + 1, max(newest + 1 - count, 0), -1):
        record = _record(struct.unpack_from(order + "4Q", data, ring_at + 32 * (number % count)), number, size)
        if record:
            yield record


def parse(data: bytes, path: str = "?") -> RankFile:
    """The file's content; NotAFile where it is not one that can be read."""
    if len(data) < struct.calcsize("<" + HEAD):
        raise NotAFile(f"{path}: {len(data)} bytes are too few for a file of SHMRT_RECORDER")
    order = "<" if struct.unpack_from("<Q", data)[0] == MAGIC else ">"
    head = struct.unpack_from(order + HEAD, data)
    magic, version, rank, size, pid, newest_at, ring_at, records, notes_at, notes, note_bytes = head[:11]
    realtime_ns, monotonic_ns, code = head[11:14]
    pids, (job, error) = head[14 : 14 + MOST_RANKS], head[14 + MOST_RANKS :]
    if magic != MAGIC:
        raise NotAFile(f"{path}: not a file of SHMRT_RECORDER")
    if version != VERSION:
        raise NotAFile(f"{path}: has version {version} of the format, not {VERSION}: use the job's own shmrt")
    fits = (
        1 <= size <= MOST_RANKS
        and rank < size
        and 1 <= records <= MOST_RECORDS
        and notes <= MOST_LANES
        and note_bytes >= 24
        and newest_at + 8 <= len(data)
        and ring_at + 32 * records <= len(data)
        and notes_at + note_bytes * notes <= len(data)
    )
    if not fits:
        raise NotAFile(f"{path}: its head is damaged, or the file is cut")
    found = RankFile(path, rank, size, pid, pids[:size], _text(job), code, _text(error))
    found.records = list(_records(data, order, newest_at, ring_at, records, size))
    for lane in range(notes):
        whom, record, until_us = struct.unpack_from(order + "3Q", data, notes_at + note_bytes * lane)
        since_us, awaited = whom & ((1 << 56) - 1), (whom >> 56) - 1
        if 0 <= awaited < size:
            wall = [(realtime_ns - monotonic_ns) / 1e9 + us / 1e6 for us in (since_us, until_us)]
            found.waits.append(Wait(awaited, record, wall[0], wall[1] if until_us else None))
    return found


def read(path: str) -> RankFile:
    """The file `path`, parsed."""
    with open(path, "rb") as file:
        data = file.read(MOST_BYTES + 1)
    if len(data) > MOST_BYTES:
        raise NotAFile(f"{path}: too large for a file of SHMRT_RECORDER")
    return parse(data, path)


def _clock(when: float) -> str:
    try:
        return time.strftime("%H:%M:%S", time.localtime(when)) + f"{when % 1:.3f}"[1:]
    except (OverflowError, ValueError, OSError):
        return "?"


def _latest(file: RankFile) -> Record | None:
    """The collective that it entered last."""
    return next((record for record in file.records if not record.is_message()), None)


def where(file: RankFile, front: int) -> str:
    """Where the rank was, in the words of shmrt.report(); `front`: the furthest rank's sequence number."""
    latest = _latest(file)
    words = "no call yet" if latest is None else f"{'after' if latest.done else 'in'} {latest}"
    if latest and front > latest.epoch:
        words += f", {front - latest.epoch} behind"
    open_messages = [record for record in file.records if record.is_message() and not record.done]
    if open_messages:
        words += f", in {open_messages[-1]}"
    done = {record.number for record in file.records if record.done}
    waits = sorted((wait for wait in file.waits if wait.record not in done), key=lambda wait: wait.since)
    if waits:
        wait = waits[0]
        how_long = f"since {_clock(wait.since)}" if wait.until is None else f"{wait.until - wait.since:.3g} s"
        words += f", waiting {how_long} for rank {wait.rank}"
    return words


def describe(files: list[RankFile], last: int = 0) -> str:
    """Lines for a person: each communicator, and a line a rank; with `last`, its last calls below."""
    lines = []
    groups: dict[tuple[str, tuple[int, ...]], dict[int, RankFile]] = {}
    for file in files:
        groups.setdefault((file.job, file.pids), {})[file.rank] = file
    for (job, pids), ranks in sorted(groups.items()):
        front = max((latest.epoch for latest in map(_latest, ranks.values()) if latest), default=0)
        lines.append(f"{job}: {len(pids)} ranks")
        for rank, pid in enumerate(pids):
            lines.append(f"  rank {rank:<4} pid {pid}, {where(ranks[rank], front) if rank in ranks else 'no file'}")
            if rank in ranks and ranks[rank].code:
                lines.append(f"            error: {ranks[rank].error}")
            for record in ranks[rank].records[:last] if rank in ranks else []:
                lines.append(f"            {'  ' if record.done else '> '}{record}")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m shmrt.recorder", description="Who was where, from the files that SHMRT_RECORDER left."
    )
    parser.add_argument("files", nargs="+", metavar="FILE", help="of all ranks, and of any number of communicators")
    marks = "list the last N calls of each rank too, the newest first; > marks those that were not done"
    parser.add_argument("--last", type=int, default=0, metavar="N", help=marks)
    options = parser.parse_args(arguments)
    files, status = [], 0
    for path in options.files:
        try:
            files.append(read(path))
        except (OSError, NotAFile) as error:
            print(error, file=sys.stderr)
            status = 1
    if files:
        print(describe(files, max(options.last, 0)))
    return status


if __name__ == "__main__":
    sys.exit(main())
