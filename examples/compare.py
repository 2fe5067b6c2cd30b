# SPDX-License-Identifier: Apache-2.0
"""The same model with each all-reduce, in turns: tokens per second, and what of the time went where.

    python examples/compare.py -n 2 decoder --size 160m --layers 4
    python examples/compare.py -n 2 infer --repeat 2
    python examples/compare.py --engines shmrt,gloo,alone generate --size 160m

What follows the model's name goes to decoder.py, generate.py or infer.py as it is. Each engine's ranks are
started anew for each round, pinned the same by shm-launch: A B C, A B C, ... so that a machine that
grows slower does so for all. "alone" is one rank with the threads of all: what is there without
tensor parallelism. The figures are medians over the rounds. An engine that cannot run
here is left out, with its reason. Ends with 1 when a job failed, with 2 when nothing could run.
"""

import argparse
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from runner import positive

EXAMPLES = Path(__file__).parent
DEFAULT = ("shmrt", "gloo", "deepspeed")
ENGINES = (*DEFAULT, "alone")
PEERS = ENGINES[1:]
FIGURES = ("tokens_per_s", "token_ms_median", "token_ms_p99", "share", "late_share", "moving_share")


class Skipped(Exception):
    """The engine cannot run here; the text is its own reason."""


class Failed(Exception):
    """The job ran and failed; the text is the end of what it said."""


def parse_arguments(argv):
    parser = argparse.ArgumentParser(
        prog="compare.py", description="The same model with each all-reduce, in turns."
    )
    parser.add_argument("-n", "--ranks", type=positive, default=2, metavar="N", help="ranks (2)")
    names = f"of {', '.join(ENGINES)} (all but alone)"
    parser.add_argument("--engines", type=engines, default=list(DEFAULT), metavar="A,B", help=names)
    parser.add_argument("--rounds", type=positive, default=3, metavar="N", help="runs of each engine (3)")
    parser.add_argument("--timeout", type=positive, default=600, metavar="S", help="seconds a run may take (600)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures of all runs there too")
    parser.add_argument("model", choices=("decoder", "generate", "infer"))
    parser.add_argument("rest", nargs=argparse.REMAINDER, metavar="...", help="arguments of the model's program")
    return parser.parse_args(argv)


def engines(text):
    names = text.split(",")
    for name in names:
        if name not in ENGINES:
            raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(ENGINES)}")
    return list(dict.fromkeys(names))


def launcher():
    """shm-launch: named by SHM_LAUNCH, beside this Python, or in the path."""
    beside = Path(sys.executable).with_name("shm-launch")
    return os.environ.get("SHM_LAUNCH") or (str(beside) if beside.exists() else shutil.which("shm-launch"))


def command(args, engine, results):
    # shm-launch gives one rank all the cores that several would share, and a thread for each.
    ranks = 1 if engine == "alone" else args.ranks
    words = [launcher(), "-n", str(ranks), sys.executable, str(EXAMPLES / f"{args.model}.py"), *args.rest]
    words += ["--backend", "shmrt" if engine == "alone" else engine, "--json", str(results)]
    # The decoder always does it; infer.py would take shmrt's own counters.
    return [*words, "--stopwatch"] if args.model == "infer" else words


