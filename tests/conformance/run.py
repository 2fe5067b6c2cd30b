#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""PyTorch's own distributed tests, against Gloo and against shmrt in one run: who passes what, and why not.

python tests/conformance/run.py                        # the suite that comes inside the wheel
python tests/conformance/run.py --only all_reduce      # the tests whose names match
python tests/conformance/run.py --as-if mpi --only all_to_all  # which PyTorch runs for MPI only
python tests/conformance/run.py PATH/test_c10d_gloo.py # Gloo's suite, from PyTorch's sources elsewhere
"""

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

import verdict
from forking import FAILED, Outcome, name_of, run_all

HERE = Path(__file__).resolve().parent
BACKENDS = ("gloo", "shmrt")


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("suite", nargs="?", help="a file of PyTorch's test/distributed; default: the wheel's own")
    parser.add_argument("--backend", action="append", choices=BACKENDS, help="only this one; may be repeated")
    parser.add_argument("--only", default="", metavar="REGEX", help="tests whose names match")
    parser.add_argument("--list", type=Path, metavar="FILE", help="tests whose names stand in FILE, one a line")
    parser.add_argument("--world-size", type=int, default=8, help="ranks (default 8: with fewer, more is skipped)")
    parser.add_argument("--as-if", default="gloo", help="whose conditions to run by (default gloo); mpi: all-to-all")
    parser.add_argument("--jobs", type=int, default=1, help="tests at once for each backend (default 1)")
    parser.add_argument("--deadline", type=float, default=180, help="seconds for one test (default 180)")
    parser.add_argument("--spawn", action="store_true", help="start each rank as a new interpreter: slow")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every outcome to FILE, with all texts")
    parser.add_argument("--child", choices=BACKENDS, help=argparse.SUPPRESS)
    parser.add_argument("--out", help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def child(args: argparse.Namespace) -> None:
    """In a process for one backend: run the tests, and write a line of JSON for each outcome."""
    import suites

    fork = not args.spawn
    if args.suite:
        classes = suites.load_outside(args.child, Path(args.suite), fork)
    else:
        classes = suites.load_distributed_test(args.child, args.as_if, fork)
    tests = [test for test in suites.load_tests_of(classes) if re.search(args.only, name_of(test))]
    if args.list:
        names = set(args.list.read_text().split())
        tests = [test for test in tests if name_of(test) in names]
    with open(args.out, "w") as out:
        for done, outcome in enumerate(run_all(tests, args.deadline, args.jobs), start=1):
            print(json.dumps(asdict(outcome)), file=out, flush=True)
            if sys.stderr.isatty() or outcome.state == FAILED:
                print(f"{args.child} {done}/{len(tests)} {outcome.state} {outcome.test}", file=sys.stderr)


def start(backend: str, options: argparse.Namespace, arguments: list[str], out: Path) -> subprocess.Popen:
    env = os.environ | {
        "WORLD_SIZE": str(options.world_size),
        "OMP_NUM_THREADS": "1",
        # A library's thread would be lost in every fork: there must be none.
        "OPENBLAS_NUM_THREADS": "1",
        "DISTRIBUTED_TESTS_DEFAULT_TIMEOUT": str(int(options.deadline * 0.8)),
        "SHMRT_TUNE": "off",
        "MASTER_ADDR": "127.0.0.1",
        "PYTHONPATH": os.pathsep.join(filter(None, [str(HERE), os.environ.get("PYTHONPATH", "")])),
    }
    command = [sys.executable, str(HERE / "run.py"), *arguments, "--child", backend, "--out", str(out)]
    return subprocess.Popen(command, env=env)


def run_backends(options: argparse.Namespace, arguments: list[str]) -> dict[str, dict[str, Outcome]]:
    """The outcomes of each backend by test, from processes that run side by side."""
    with tempfile.TemporaryDirectory() as folder:
        outs = {backend: Path(folder, backend) for backend in options.backend or BACKENDS}
        processes = {backend: start(backend, options, arguments, out) for backend, out in outs.items()}
        try:
            for backend, process in processes.items():
                if process.wait() != 0:
                    raise SystemExit(f"run.py: the process for {backend} ended with {process.returncode}")
        finally:
            for process in processes.values():
                process.terminate()
                process.wait()
        found = {}
        for backend, out in outs.items():
            outcomes = [Outcome(**json.loads(line)) for line in out.read_text().splitlines()]
            found[backend] = {outcome.test: outcome for outcome in outcomes}
        return found


def main() -> int:
    options = parse()
    # Stopped by a signal too, it ends what it started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    if options.child:
        child(options)
        return 0
    found = run_backends(options, sys.argv[1:])
    if options.json:
        options.json.write_text(json.dumps({b: [asdict(o) for o in all.values()] for b, all in found.items()}))
    suite = Path(options.suite).stem if options.suite else "distributed_test"
    if not any(found.values()):
        raise SystemExit(f"run.py: no test to run: --only {options.only!r}, --list {options.list}")
    problems = verdict.compare(found, verdict.read_expected(HERE / "expected" / f"{suite}.txt"), whole=not options.only)
    print(verdict.table(found))
    print(verdict.summary(found))
    for problem in problems:
        print(problem)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
