# SPDX-License-Identifier: Apache-2.0
"""Tokens per second of transformers' own `generate`, with its own tensor parallelism.

    shm-launch -n 2 python examples/generate.py --size 160m

The model of decoder.py is saved once, and from_pretrained(distributed_config=DistributedConfig(tp_plan="auto"))
gives each rank its part. What is different from an ordinary script is one line: the process group is
made by "cpu:shmrt" before transformers makes one of its own. With --backend deepspeed the all-reduces,
and nothing else, go through DeepSpeed's operator.

Timed passes read a prompt and choose new tokens greedily; transformers compiles the steps after the
first token. One more pass has a stopwatch around each all-reduce. The job checks itself against the unsharded
model without a cache, and that all ranks hold the same bits. It ends with 1 when a check fails, with 2 when it
could not start.
"""

import argparse
import hashlib
import itertools
import os
import sys
import tempfile
import time
import types

import runner
from decoder import SEED, add_model_arguments, distances, outcome, read_shape
from runner import add_engine_arguments, placement, start_engine

os.environ.setdefault("HF_HUB_OFFLINE", "1")


def parse_arguments(argv):
    parser = argparse.ArgumentParser(
        prog="generate.py", description="Tokens per second of generate, split over ranks by transformers."
    )
    add_engine_arguments(parser)
    add_model_arguments(parser)
    return parser.parse_args(argv)


class Clock:
    """What generate calls a streamer: it is given the prompt, and then the tokens of each step."""

    def __init__(self, read):
        self.read, self.times, self.readings = read, [], []

    def put(self, _):
        if len(self.times) < 2:
            self.readings.append(self.read())
        self.times.append(time.perf_counter())

    def end(self):
        self.readings.append(self.read())

    def seconds(self):
        """Until the first token, and for each after it."""
        tokens = [after - before for before, after in itertools.pairwise(self.times)]
        return {"prefill_s": tokens[0], "tokens_s": tokens[1:]}


def reduce_with(function):
    """From now on transformers reduces the outputs of rowwise layers, in place, by `function`.

    It calls all_reduce of the module torch.distributed, which gets a stand-in there; torch.compile
    sees through a module, not through other objects."""
    import torch.distributed
    from transformers.distributed import tensor_parallel

    stand_in = types.ModuleType("torch_distributed_with_another_all_reduce")
    stand_in.__dict__.update(vars(torch.distributed))
    stand_in.all_reduce = lambda x, group: function(x)
    tensor_parallel.dist = stand_in


def load_split(args, shape, positions, engine):
    """This rank's part of the model, which rank 0 has saved; its number of parameters."""
    import torch
    from tp_llama import build
    from transformers import AutoModelForCausalLM, DistributedConfig
    from transformers.utils import logging

    whole = build(shape, positions, SEED)
    parameters = sum(tensor.numel() for tensor in whole.parameters())
    logging.disable_progress_bar()
    with tempfile.TemporaryDirectory(prefix="generate-") as mine:
        folder = engine.share(mine)[0]
        if engine.rank == 0:
            whole.save_pretrained(folder)
        del whole
        engine.barrier()
        model = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=torch.float32 if args.dtype == "fp32" else torch.bfloat16,
            distributed_config=DistributedConfig(tp_plan="auto", tp_size=engine.size),
        )
        engine.barrier()
    return model.eval().requires_grad_(False), parameters


class Job:
    """What the steps below share: the engine, the model, the prompt."""

    def __init__(self, args, shape, engine, say):
        import torch

        self.args, self.shape, self.engine, self.say = args, shape, engine, say
        self.positions = args.prompt + args.new_tokens + 1
        with say.step("saving and splitting the model"):
            self.model, self.parameters = load_split(args, shape, self.positions, engine)
        random = torch.Generator().manual_seed(SEED)
        self.prompt = torch.randint(shape["vocabulary"], (args.batch, args.prompt), generator=random)

    def options(self):
        from transformers import CompileConfig

        # As with decoder.py, the first token comes from reading the prompt.
        count = self.args.new_tokens + 1
        options = {"min_new_tokens": count, "max_new_tokens": count, "do_sample": False, "pad_token_id": 0}
        options |= {"return_dict_in_generate": True, "output_logits": True, "cache_implementation": "static"}
        if self.args.eager:
            return {**options, "disable_compile": True}
        compiling = CompileConfig(fullgraph=True, dynamic=False, mode="default")
        # transformers compiles without being told only on accelerators.
        compiling._compile_all_devices = True
        return {**options, "compile_config": compiling}

    def run(self, read=lambda: None):
        """One pass. `read` is called before it, between its phases and after it; what it returned,
        the times, the tokens, and the logits of each step."""
        import torch

        clock = Clock(read)
        mask = torch.ones_like(self.prompt)
        self.engine.barrier()
        got = self.model.generate(self.prompt, attention_mask=mask, streamer=clock, **self.options())
        return clock.readings, clock.seconds(), got.sequences[:, self.args.prompt :], torch.stack(got.logits, dim=1)

    def warm_up(self):
        """The seconds of the first pass, which compiles."""
        start = time.perf_counter()
        with self.say.step("warming up" if self.args.eager else "compiling"):
            self.run()
        return time.perf_counter() - start

    def passes(self):
        """The times of the timed passes, a checksum over all of them, and the last one's tokens and logits."""
        checksum, times = hashlib.sha256(), []
        for _ in self.say.progress("timed passes")(range(self.args.repeat)):
            _, seconds, tokens, logits = self.run()
            times.append(seconds)
            checksum.update(tokens.numpy().tobytes() + logits.float().numpy().tobytes())
        return times, checksum.hexdigest(), tokens, logits

    def stopwatch_pass(self):
        """Notes for split_times of each all-reduce in one more pass, for each phase, and the seconds
        it took. The last pass of a job, since it replaces the all-reduce."""
        import torch
        from engines import Stopwatch

        watch = Stopwatch(self.engine.reduce_in_place)
        reduce_with(watch if self.args.eager else watch.as_operator_in_place())
        torch._dynamo.reset()
        self.run()
        notes, seconds, _, _ = self.run(watch.reset)
        return {
            "prefill": (notes[1], seconds["prefill_s"]),
            "decode": (notes[2], sum(seconds["tokens_s"])),
        }


def work(args, shape, engine, say):
    """Everything, in order; what rank 0 then reports."""
    job = Job(args, shape, engine, say)
    first_s = job.warm_up()
    times, checksum, tokens, logits = job.passes()
    with say.step("comparing with the unsharded model"):
        compared = distances(args, shape, job.prompt, tokens, logits, 0)
    facts = engine.share(
        {**compared, "checksum": checksum, "watched": job.stopwatch_pass(), "placement": placement(engine)}
    )
    return {**outcome(job, first_s, times, facts), "tokens": tokens.tolist()}


def run(args, rank, size):
    import torch
    from engines import GROUP_ENGINES
    from narrator import GenerateNarrator

    shape = read_shape(args, size)
    say = GenerateNarrator(speaks=rank == 0)
    say.opening(args, shape, size)
    engine = start_engine(args.backend, rank, size, GROUP_ENGINES)
    if args.backend == "deepspeed":
        reduce_with(engine.reduce_in_place)
    with torch.inference_mode():
        result = work(args, shape, engine, say)
    return runner.finish(args, rank, engine, say, result)


def main(argv=None):
    return runner.main("generate.py", parse_arguments, run, argv)


if __name__ == "__main__":
    sys.exit(main())
