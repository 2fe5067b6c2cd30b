# SPDX-License-Identifier: Apache-2.0
"""Runs the examples as a user does, and works out apart from infer.py what it must answer."""

import json
import os
import shutil
import subprocess
import sys
import uuid
from pathlib import Path
from types import SimpleNamespace

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
sys.path[:0] = [str(EXAMPLES), str(Path(__file__).resolve().parents[1] / "torch")]

import warm  # noqa: E402
from rankpool import LAUNCHERS_VARIABLES, free_port, rank_environment  # noqa: E402

warm.also(warm.TRANSFORMERS)

# Not what a test asserts: what frees the machine when a job hangs.
TIMEOUT_S = 600


def launcher(kind, ranks):
    """The words before the program, for each way to start a job."""
    if kind == "shm-launch":
        return [os.environ.get("SHM_LAUNCH", "shm-launch"), "-n", str(ranks), sys.executable]
    if kind == "torchrun":
        return [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(ranks)]
    if kind == "mpirun":
        if shutil.which("mpirun") is None:
            pytest.skip("mpirun is not installed")
        return ["mpirun", "--oversubscribe", "-n", str(ranks), sys.executable]
    raise ValueError(kind)


def run_forked(folder, words, ranks):
    """Ranks without a launcher, forked from what has PyTorch imported. None of them speaks to stderr here."""
    job, port = uuid.uuid4().hex, free_port()
    environments = [rank_environment(rank, ranks, job, port) for rank in range(ranks)]
    if ranks == 1:
        for name in LAUNCHERS_VARIABLES:
            environments[0].pop(name, None)
    logs = [folder / f"rank-{rank}.log" for rank in range(ranks)]
    for log in logs:
        log.write_text("")
    processes = []
    try:
        for environment, log in zip(environments, logs, strict=True):
            processes.append(warm.Warm(environment, str(log), warm.run_program, words[0], words[1:]))
        code = warm.wait_for_all(processes, TIMEOUT_S)
    finally:
        warm.end(processes)
    return SimpleNamespace(returncode=code, stdout="".join(log.read_text() for log in logs), stderr="")


@pytest.fixture
def example(tmp_path):
    """Runs a job; its outcome has returncode, stdout, stderr, and result: what --json wrote."""

    def run(program, *arguments, ranks=2, kind="forked"):
        path = tmp_path / "result.json"
        words = [str(program), *arguments, "--json", str(path)]
        outcome = run_forked(tmp_path, words, ranks) if kind == "forked" else run_launched(words, ranks, kind)
        outcome.result = json.loads(path.read_text()) if path.exists() else None
        return outcome

    def run_launched(words, ranks, kind):
        environment = {**os.environ, "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
        if kind == "torchrun":
            # What torchrun sets by itself, with a page of warning.
            environment.setdefault("OMP_NUM_THREADS", "1")
        return subprocess.run(
            [*launcher(kind, ranks), *words],
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            env=environment,
            check=False,
        )

    return run


@pytest.fixture
def infer(example):
    def run(*arguments, program=EXAMPLES / "infer.py", **how):
        return example(program, *arguments, **how)

    return run


@pytest.fixture
def decoder(example):
    def run(*arguments, program=EXAMPLES / "decoder.py", **how):
        return example(program, *arguments, **how)

    return run


@pytest.fixture(scope="session")
def few(tmp_path_factory):
    """A ninth of the corpus, for all but the main job: the arguments, and what must be found in it."""
    import infer as example

    sentences = [sentence for _, sentence in example.read_corpus(example.CORPUS)][::9]
    path = tmp_path_factory.mktemp("corpus") / "few.txt"
    path.write_text("\n".join(sentences))
    return SimpleNamespace(arguments=("--repeat", "1", "--corpus", str(path)), expected=best_matches(path))


@pytest.fixture(scope="session")
def expected():
    import infer as example

    return best_matches(example.CORPUS)


def best_matches(corpus):
    """By the plain model, without padding: [(query, [(score, sentence)])]."""
    import infer as example
    import torch
    import tp_bert
    from transformers import AutoModel, AutoTokenizer

    folder = tp_bert.model_folder()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModel.from_pretrained(folder).eval()

    @torch.inference_mode()
    def embed(texts):
        result = torch.zeros(len(texts), model.config.hidden_size)
        tokens = [tokenizer(text)["input_ids"] for text in texts]
        for length in {len(ids) for ids in tokens}:
            rows = [row for row, ids in enumerate(tokens) if len(ids) == length]
            hidden = model(torch.tensor([tokens[row] for row in rows])).last_hidden_state
            result[rows] = torch.nn.functional.normalize(hidden.mean(1))
        return result

    sentences = [sentence for _, sentence in example.read_corpus(corpus)]
    best = (embed(example.QUERIES) @ embed(sentences).T).topk(example.MATCHES)
    return [
        (query, [(score, sentences[row]) for score, row in zip(scores, rows, strict=True)])
        for query, scores, rows in zip(example.QUERIES, best.values.tolist(), best.indices.tolist(), strict=True)
    ]


@pytest.fixture(scope="session")
def unsharded():
    """The tokens of the plain model of decoder.py and generate.py, generated by Hugging Face: [(sequence's tokens)]."""
    import decoder
    import torch
    import tp_llama

    model = tp_llama.build(tp_llama.PRESETS["tiny"], 14, decoder.SEED)
    prompt = torch.randint(512, (2, 9), generator=torch.Generator().manual_seed(decoder.SEED))
    with torch.inference_mode():
        text = model.generate(prompt, max_new_tokens=6, min_new_tokens=6, do_sample=False)
    return text[:, 9:].tolist()
