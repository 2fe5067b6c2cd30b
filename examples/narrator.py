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
    "stopwatch": "by a stopwatch around each call in one more pass, uncompiled; waiting included",
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

    def placement(self, result):
        self.heading("Where the ranks and their buffers were")
        self.line(f"  {'rank':>4}  {'pid':>7}  {'threads':>7}  {'CPUs':<12}  {'node':<5}  buffer")
        for rank, fact in enumerate(result["placement"]):
            self.line(
                f"  {rank:>4}  {fact['pid']:>7}  {fact['threads']:>7}  {ranges(fact['cpus']):<12}  "
                f"{ranges(fact['nodes']) or '?':<5}  {describe_buffer(fact['buffer'])}"
            )

    def checks(self, result):
        self.heading("Checks")
        for check in result["checks"]:
            verdict = "pass" if check["passed"] else "FAIL"
            self.line(
                f"  {verdict}  {check['name']:<48}  {number(check['value'])}  "
                f"(at most {number(check['limit'])})"
            )

    def row(self, title, text):
        self.line(f"  {title:<28}  {text}")


class SearchNarrator(Narrator):
    """The report of infer.py."""

    def opening(self, args, size, corpus):
        how = "uncompiled" if args.eager else "torch.compile(fullgraph=True)"
        self.line(f"all-MiniLM-L6-v2 on {ranks_of(size)}: {args.dtype}, {how}, all-reduce by {args.backend}")
        works = len({work for work, _ in corpus if work})
        source = f"{works} works in " if works else ""
        self.line(f"searching {len(corpus)} sentences of {source}{args.corpus.name}")

    def report(self, result):
        self._matches(result)
        self._speed(result)
        self.placement(result)
        self.checks(result)
        self.line(f"        checksum of all embeddings  {result['checksum'][:16]}")

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
        self.row(first, f"{result['first_call_s']:.1f} s, once")
        self.row(
            "one pass",
            f"{min(passes):.3f} s at best, {statistics.median(passes):.3f} s median of {len(passes)}"
        )
        self.row(
            "throughput",
            f"{result['sentences_per_s']:,.0f} sentences/s, {result['tokens_per_s']:,.0f} tokens/s "
            f"(a pass has {result['sentences']} and {result['tokens']:,})",
        )
        spread = "" if len(shares) == 1 else f" (ranks: {min(shares):.1%} to {max(shares):.1%})"
        self.row("in all-reduce", f"{statistics.mean(shares):.1%} of the time{spread}")
        if "late_share" in inside[0]:
            late, moving = (mean_of(inside, f"{name}_share") for name in ("late", "moving"))
            self.row("", f"{late:.1%} waiting for late ranks, {moving:.1%} moving data")
        self.row("", HOW[inside[0]["how"]])
        self.row(
            "", f"{inside[0]['calls']:.0f} calls a pass, {inside[0]['bytes'] / 2**20:.1f} MiB a rank"
        )


class DecoderNarrator(Narrator):
    """The report of decoder.py."""

    program = "decoder"
    checked = "all hidden states"

    def opening(self, args, shape, size):
        how = "uncompiled" if args.eager else "torch.compile(fullgraph=True)"
        self.line(f"{self.program} on {ranks_of(size)}: {args.dtype}, {how}, all-reduce by {args.backend}")
        self.line(", ".join(f"{name.replace('_', ' ')} {number}" for name, number in shape.items()))

    def report(self, result):
        self._speed(result)
        self.placement(result)
        self.checks(result)
        self.line(f"        checksum of {self.checked}  {result['checksum'][:16]}")

    def _speed(self, result):
        self.heading("Speed")
        self.row("parameters", f"{result['model']['parameters'] / 1e6:.1f} million, random")
        self.row("compiling and the first steps" if result["compiled"] else "first steps",
                 f"{result['first_call_s']:.1f} s, once")
        does = {
            "prefill": f"reads {result['batch']} x {result['prompt']} tokens",
            "decode": f"chooses {result['batch']} x {result['new_tokens']} tokens",
        }
        for phase, what in does.items():
            speed, inside = result[phase], result["all_reduce"][phase]
            self.row(f"{phase}: {what}", f"{speed['tokens_per_s']:,.1f} tokens/s, median of {len(speed['pass_s'])}")
            self.row("", f"{speed['token_ms_median']:.3f} ms a token, p99 {speed['token_ms_p99']:.3f} ms")
            total, late, moving = (mean_of(inside, key) for key in ("share", "late_share", "moving_share"))
            self.row("", f"{total:.1%} of the time in all-reduce: {late:.1%} late ranks, {moving:.1%} moving data")
            self.row("", f"{inside[0]['calls']} calls, {inside[0]['bytes'] / 2**20:.2f} MiB a rank")
        self.row("", "all-reduce: by a stopwatch around each call, in one more pass")


class GenerateNarrator(DecoderNarrator):
    """The report of generate.py."""

    program = "generate"
    checked = "all logits"


def mean_of(facts, key):
    return statistics.mean(fact[key] for fact in facts)


def ranks_of(size):
    return "1 rank" if size == 1 else f"{size} ranks"


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
