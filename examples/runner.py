# SPDX-License-Identifier: Apache-2.0
"""What every example does the same way: arguments, the engine, exit codes, where a rank ran."""

import argparse
import contextlib
import io
import json
import os
import sys
import time
from pathlib import Path

GRACE_S = 3


class Refused(Exception):
    """The job cannot be done as asked; the text says why."""


def positive(text):
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is not 1 or more")
    return value


def add_engine_arguments(parser):
    parser.add_argument("--eager", action="store_true", help="without torch.compile")
    parser.add_argument("--dtype", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--backend", choices=("shmrt", "gloo", "deepspeed"), default="shmrt")
    parser.add_argument("--repeat", type=positive, default=3, metavar="N", help="timed passes (3)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there too")


def start_engine(name, rank, size, engines=None):
    from engines import ENGINES, Unavailable

    try:
        return (engines or ENGINES)[name](rank, size)
    except Unavailable as error:
        raise Refused(str(error)) from error


def finish(args, rank, engine, say, result):
    """Reports, writes the results where asked to, leaves the others; the exit code of the job."""
    say.report(result)
    if args.json and rank == 0:
        args.json.write_text(json.dumps(result, indent=1) + "\n")
    engine.barrier()
    engine.close()
    code = 0 if all(check["passed"] for check in result["checks"]) else 1
    if engine.threads_outlive_close:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    return code


def nodes_of(cpus):
    """NUMA nodes that have one of these CPUs; none where the kernel does not tell."""
    nodes = []
    for folder in Path("/sys/devices/system/node").glob("node[0-9]*"):
        if any((folder / f"cpu{cpu}").exists() for cpu in cpus):
            nodes.append(int(folder.name[4:]))
    return sorted(nodes)


def placement(engine):
    """Where this rank runs and, if the engine can tell, where its buffer is."""
    import torch

    cpus = sorted(os.sched_getaffinity(0))
    facts = {"pid": os.getpid(), "cpus": cpus, "nodes": nodes_of(cpus)}
    facts["threads"] = torch.get_num_threads()
    report = engine.report()
    if report is None:
        facts["buffer"] = engine.buffer_note
    else:
        keys = ("pages", "pages_on_node", "pages_unknown", "nodes", "bound", "lanes", "kernel")
        facts["buffer"] = {key: report[key] for key in keys}
    return facts


def largest(values):
    """As max(), but NaN wins."""
    import torch

    return torch.tensor(values, dtype=torch.float64).max().item()


def verdict(name, value, limit):
    """One check. A NaN has not passed."""
    return {"name": name, "value": value, "limit": limit, "passed": value <= limit}


def main(program, parse_arguments, run, argv):
    """Runs run(args, rank, size) and turns what it raises into the exit code of this rank: what
    run() returns, 1 when the ranks could not go on together, 2 when the job was refused."""
    from engines import failures, rank_and_size

    try:
        rank, size = rank_and_size()
    except ValueError as error:
        print(f"{program}: {error}", file=sys.stderr)
        return 2
    try:
        with contextlib.redirect_stderr(sys.stderr if rank == 0 else io.StringIO()):
            args = parse_arguments(argv)
        return run(args, rank, size)
    except (Refused, SystemExit) as error:
        if rank != 0:
            # Every rank refuses the same thing. Launchers end all ranks when the first one fails:
            # that must be the one that says why.
            time.sleep(GRACE_S)
        elif isinstance(error, Refused):
            print(f"{program}: {error}", file=sys.stderr)
        return 2 if isinstance(error, Refused) else error.code
    except KeyboardInterrupt:
        return 130
    except failures() as error:
        print(f"{program}: rank {rank}: {error}", file=sys.stderr)
        return 1
