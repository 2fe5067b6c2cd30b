# SPDX-License-Identifier: Apache-2.0
"""Tokens per second of a tensor-parallel decoder of LLaMA's shape, prefill and decode apart.

    shm-launch -n 2 python examples/decoder.py --size 160m

Every rank holds its part of a model with random weights (tp_llama.py) and a static key/value cache,
compiled with torch.compile(fullgraph=True); the all-reduces go through the engine (engines.py).
Timed passes read a prompt and then choose new tokens one by one, greedily. One more pass, compiled
with a stopwatch around each all-reduce, says how much of the time that took, and how much of it was
waiting for late ranks. The job checks itself against the unsharded model without a cache, and that
all ranks hold the same bits. It ends with 1 when a check fails, with 2 when it could not start.
"""

import argparse
import hashlib
import itertools
import os
import statistics
import sys
import time

import runner
from runner import Refused, add_engine_arguments, largest, placement, positive, start_engine, verdict
from tp_llama import NUMBERS, PRESETS, impossible, possible_sizes

os.environ.setdefault("HF_HUB_OFFLINE", "1")

SEED = 20
# Logits of random weights are of the order of 1.
FP32_LIMIT = 5e-5
BF16_FACTOR = 1.5


def parse_arguments(argv):
    parser = argparse.ArgumentParser(
        prog="decoder.py", description="Tokens per second of a tensor-parallel decoder with random weights."
    )
    add_engine_arguments(parser)
    add_model_arguments(parser)
    return parser.parse_args(argv)


def add_model_arguments(parser):
    parser.add_argument("--size", choices=sorted(PRESETS), default="tiny", help="the numbers that follow (tiny)")
    for name in NUMBERS:
        parser.add_argument(f"--{name.replace('_', '-')}", type=positive, metavar="N", help="instead of the size's")
    parser.add_argument("--batch", type=positive, default=1, metavar="N", help="sequences (1)")
    parser.add_argument("--prompt", type=positive, default=128, metavar="N", help="tokens to read (128)")
    parser.add_argument(
        "--new-tokens", type=positive, default=32, metavar="N", help="tokens to choose after the first (32)"
    )


def read_shape(args, size):
    """The model's numbers, or Refused where there is no such model for so many ranks."""
    shape = {name: getattr(args, name) or PRESETS[args.size][name] for name in NUMBERS}
    reason = impossible(shape)
    if reason:
        raise Refused(reason)
    possible = possible_sizes(shape)
    if size not in possible:
        raise Refused(
            f"{shape['heads']} heads, {shape['kv_heads']} key and value heads and a feed-forward of "
            f"{shape['ffn']} cannot be shared by {size} ranks: take {', '.join(map(str, possible))}."
        )
    return shape


