# SPDX-License-Identifier: Apache-2.0
"""A decoder of LLaMA's shape with random weights, split over the ranks of a tensor-parallel job.

The model stays Hugging Face's own LlamaModel; only its matrices are replaced. In each layer query,
key, value, gate and up are split by columns, the attention output and down by rows, with one
all-reduce after each of those two. The output head is split by vocabulary: each rank finds the best
of its tokens, and one small all-reduce more shows all ranks the best of all. The embedding is
whole on every rank, since a look-up costs nothing.
"""

import torch
import torch.nn.functional as F
from torch import nn

NUMBERS = ("layers", "hidden", "heads", "kv_heads", "ffn", "vocabulary")
# 160m has the shape of llama-160m, 1b that of TinyLlama.
PRESETS = {
    "tiny": dict(zip(NUMBERS, (2, 128, 8, 4, 256, 512), strict=True)),
    "160m": dict(zip(NUMBERS, (12, 768, 12, 12, 3072, 32000), strict=True)),
    "1b": dict(zip(NUMBERS, (22, 2048, 32, 4, 5632, 32000), strict=True)),
}


def possible_sizes(shape):
    """Rank counts among which whole heads and equal feed-forward slices can be dealt out."""
    parts = (shape["heads"], shape["kv_heads"], shape["ffn"])
    return [n for n in range(1, shape["kv_heads"] + 1) if all(part % n == 0 for part in parts)]


def impossible(shape):
    """Why no model has this shape, or None."""
    if shape["hidden"] % shape["heads"]:
        return f"{shape['heads']} heads do not divide a hidden size of {shape['hidden']}"
    if shape["hidden"] // shape["heads"] % 2:
        return f"a head of {shape['hidden'] // shape['heads']} is odd: rotary embedding needs pairs"
    if shape["heads"] % shape["kv_heads"]:
        return f"{shape['kv_heads']} key and value heads do not divide {shape['heads']} heads"
    return None


def build(shape, positions, seed):
    """The whole model in fp32; the same on every rank, by the seed."""
    from transformers import LlamaConfig, LlamaForCausalLM
    from transformers.utils import logging

    logging.set_verbosity_error()
    config = LlamaConfig(
        num_hidden_layers=shape["layers"],
        hidden_size=shape["hidden"],
        num_attention_heads=shape["heads"],
        num_key_value_heads=shape["kv_heads"],
        intermediate_size=shape["ffn"],
        vocab_size=shape["vocabulary"],
        max_position_embeddings=positions,
    )
    torch.manual_seed(seed)
    return LlamaForCausalLM(config).eval().requires_grad_(False)


class RowParallelLinear(nn.Module):
    """x W with W split by rows: this rank's term, then the sum over ranks."""

    def __init__(self, weight, all_reduce):
        super().__init__()
        self.weight = nn.Parameter(weight, requires_grad=False)
        self.all_reduce = all_reduce

    def forward(self, x):
        return self.all_reduce(F.linear(x, self.weight))


def _split_columns(linear, rank, size):
    """nn.Linear keeps W transposed: a column of W is a row of .weight. Uneven parts are fine."""
    rows = linear.weight.tensor_split(size, dim=0)[rank]
    part = nn.Linear(linear.in_features, rows.shape[0], bias=False, device="meta")
    part.weight = nn.Parameter(rows.clone(), requires_grad=False)
    return part


def _split_rows(linear, rank, size, all_reduce):
    columns = linear.weight.chunk(size, dim=1)[rank]
    return RowParallelLinear(columns.clone(memory_format=torch.contiguous_format), all_reduce)


class GreedyHead(nn.Module):
    """The last hidden states to the next tokens, the vocabulary being split over the ranks."""

    def __init__(self, linear, rank, size, all_reduce):
        super().__init__()
        self.rank, self.size = rank, size
        self.part = _split_columns(linear, rank, size)
        counts = [part.shape[0] for part in linear.weight.tensor_split(size, dim=0)]
        self.first = sum(counts[:rank])
        self.all_reduce = all_reduce

    def forward(self, hidden):
        """The tokens, and the logits of this rank's part of the vocabulary.

        Every rank writes its best logit and token into its own slot, so that the sum is all slots.
        A token's number is exact in fp32 below 2**24.
        """
        logits = self.part(hidden).float()
        best, index = logits.max(-1)
        mine = torch.stack((best, (index + self.first).float()), dim=-1)
        slots = F.pad(mine.unsqueeze(1), (0, 0, self.rank, self.size - 1 - self.rank))
        slots = self.all_reduce(slots)
        winner = slots[..., 0].argmax(-1, keepdim=True)
        return slots[..., 1].gather(1, winner).long(), logits


class Decoder(nn.Module):
    """One step: tokens in, the next token of each sequence out, keys and values into the cache."""

    def __init__(self, llama, head):
        super().__init__()
        self.llama, self.head = llama, head

    def forward(self, token_ids, cache):
        hidden = self.llama(input_ids=token_ids, past_key_values=cache, use_cache=True)
        last = hidden.last_hidden_state[:, -1]
        tokens, logits = self.head(last)
        return tokens, logits, last


def shard(whole, rank, size, all_reduce):
    """This rank's part of `whole`, in place but for the head."""
    for layer in whole.model.layers:
        for block, names in (
            (layer.self_attn, ("q_proj", "k_proj", "v_proj")),
            (layer.mlp, ("gate_proj", "up_proj")),
        ):
            for name in names:
                setattr(block, name, _split_columns(getattr(block, name), rank, size))
        for block, name in ((layer.self_attn, "o_proj"), (layer.mlp, "down_proj")):
            setattr(block, name, _split_rows(getattr(block, name), rank, size, all_reduce))
    return Decoder(whole.model, GreedyHead(whole.lm_head, rank, size, all_reduce))


def replace_all_reduce(decoder, all_reduce):
    for module in decoder.modules():
        if isinstance(module, (RowParallelLinear, GreedyHead)):
            module.all_reduce = all_reduce


def make_cache(config, batch, positions, size, dtype):
    """A static cache for this rank's heads."""
    from transformers import StaticCache

    cache = StaticCache(config=config, max_cache_len=positions)
    heads = config.num_key_value_heads // size
    head_dim = config.hidden_size // config.num_attention_heads
    cache.early_initialization(batch, heads, head_dim, dtype, torch.device("cpu"))
    return cache
