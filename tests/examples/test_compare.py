# SPDX-License-Identifier: Apache-2.0
"""examples/compare.py: engines in turns, the medians and ratios, and what is said when one cannot run."""

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import compare
import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
QUICK = ("decoder", "--eager", "--prompt", "8", "--new-tokens", "3", "--repeat", "1")


def run(*arguments, **environment):
    return subprocess.run(
        [sys.executable, str(EXAMPLES / "compare.py"), *arguments],
        capture_output=True,
        text=True,
        timeout=600,
        env={**os.environ, **environment},
        check=False,
    )


def decoder_run(speed, share):
    times = {"share": share, "late_share": share / 4, "moving_share": share * 3 / 4}
    phase = {"tokens_per_s": speed, "token_ms_median": 1e3 / speed, "token_ms_p99": 2e3 / speed}
    both = [times, {key: 3 * value for key, value in times.items()}]
    return {"prefill": phase, "decode": phase, "all_reduce": {"prefill": both, "decode": both}}


def test_medians_and_ratios():
    results = {
        "shmrt": [decoder_run(speed, 0.1) for speed in (100, 400, 300)],
        "gloo": [decoder_run(speed, 0.2) for speed in (100, 90, 200)],
    }
    table = compare.summary_of(results)
    assert set(table) == {"prefill", "decode"}
    row = table["decode"]["shmrt"]
    assert row["tokens_per_s"] == 300 and row["tokens_per_s_range"] == [100, 400]
    assert row["times"] == {"gloo": 3.0}
    assert row["token_ms_p99"] == pytest.approx(2e3 / 300)
    # Averaged over the ranks.
    assert row["share"] == pytest.approx(0.2) and row["late_share"] == pytest.approx(0.05)
    assert table["prefill"]["gloo"]["times"] == {"gloo": 1.0}


def test_a_pass_of_infer_counts_its_tokens():
    times = {"share": 0.1, "late_share": 0.1, "moving_share": 0.0}
    result = {"pass_s": [1.0, 2.0, 6.0], "tokens": 100, "all_reduce": [times]}
    assert compare.phases_of(result) == {"pass": {"tokens_per_s": 50.0, **times}}


def test_engines_take_turns(monkeypatch):
    """A B C, A B C; the one that is left out is not tried again."""
    order = []

    def run_engine(args, engine, folder):
        order.append(engine)
        if engine == "gloo":
            raise compare.Skipped("no reason")
        return len(order)

    monkeypatch.setattr(compare, "run_engine", run_engine)
    results, skipped = compare.rounds_of(compare.parse_arguments(["--rounds", "2", "infer"]), lambda text: None)
    assert order == ["shmrt", "gloo", "deepspeed", "shmrt", "deepspeed"]
    assert results == {"shmrt": [1, 4], "deepspeed": [3, 5]}
    assert skipped == {"gloo": "no reason"}


def test_one_round_of_two_engines(tmp_path):
    path = tmp_path / "figures.json"
    outcome = run("--rounds", "1", "--engines", "shmrt,gloo", "--json", str(path), *QUICK)
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    figures = json.loads(path.read_text())
    runs = {engine: runs[0] for engine, runs in figures["runs"].items()}
    assert {engine: one["backend"] for engine, one in runs.items()} == {"shmrt": "shmrt", "gloo": "gloo"}
    # The same model: the same tokens, by whatever sums them.
    assert runs["gloo"]["tokens"] == runs["shmrt"]["tokens"]
    for phase in ("prefill", "decode"):
        rows = figures["phases"][phase]
        ratio = rows["shmrt"]["tokens_per_s"] / rows["gloo"]["tokens_per_s"]
        assert rows["shmrt"]["times"]["gloo"] == pytest.approx(ratio)
        assert f"{ratio:.2f}" in outcome.stdout
        assert outcome.stdout.count(f"\n{phase} ") == 1


def test_an_engine_that_cannot_run_is_left_out(tmp_path):
    """A package that cannot be imported stands before DeepSpeed's, installed or not."""
    (tmp_path / "deepspeed.py").write_text("raise ImportError('not in this test')\n")
    outcome = run("--rounds", "2", "--engines", "deepspeed", *QUICK, PYTHONPATH=str(tmp_path))
    assert outcome.returncode == 2
    assert outcome.stderr.count("DeepSpeed is not installed here (not in this test)") == 2
    assert "round 2" not in outcome.stderr


def test_a_job_that_fails_is_no_figure():
    outcome = run("--engines", "shmrt", "--rounds", "1", "--timeout", "1", *QUICK)
    assert outcome.returncode == 1
    assert "shmrt failed:\nnothing came of it within 1 s" in outcome.stderr
    assert "tokens/s" not in outcome.stdout


def processes_with(mark):
    """Those whose environment has this text."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if mark.encode() in path.read_bytes():
                found.append(int(path.parent.name))
        except OSError:
            continue  # it has just ended, or is another user's
    return found


def wait_for(condition):
    until = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.05)


def test_nothing_outlives_it():
    mark = f"COMPARE_TEST={uuid.uuid4()}"
    program = [sys.executable, str(EXAMPLES / "compare.py"), "--engines", "shmrt", *QUICK]
    environment = {**os.environ, **dict([mark.split("=")])}
    job = subprocess.Popen(program, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment)
    # This program, the launcher, its keeper, two ranks.
    wait_for(lambda: len(processes_with(mark)) >= 5)
    job.send_signal(signal.SIGTERM)
    assert job.wait(60) == 128 + signal.SIGTERM
    wait_for(lambda: not processes_with(mark))