class Job:
    """What the steps below share: the engine, the sharded model, its cache, the prompt."""

    def __init__(self, args, shape, engine, say):
        import torch
        from tp_llama import build, make_cache, shard

        self.args, self.shape, self.engine, self.say = args, shape, engine, say
        self.dtype = torch.float32 if args.dtype == "fp32" else torch.bfloat16
        # The prompt, the first token, which reading it brings, and the others.
        self.positions = args.prompt + args.new_tokens
        with say.step("building and splitting the model"):
            whole = build(shape, self.positions, SEED)
            self.parameters = sum(tensor.numel() for tensor in whole.parameters())
            self.decoder = shard(whole.to(self.dtype), engine.rank, engine.size, engine.all_reduce)
        self.cache = make_cache(whole.config, args.batch, self.positions, engine.size, self.dtype)
        random = torch.Generator().manual_seed(SEED)
        self.prompt = torch.randint(shape["vocabulary"], (args.batch, args.prompt), generator=random)

    def compile(self):
        """Compiles the decoder as it is now; returns the seconds that the first steps took."""
        import torch

        # Two graphs: one that reads a prompt and one that takes a token.
        torch._dynamo.reset()
        self.step = self.decoder if self.args.eager else torch.compile(self.decoder, fullgraph=True, dynamic=False)
        self.engine.barrier()
        start = time.perf_counter()
        with self.say.step("warming up" if self.args.eager else "compiling"):
            self.cache.reset()
            tokens, _, _ = self.step(self.prompt, self.cache)
            for _ in range(min(2, self.args.new_tokens)):
                tokens, _, _ = self.step(tokens, self.cache)
        return time.perf_counter() - start

    def run(self, read):
        """One pass. `read` is called before it, between its phases and after it; what it returned,
        the times, and the steps' results, in order."""
        self.cache.reset()
        self.engine.barrier()
        readings, clocks = [read()], [time.perf_counter()]
        steps = [self.step(self.prompt, self.cache)]
        prefill_s = time.perf_counter() - clocks[0]
        readings.append(read())
        clocks = [time.perf_counter()]
        for _ in range(self.args.new_tokens):
            steps.append(self.step(steps[-1][0], self.cache))
            clocks.append(time.perf_counter())
        readings.append(read())
        tokens_s = [after - before for before, after in itertools.pairwise(clocks)]
        return readings, {"prefill_s": prefill_s, "tokens_s": tokens_s}, steps

    def passes(self):
        """The timed passes: the times of each, a checksum over all of them, the last one's steps,
        and the time inside all-reduce if the engine counts it."""
        checksum, times, counted = hashlib.sha256(), [], []
        for _ in self.say.progress("timed passes")(range(self.args.repeat)):
            readings, seconds, steps = self.run(self.engine.counters)
            times.append(seconds)
            counted.append(readings)
            for tokens, _, last in steps:
                checksum.update(tokens.numpy().tobytes() + last.float().numpy().tobytes())
        return times, checksum.hexdigest(), steps, counters_of(counted, times)

    def stopwatch_pass(self):
        """Notes for split_times of each all-reduce in one more pass, for each phase, and the seconds
        it took. The last pass of a job, since it replaces the all-reduce."""
        from engines import Stopwatch
        from tp_llama import replace_all_reduce

        watch = Stopwatch(self.engine.all_reduce)
        replace_all_reduce(self.decoder, watch if self.args.eager else watch.as_operator())
        self.compile()
        notes, seconds, _ = self.run(watch.reset)
        return {
            "prefill": (notes[1], seconds["prefill_s"]),
            "decode": (notes[2], sum(seconds["tokens_s"])),
        }

    def compare(self, steps):
        """How far these steps are from the unsharded model. Each rank compares the logits it has."""
        import torch

        chosen = torch.cat([tokens for tokens, _, _ in steps], dim=1)
        mine = torch.stack([logits for _, logits, _ in steps], dim=1)
        return distances(self.args, self.shape, self.prompt, chosen, mine, self.decoder.head.first)


def distances(args, shape, prompt, chosen, mine, start):
    """How far the tokens chosen, and the logits of the vocabulary from `start` on, are from what the
    unsharded model says, which reads the prompt and all chosen tokens at once, without a cache."""
    import torch
    from tp_llama import build

    text = torch.cat((prompt, chosen[:, :-1]), dim=1)
    part = slice(start, start + mine.shape[-1])
    whole = build(shape, args.prompt + args.new_tokens, SEED)
    exact = whole(text, use_cache=False).logits[:, args.prompt - 1 :]
    rounded = exact
    if args.dtype != "fp32":
        rounded = whole.to(torch.bfloat16)(text, use_cache=False).logits[:, args.prompt - 1 :].float()
    best = exact.max(-1).values
    return {
        "off": (mine - exact[..., part]).abs().max().item(),
        "whole_off": (rounded - exact).abs().max().item(),
        "behind": (best - exact.gather(2, chosen.unsqueeze(-1)).squeeze(-1)).flatten().tolist(),
        "spread": exact.std().item(),
    }


def counters_of(counted, times):
    """What the engine counted in each phase of an average pass, or None."""
    from engines import add_shares

    if counted[0][0] is None:
        return None
    result = {}
    totals = {
        "prefill": [one["prefill_s"] for one in times],
        "decode": [sum(one["tokens_s"]) for one in times],
    }
    for number, (phase, seconds) in enumerate(totals.items()):
        pairs = [(readings[number], readings[number + 1]) for readings in counted]
        phase_of = {key: statistics.mean(after[key] - before[key] for before, after in pairs) for key in pairs[0][0]}
        add_shares(phase_of, statistics.mean(seconds), "counters")
        result[phase] = phase_of
    return result


