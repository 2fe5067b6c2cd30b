# SPDX-License-Identifier: Apache-2.0
"""Runs examples/infer.py as a user does, and works out apart from it what it must answer."""

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
def infer(tmp_path):
    """Runs a job; its outcome has returncode, stdout, stderr, and result: what --json wrote."""

    def run(*arguments, ranks=2, kind="shm-launch", program=EXAMPLES / "infer.py"):
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


@pytest.fixture(scope="session")
def expected():
    """The best matches by the plain model, in double precision: [(query, [(score, sentence)])]."""
    import infer as example
    import torch
    import tp_bert
    from transformers import AutoModel, AutoTokenizer

    folder = tp_bert.model_folder()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModel.from_pretrained(folder, dtype=torch.float64).eval()

    @torch.inference_mode()
    def embed(sentence):
        tokens = tokenizer(sentence, return_tensors="pt")
        mean = model(**tokens).last_hidden_state.mean(1)[0]
        return mean / mean.norm()

    sentences = [sentence for _, sentence in example.read_corpus(example.CORPUS)]
    corpus = torch.stack([embed(sentence) for sentence in sentences])
    answers = []
    for query in example.QUERIES:
        best = (corpus @ embed(query)).topk(example.MATCHES)
        rows = zip(best.values.tolist(), best.indices.tolist(), strict=True)
        answers.append((query, [(score, sentences[row]) for score, row in rows]))
    return answers
