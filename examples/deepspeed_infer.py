# SPDX-License-Identifier: Apache-2.0
"""DeepSpeed's tensor parallelism with its all-reduces in shared memory.

    deepspeed --bind_cores_to_rank --num_accelerators 2 examples/deepspeed_infer.py
    shm-launch -n 2 python examples/deepspeed_infer.py
    torchrun --nproc-per-node 2 examples/deepspeed_infer.py

A small LLaMA of random weights, the same on every rank, is split by deepspeed.init_inference and
generates text; the unsharded model must have chosen the same tokens. Nothing here but one import
names shmrt, and with SHMRT_DEEPSPEED=1 in the environment that may go, too.
"""

import argparse
import logging
import os
import sys

os.environ.setdefault("DS_ACCELERATOR", "cpu")

import deepspeed
import shmrt.deepspeed
import torch
from transformers import LlamaConfig, LlamaForCausalLM


def make_model():
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=1024,
        hidden_size=256,
        intermediate_size=512,
        num_hidden_layers=4,
        num_attention_heads=8,
        num_key_value_heads=4,
        max_position_embeddings=256,
    )
    return LlamaForCausalLM(config).eval()


def generate(model, prompt, new_tokens):
    return model.generate(
        prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=new_tokens, do_sample=False, pad_token_id=0
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--new-tokens", type=int, default=32)
    parser.add_argument("--local_rank", type=int, help="as the deepspeed launcher gives it; not used")
    args = parser.parse_args()

    deepspeed.init_distributed(verbose=False)
    rank, size = deepspeed.comm.get_rank(), deepspeed.comm.get_world_size()
    prompt = torch.arange(1, 13).reshape(2, 6)

    with torch.inference_mode():
        expected = generate(make_model(), prompt, args.new_tokens)
        engine = deepspeed.init_inference(make_model(), tensor_parallel={"tp_size": size}, dtype=torch.float32)
        tokens = generate(engine.module, prompt, args.new_tokens)

    same = torch.equal(tokens, expected)
    calls = sum(shmrt.stats()["operators"].values())
    if rank == 0:
        print(f"{size} ranks: {tokens.shape[1] - prompt.shape[1]} tokens for each of {len(prompt)} prompts")
        print(f"all-reduces through shmrt: {calls}")
        print(f"tokens of the unsharded model: {'the same' if same else 'DIFFERENT'}")
    return 0 if same else 1


if __name__ == "__main__":
    logging.getLogger("DeepSpeed").setLevel(logging.WARNING)
    sys.exit(main())