def check(args, facts):
    """The checks, from what the ranks told: a list of {name, value, limit, passed}."""
    limit = FP32_LIMIT
    if args.dtype == "bf16":
        limit = BF16_FACTOR * facts[0]["whole_off"]
    # Two tokens whose logits are nearer than two roundings are equally good.
    wrong = sum(not behind <= 2 * limit for behind in facts[0]["behind"])
    checksums = {fact["checksum"] for fact in facts}
    return [
        verdict("largest difference of a logit from unsharded fp32", largest([fact["off"] for fact in facts]), limit),
        verdict("tokens that the unsharded model would not choose", wrong, 0),
        verdict("different bits among the ranks' hidden states", len(checksums) - 1, 0),
    ]


def percentile(values, share):
    """The smallest value that at least this share of the values does not exceed."""
    ordered = sorted(values)
    return ordered[max(0, -(-round(share * 1000) * len(ordered) // 1000) - 1)]


def speeds(args, times):
    """Tokens per second of both phases. Rank 0's clock serves: each step ends with an all-reduce."""
    prefill = [one["prefill_s"] for one in times]
    tokens = [second for one in times for second in one["tokens_s"]]
    decode = [sum(one["tokens_s"]) for one in times]
    return {
        "prefill": {
            "tokens_per_s": args.batch * args.prompt / statistics.median(prefill),
            "token_ms_median": 1e3 * statistics.median(prefill) / args.prompt,
            "token_ms_p99": 1e3 * percentile(prefill, 0.99) / args.prompt,
            "pass_s": prefill,
        },
        "decode": {
            "tokens_per_s": args.batch * args.new_tokens / statistics.median(decode),
            "token_ms_median": 1e3 * statistics.median(tokens),
            "token_ms_p99": 1e3 * percentile(tokens, 0.99),
            "pass_s": decode,
        },
    }


def all_reduce_times(facts):
    """Each phase's time in all-reduce by the stopwatch, for each rank."""
    from engines import split_times

    result = {}
    for phase in ("prefill", "decode"):
        notes, seconds = zip(*(fact["watched"][phase] for fact in facts), strict=True)
        result[phase] = split_times(notes, seconds)
    return result


def outcome(job, first_s, times, facts):
    """What generate.py reports too; `facts`: what each rank told."""
    args, engine = job.args, job.engine
    return {
        "model": {**job.shape, "parameters": job.parameters},
        "ranks": engine.size,
        "backend": engine.name,
        "dtype": args.dtype,
        "compiled": not args.eager,
        "batch": args.batch,
        "prompt": args.prompt,
        "new_tokens": args.new_tokens,
        "first_call_s": first_s,
        **speeds(args, times),
        "all_reduce": all_reduce_times(facts),
        "checks": check(args, facts),
        "checksum": facts[0]["checksum"],
        "logits_spread": facts[0]["spread"],
        "placement": [fact["placement"] for fact in facts],
    }


def work(args, shape, engine, say):
    """Everything, in order; what rank 0 then reports."""
    job = Job(args, shape, engine, say)
    first_s = job.compile()
    times, checksum, steps, counted = job.passes()
    with say.step("comparing with the unsharded model"):
        compared = job.compare(steps)
    facts = engine.share(
        {
            **compared,
            "checksum": checksum,
            "counters": counted,
            "watched": job.stopwatch_pass(),
            "placement": placement(engine),
        }
    )
    return {
        **outcome(job, first_s, times, facts),
        "counters": None if counted is None else [fact["counters"] for fact in facts],
        "tokens": [tokens.flatten().tolist() for tokens, _, _ in steps],
    }


def run(args, rank, size):
    import torch
    from narrator import DecoderNarrator

    shape = read_shape(args, size)
    say = DecoderNarrator(speaks=rank == 0)
    say.opening(args, shape, size)
    engine = start_engine(args.backend, rank, size)
    with torch.inference_mode():
        result = work(args, shape, engine, say)
    return runner.finish(args, rank, engine, say, result)


def main(argv=None):
    return runner.main("decoder.py", parse_arguments, run, argv)


if __name__ == "__main__":
    sys.exit(main())
