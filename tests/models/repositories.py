"""A repository of safetensors as the Hub has them: weights in two files, a tokenizer, and what nobody should fetch."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
from safetensors.numpy import save
from tokenizers import Tokenizer, models, pre_tokenizers

from tests.models.conftest import Hub

REPOSITORY = "acme/tiny"
CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 64,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "num_hidden_layers": 2,
    "intermediate_size": 128,
    "max_position_embeddings": 512,
    "vocab_size": 4,
}
TAKEN = (
    "added_tokens.json",
    "config.json",
    "empty.txt",
    "model-00001-of-00002.safetensors",
    "model-00002-of-00002.safetensors",
    "model.safetensors.index.json",
    "tokenizer.json",
    "tokenizer_config.json",
)


def contents() -> dict[str, bytes]:
    """By path, what it has; with what is left out."""
    parts = [
        save({"embed": np.zeros((4, 64), np.float16)}),
        save({"out": np.ones((64, 4), np.float16), "norm": np.ones((64,), np.float32)}),
    ]
    tokenizer = Tokenizer(models.WordLevel({"[UNK]": 0, "a": 1, "tiny": 2, "model": 3}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return {
        "config.json": json.dumps(CONFIG).encode(),
        "tokenizer.json": tokenizer.to_str().encode(),
        "tokenizer_config.json": json.dumps({"tokenizer_class": "PreTrainedTokenizerFast"}).encode(),
        "added_tokens.json": b"{}",
        "model.safetensors.index.json": json.dumps({"weight_map": {}}).encode(),
        "model-00001-of-00002.safetensors": parts[0],
        "model-00002-of-00002.safetensors": parts[1],
        "empty.txt": b"",
        "README.md": b"# Tiny\n",
        "modeling_tiny.py": b"print('code')\n",
        "pytorch_model.bin": pickle.dumps({"embed": [0.0]}),
        "original/consolidated.pth": pickle.dumps({"embed": [0.0]}),
    }


def put(hub: Hub, commit: str | None = None, without: str = "") -> None:
    """Let the stand-in have it."""
    for path, content in contents().items():
        if path != without:
            hub.put(REPOSITORY, path, content, *([commit] if commit else []))


def write(folder: Path) -> None:
    """The same as files."""
    for path, content in contents().items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
