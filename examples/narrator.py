# SPDX-License-Identifier: Apache-2.0
"""What rank 0 says: progress while the job runs, the report at its end. Other ranks are silent."""

import contextlib
import statistics
import sys
import textwrap
import time

from tqdm import tqdm

WIDTH = 92
HOW = {
    "counters": "counted inside the operator, waiting for other ranks included",
    "stopwatch": "stopwatch in one more pass, uncompiled; waiting included",
}


class _Lines:
    """Gives tqdm's carriage returns a line each, for output that is no terminal."""

    def __init__(self, stream):
        self.stream = stream

    def write(self, text):
        text = text.strip("\r\n").rstrip()
        if text:
            self.stream.write(text + "\n")

    def flush(self):
        self.stream.flush()


class Narrator:
    def __init__(self, speaks, out=sys.stdout, err=sys.stderr):
        self.speaks, self.out, self.err = speaks, out, err

    def line(self, text=""):
        if self.speaks:
            print(text, file=self.out, flush=True)

    def heading(self, text):
        self.line()
        self.line(text)

    def progress(self, title):
        """A function that wraps a sequence in a progress bar."""
        terminal = self.err.isatty()

        def wrap(items):
            return tqdm(
                items,
                desc=f"  {title}",
                unit="batch",
                leave=False,
                disable=not self.speaks,
                file=self.err if terminal else _Lines(self.err),
                mininterval=0.1 if terminal else 5,
                delay=0 if terminal else 5,
                ncols=80,
            )

        return wrap

    @contextlib.contextmanager
    def step(self, title):
        start = time.perf_counter()
        if self.speaks:
            print(f"  {title} ...", end="", file=self.out, flush=True)
        yield
        self.line(f" {time.perf_counter() - start:.1f} s")

    def opening(self, args, size, corpus):
        ranks = "1 rank" if size == 1 else f"{size} ranks"
        how = "uncompiled" if args.eager else "torch.compile(fullgraph=True)"
        self.line(f"all-MiniLM-L6-v2 on {ranks}: {args.dtype}, {how}, all-reduce by {args.backend}")
        works = len({work for work, _ in corpus if work})
        source = f"{works} works in " if works else ""
        self.line(f"searching {len(corpus)} sentences of {source}{args.corpus.name}")

    def report(self, result):
        self._matches(result)
        self._speed(result)
        self._placement(result)
        self._checks(result)

    def _matches(self, result):
        self.heading("Best matches")
        for answer in result["queries"]:
            self.line(f'  "{answer["query"]}"')
            for match in answer["matches"]:
                text = f"{match['score']:.3f}  {match['sentence']}"
                source = match["work"].split(",")[0]
                self.line(
                    textwrap.fill(
                        f"{text}  [{source}]" if source else text,
                        WIDTH,
                        initial_indent="    ",
                        subsequent_indent=" " * 11,
                        max_lines=2,
                        placeholder=f" ...  [{source}]" if source else " ...",
                    )
                )

    def _speed(self, result):
        passes, inside = result["pass_s"], result["all_reduce"]
        shares = [rank["share"] for rank in inside]
        first = "compiling and the first call" if result["compiled"] else "first call"
        self.heading("Speed")
        self._row(first, f"{result['first_call_s']:.1f} s, once")
        self._row(
            "one pass",
            f"{min(passes):.3f} s at best, {statistics.median(passes):.3f} s median of {len(passes)}"
        )
        self._row(
            "throughput",
            f"{result['sentences_per_s']:,.0f} sentences/s, {result['tokens_per_s']:,.0f} tokens/s "
            f"(a pass has {result['sentences']} and {result['tokens']:,})",
        )
        spread = "" if len(shares) == 1 else f" (ranks: {min(shares):.1%} to {max(shares):.1%})"
        self._row("in all-reduce", f"{statistics.mean(shares):.1%} of the time{spread}")
        self._row("", HOW[inside[0]["how"]])
        self._row(
            "", f"{inside[0]['calls']:.0f} calls a pass, {inside[0]['bytes'] / 2**20:.1f} MiB a rank"
        )

    def _placement(self, result):
        self.heading("Where the ranks and their buffers were")
        self.line(f"  {'rank':>4}  {'pid':>7}  {'threads':>7}  {'CPUs':<12}  {'node':<5}  buffer")
        for rank, fact in enumerate(result["placement"]):
            self.line(
                f"  {rank:>4}  {fact['pid']:>7}  {fact['threads']:>7}  {ranges(fact['cpus']):<12}  "
                f"{ranges(fact['nodes']) or '?':<5}  {describe_buffer(fact['buffer'])}"
            )

    def _checks(self, result):
        self.heading("Checks")
        for check in result["checks"]:
            verdict = "pass" if check["passed"] else "FAIL"
            self.line(
                f"  {verdict}  {check['name']:<48}  {number(check['value'])}  "
                f"(at most {number(check['limit'])})"
            )
        self.line(f"        checksum of all embeddings  {result['checksum'][:16]}")

    def _row(self, title, text):
        self.line(f"  {title:<28}  {text}")


def number(value):
    return str(value) if isinstance(value, int) else f"{value:.1e}"


def ranges(numbers):
    """[0, 1, 2, 5] as "0-2,5"."""
    parts, start = [], None
    for position, number in enumerate(numbers):
        start = number if start is None else start
        if position + 1 == len(numbers) or numbers[position + 1] != number + 1:
            parts.append(str(start) if start == number else f"{start}-{number}")
            start = None
    return ",".join(parts)


def describe_buffer(buffer):
    if isinstance(buffer, str):
        return buffer
    how = "bound" if buffer["bound"] else "by first touch"
    known = buffer["pages"] - buffer["pages_unknown"]
    if known == 0:
        return f"{buffer['pages']} pages, {how}; the kernel does not say where"
    return (
        f"{buffer['pages_on_node']} of {buffer['pages']} pages on node {ranges(buffer['nodes'])}, "
        f"{how}; kernel {buffer['kernel']}"
    )