def run_engine(args, engine, folder):
    """One run of one engine: what its job wrote."""
    results = Path(folder) / "results.json"
    results.unlink(missing_ok=True)
    # A session of its own: nothing of it survives a timeout or Ctrl-C.
    job = subprocess.Popen(
        command(args, engine, results),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        said, _ = job.communicate(timeout=args.timeout)
    except subprocess.TimeoutExpired:
        stop(job)
        raise Failed(f"nothing came of it within {args.timeout} s") from None
    except BaseException:
        stop(job)
        raise
    if job.returncode == 2:
        raise Skipped(reason_of(said))
    if job.returncode != 0:
        raise Failed("\n".join(said.splitlines()[-12:]))
    return json.loads(results.read_text())


def stop(job):
    """The launcher ends its ranks when it is told to end."""
    os.killpg(job.pid, signal.SIGTERM)
    try:
        job.communicate(timeout=10)
    except subprocess.TimeoutExpired:
        os.killpg(job.pid, signal.SIGKILL)
        job.communicate()


def end(number, _):
    """A signal that would end this program at once shall first end the job that it started."""
    raise SystemExit(128 + number)


def reason_of(said):
    """The line in which the job says why it refused."""
    lines = said.splitlines() or ["it did not say why"]
    return next((line for line in lines if ".py: " in line), lines[-1]).removeprefix("[0] ")


def phases_of(result):
    """The figures of one run, phase by phase: speed, and shares averaged over the ranks."""
    if "decode" in result:
        phases = {name: (result[name], result["all_reduce"][name]) for name in ("prefill", "decode")}
    else:
        seconds = statistics.median(result["pass_s"])
        # Of whole passes only: infer.py has no clock around a token.
        phases = {"pass": ({"tokens_per_s": result["tokens"] / seconds}, result["all_reduce"])}
    return {
        name: {
            **{key: speed[key] for key in FIGURES if key in speed},
            **{key: statistics.mean(rank[key] for rank in ranks) for key in FIGURES if key in ranks[0]},
        }
        for name, (speed, ranks) in phases.items()
    }


def rounds_of(args, say):
    """All runs: for each engine its list of results, and the reasons of those left out."""
    results, skipped = {engine: [] for engine in args.engines}, {}
    with tempfile.TemporaryDirectory(prefix="compare-") as folder:
        for number in range(1, args.rounds + 1):
            for engine in args.engines:
                if engine in skipped:
                    continue
                say(f"round {number} of {args.rounds}: {engine}")
                try:
                    results[engine].append(run_engine(args, engine, folder))
                except Skipped as reason:
                    skipped[engine] = str(reason)
                    say(f"  left out: {reason}")
                except Failed as error:
                    raise Failed(f"{engine} failed:\n{error}") from None
    return {engine: runs for engine, runs in results.items() if engine not in skipped}, skipped


def summary_of(results):
    """{phase: {engine: figures}}; the medians over the rounds, the extremes of the speed, and
    how many times as fast as each peer."""
    table = {}
    for engine, runs in results.items():
        figures = [phases_of(run) for run in runs]
        for phase in figures[0]:
            row = {key: statistics.median(one[phase][key] for one in figures) for key in figures[0][phase]}
            speeds = [one[phase]["tokens_per_s"] for one in figures]
            row["tokens_per_s_range"] = [min(speeds), max(speeds)]
            table.setdefault(phase, {})[engine] = row
    for rows in table.values():
        for row in rows.values():
            row["times"] = {
                peer: row["tokens_per_s"] / rows[peer]["tokens_per_s"] for peer in PEERS if peer in rows
            }
    return table


def print_table(table, skipped, out=sys.stdout):
    for phase, rows in table.items():
        peers = [peer for peer in PEERS if peer in rows]
        timed = all("token_ms_p99" in row for row in rows.values())
        titles = ["tokens/s", "lowest", "highest", *(f"/ {peer}" for peer in peers)]
        titles += ["ms a token", "p99"] if timed else []
        titles += ["all-reduce", "late", "moving"]
        print(f"\n{phase:<10}" + "".join(f"{title:>12}" for title in titles), file=out)
        for engine, row in rows.items():
            cells = [f"{value:,.1f}" for value in (row["tokens_per_s"], *row["tokens_per_s_range"])]
            cells += [f"{row['times'][peer]:.2f}" for peer in peers]
            cells += [f"{row[key]:.3f}" for key in ("token_ms_median", "token_ms_p99")] if timed else []
            cells += [f"{row[key]:.1%}" for key in ("share", "late_share", "moving_share")]
            print(f"{engine:<10}" + "".join(f"{cell:>12}" for cell in cells), file=out)
    for engine, reason in skipped.items():
        print(f"\n{engine} is left out: {reason}", file=out)


def describe(args, results):
    """What was compared, in a line or two."""
    result = next(iter(results.values()))[0]
    how = "torch.compile" if result["compiled"] else "uncompiled"
    print(f"\n{args.model}.py {' '.join(args.rest)}: {result['ranks']} ranks, {result['dtype']}, {how}")
    print(
        f"Medians of {args.rounds} rounds. all-reduce: share of the time inside it, by a stopwatch in one more pass;\n"
        "late: waiting for a rank that had not entered the call; moving: the rest of the call."
    )


def main(argv=None):
    args = parse_arguments(argv)
    if launcher() is None:
        print("compare.py: shm-launch is not in the path: `make setup` installs it.", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, end)
    try:
        results, skipped = rounds_of(args, lambda text: print(text, file=sys.stderr, flush=True))
    except Failed as error:
        print(f"compare.py: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    if not results:
        for engine, reason in skipped.items():
            print(f"compare.py: {engine}: {reason}", file=sys.stderr)
        return 2
    table = summary_of(results)
    describe(args, results)
    print_table(table, skipped)
    if args.json:
        written = {"model": args.model, "arguments": args.rest, "phases": table, "skipped": skipped, "runs": results}
        args.json.write_text(json.dumps(written, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
