"""Tiny text encoders with a tokenizer that is trained on the spot, and texts for them."""

import json
from functools import cache

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
tokenizers = pytest.importorskip("tokenizers")

from sklearn_ncti.backbones._text_folder import quiet  # noqa: E402

TOPICS = {
    "bank": "pay the bill from my account transfer money to savings what is my balance",
    "travel": "book a flight to rome and a hotel near the station cancel my trip",
    "kitchen": "how long do i boil an egg find a recipe with rice and beans for dinner",
}


def make_texts(n=60, seed=0):
    """Sentences of three topics, between one and twenty words long, and their labels."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 3
    names = list(TOPICS)
    texts = []
    for label in y:
        own, other = TOPICS[names[label]].split(), TOPICS[names[label - 1]].split()
        words = own + rng.choice(other, 2).tolist()
        texts.append(" ".join(rng.choice(words, rng.integers(1, 21))))
    return texts, np.array(names)[y]


@cache
def make_tokenizer(kind):
    """Train a tokenizer, of bytes for GPT-2 and of pieces of words for the others.

    Once for each kind: training breaks ties at random.
    """
    special = {
        "bert": ["[PAD]", "[UNK]", "[CLS]", "[SEP]"],
        "gpt2": ["<|endoftext|>"],
        "t5": ["<pad>", "</s>", "<unk>"],
    }[kind]
    if kind == "gpt2":
        model = tokenizers.Tokenizer(tokenizers.models.BPE())
        model.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
        alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
        trainer = tokenizers.trainers.BpeTrainer(
            vocab_size=320, special_tokens=special, initial_alphabet=alphabet, show_progress=False
        )
    else:
        unknown = "[UNK]" if kind == "bert" else "<unk>"
        model = tokenizers.Tokenizer(tokenizers.models.WordPiece(unk_token=unknown))
        model.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
        trainer = tokenizers.trainers.WordPieceTrainer(
            vocab_size=120, special_tokens=special, show_progress=False
        )
    model.train_from_iterator(TOPICS.values(), trainer)
    places = [(token, model.token_to_id(token)) for token in special]
    if kind == "bert":
        model.post_processor = tokenizers.processors.TemplateProcessing(
            single="[CLS] $A [SEP]", special_tokens=places[2:]
        )
    if kind == "t5":
        model.post_processor = tokenizers.processors.TemplateProcessing(
            single="$A </s>", special_tokens=places[1:2]
        )
    named = {
        "bert": {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]"},
        "gpt2": {"bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>"},
        "t5": {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"},
    }[kind]
    inputs = ["input_ids", "attention_mask"]
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=model,
        model_max_length=32,
        model_input_names=[inputs[0], "token_type_ids", inputs[1]] if kind == "bert" else inputs,
        **named,
    )


def make_module(kind, vocabulary, seed, width=16, n_layers=2):
    """A random network of one of three kinds; its weights depend on the seed only."""
    heads = {"num_attention_heads": 2}
    configs = {
        "bert": lambda: transformers.BertConfig(
            vocab_size=vocabulary,
            hidden_size=width,
            num_hidden_layers=n_layers,
            intermediate_size=2 * width,
            max_position_embeddings=32,
            initializer_range=0.3,
            **heads,
        ),
        "gpt2": lambda: transformers.GPT2Config(
            vocab_size=vocabulary,
            n_embd=width,
            n_layer=n_layers,
            n_head=2,
            n_positions=32,
            initializer_range=0.3,
        ),
        "t5": lambda: transformers.T5Config(
            vocab_size=vocabulary,
            d_model=width,
            d_kv=width // 2,
            d_ff=2 * width,
            num_layers=n_layers,
            num_heads=2,
            decoder_start_token_id=0,
        ),
    }
    classes = {
        "bert": transformers.BertModel,
        "gpt2": transformers.GPT2Model,
        "t5": transformers.T5EncoderModel,
    }
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return classes[kind](configs[kind]()).eval()


def write_text_model(folder, kind="bert", seed=0, **size):
    """Write a network and its tokenizer as transformers loads them; return the name."""
    tokenizer = make_tokenizer(kind)
    module = make_module(kind, len(tokenizer), seed, **size)
    with quiet():
        module.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    return f"local-dir:{folder}"


def by_hand(name, texts, pooling="mean", layer=-1, max_length=32):
    """Features in plain transformers: one text at a time, without any padding."""
    folder = name.removeprefix("local-dir:")
    with quiet():
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        kind = transformers.AutoConfig.from_pretrained(folder)
        loader = transformers.T5EncoderModel if kind.model_type == "t5" else transformers.AutoModel
        module = loader.from_pretrained(folder).eval()
    rows = []
    for text in texts:
        tokens = tokenizer(text, truncation=True, max_length=max_length, return_tensors="pt")
        with torch.inference_mode():
            output = module(**tokens, output_hidden_states=True)
        vectors = output.hidden_states[layer][0]
        pooled = {
            "mean": vectors.mean(0),
            "cls": vectors[0],
            "max": vectors.max(0).values,
            "last": vectors[-1],
        }
        rows.append(pooled[pooling].numpy())
    return np.array(rows)


def edit_json(file, **values):
    """Change values of a JSON file; None removes one."""
    known = json.loads(file.read_text()) | values
    file.write_text(json.dumps({k: v for k, v in known.items() if v is not None}))
