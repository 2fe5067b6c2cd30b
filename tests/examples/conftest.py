# SPDX-License-Identifier: Apache-2.0
"""Runs the examples as a user does, and works out apart from infer.py what it must answer."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
sys.path.insert(0, str(EXAMPLES))

# Not what a test asserts: what frees the machine when a job hangs.
TIMEOUT_S = 600


def launcher(kind, ranks):
    """The words before the program, for each way to start a job."""
    if kind == "alone":
        return [sys.executable]
    if kind == "shm-launch":
        return [os.environ.get("SHM_LAUNCH", "shm-launch"), "-n", str(ranks), sys.executable]
    if kind == "torchrun":
        return [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(ranks)]
    if kind == "mpirun":
        if shutil.which("mpirun") is None:
            pytest.skip("mpirun is not installed")
        return ["mpirun", "--oversubscribe", "-n", str(ranks), sys.executable]
    raise ValueError(kind)


@pytest.fixture
def example(tmp_path):
    """Runs a job; its outcome has returncode, stdout, stderr, and result: what --json wrote."""

    def run(program, *arguments, ranks=2, kind="shm-launch"):
        path = tmp_path / "result.json"
        environment = {**os.environ, "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
        if kind == "torchrun":
            # What torchrun sets by itself, with a page of warning.
            environment.setdefault("OMP_NUM_THREADS", "1")
        outcome = subprocess.run(
            [*launcher(kind, ranks), str(program), *arguments, "--json", str(path)],
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            env=environment,
            check=False,
        )
        outcome.result = json.loads(path.read_text()) if path.exists() else None
        return outcome

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
def expected():
    """The best matches by the plain model, without padding: [(query, [(score, sentence)])]."""
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

    sentences = [sentence for _, sentence in example.read_corpus(example.CORPUS)]
    best = (embed(example.QUERIES) @ embed(sentences).T).topk(example.MATCHES)
    return [
        (query, [(score, sentences[row]) for score, row in zip(scores, rows, strict=True)])
        for query, scores, rows in zip(example.QUERIES, best.values.tolist(), best.indices.tolist(), strict=True)
    ]
