# SPDX-License-Identifier: Apache-2.0
"""transformers' own tensor parallelism and `generate`: the tokens of the model in one process.

The model has LLaMA's shape and random weights, is saved once and read by each rank, which takes its part.
An all-reduce adds in another order than a matrix product, so logits differ in the last bits; the nearest
runner-up of any chosen token is thousands of times as far away (the test looks), so tokens have to be equal.
"""

import pytest
import torch
import torch.distributed as dist
from framework import backend_of, joined, native, same_on_all

LAYERS, VOCABULARY, PROMPT, NEW, BATCH = 2, 256, 7, 6, 2
LIMIT = 1e-5


def build():
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        num_hidden_layers=LAYERS,
        hidden_size=64,
        num_attention_heads=8,
        num_key_value_heads=4,
        intermediate_size=128,
        vocab_size=VOCABULARY,
        max_position_embeddings=64,
        # The usual 0.02 makes logits so small that tokens hardly differ.
        initializer_range=0.2,
    )
    torch.manual_seed(20)
    return LlamaForCausalLM(config).eval()


def prompt() -> torch.Tensor:
    return torch.randint(VOCABULARY, (BATCH, PROMPT), generator=torch.Generator().manual_seed(1))


def generate(model, **options):
    """(tokens of each sequence, logits of each step)."""
    ids = prompt()
    with torch.inference_mode():
        got = model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            pad_token_id=0,
            do_sample=False,
            min_new_tokens=NEW,
            max_new_tokens=NEW,
            return_dict_in_generate=True,
            output_logits=True,
            **options,
        )
    return got.sequences, torch.stack(got.logits)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """The folder of the model, and what it generates unsharded."""
    folder = str(tmp_path_factory.mktemp("llama"))
    model = build()
    model.save_pretrained(folder)
    tokens, logits = generate(model)
    best, second = logits.topk(2).values.unbind(-1)
    assert (best - second).min() > 1000 * LIMIT
    return folder, tokens.tolist(), logits.tolist()


def load(folder: str):
    """Split by transformers, as its documentation has it."""
    from transformers import AutoModelForCausalLM, DistributedConfig
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    model = AutoModelForCausalLM.from_pretrained(folder, distributed_config=DistributedConfig(tp_plan="auto"))
    group = model._device_mesh["tp"].get_group()
    assert dist.get_world_size(group) == dist.get_world_size() == model._tp_size
    assert backend_of(group) == joined["backend"]
    part = model.model.layers[0].mlp.down_proj.weight
    assert part.to_local().shape[1] == part.shape[1] // dist.get_world_size()
    return model


def compiled_options() -> dict:
    from transformers import CompileConfig

    config = CompileConfig(fullgraph=True, dynamic=False, mode="default")
    # transformers compiles by itself only for accelerators.
    config._compile_all_devices = True
    return {"cache_implementation": "static", "compile_config": config}


def check(result, tokens: list, logits: list) -> None:
    got, values = result
    assert got.tolist() == tokens
    assert (values - torch.tensor(logits)).abs().max() < LIMIT
    same_on_all(values)


def generate_split(folder: str, tokens: list, logits: list) -> None:
    model = load(folder)
    with native("all_reduce"):
        check(generate(model), tokens, logits)
        check(generate(model, cache_implementation="static"), tokens, logits)


@pytest.mark.parametrize("size", [2, 4])
def test_generate(ranks, saved, size):
    ranks(size).call(generate_split, *saved, timeout=300)


def generate_compiled(folder: str, tokens: list, logits: list) -> None:
    from torch._dynamo.utils import counters

    model = load(folder)
    before = counters["stats"]["unique_graphs"]
    with native("all_reduce"):
        for _ in range(2):
            check(generate(model, **compiled_options()), tokens, logits)
    assert counters["stats"]["unique_graphs"] > before


def test_generate_compiled(ranks, saved):
    ranks(2).call(generate_compiled, *saved, timeout=600)


@pytest.mark.long
def test_generate_compiled_on_four(ranks, saved):
    ranks(4).call(generate_compiled, *saved, timeout=900)


def train(folder: str) -> None:
    """One step with gradients takes transformers' other way, through DTensor."""
    model, whole = load(folder), build()
    ids = prompt()
    with native("all_reduce"):
        loss = model(input_ids=ids, labels=ids).loss
        loss.backward()
    expected = whole(input_ids=ids, labels=ids).loss
    expected.backward()
    torch.testing.assert_close(loss, expected)
    named = dict(whole.named_parameters())
    for name in ("model.layers.0.mlp.down_proj.weight", "model.layers.1.self_attn.q_proj.weight", "lm_head.weight"):
        grad = model.get_parameter(name).grad.full_tensor()
        torch.testing.assert_close(grad, named[name].grad, atol=1e-4, rtol=1e-3)


def test_training_step(ranks, saved):
    ranks(2).call(train, saved[0], timeout=300)


def save_again(folder: str, target: str) -> None:
    """save_pretrained gathers the parts; rank 0 writes."""
    load(folder).save_pretrained(target)
    dist.barrier()


def test_save_what_was_split(ranks, saved, tmp_path):
    from safetensors.torch import load_file

    ranks(2).call(save_again, saved[0], str(tmp_path), timeout=300)
    original, again = (load_file(f"{folder}/model.safetensors") for folder in (saved[0], tmp_path))
    assert original.keys() == again.keys()
    for name, tensor in original.items():
        assert torch.equal(tensor, again[name]), name
