"""
Rank text encoders
==================

Text encoders of ``transformers`` are candidates like any other, next to pipelines of
scikit-learn: whatever turns texts into features with ``fit`` and ``transform`` can be ranked.
"""

# %%
# The texts of this page are made up: messages to a help desk from a few phrases, in three classes
# that share many words. They show how it is done, not which encoder is good. With a table of your
# own, such as a CSV file with the columns text and label, name it in the environment variable
# ``NCTI_TEXTS`` and run the same lines.

import os
import re
import tempfile
from itertools import product

import numpy as np
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import HashingVectorizer, TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline

from sklearn_ncti import ModelSelector, NCTIScorer, TextBackbone
from sklearn_ncti.datasets import load_text_table

topics = {
    "parcel": (
        ["the parcel", "my order", "the shipment", "the box"],
        ["never arrived", "is late", "was left in the rain", "went to the neighbours"],
    ),
    "refund": (
        ["the refund", "my money", "the payment", "your invoice"],
        ["is late", "never came", "is too small", "was sent to the wrong account"],
    ),
    "login": (
        ["my password", "the account", "your site", "the app"],
        ["is locked", "never loads", "was reset twice", "does not know me"],
    ),
}
openings = ["hello,", "once more:", "please help,", "I am sorry but", "since Monday", ""]


def made_up_texts():
    """Return all sentences of the phrases, and their topics."""
    texts, labels = [], []
    for topic, (things, faults) in topics.items():
        for opening, thing, fault in product(openings, things, faults):
            texts.append(f"{opening} {thing} {fault}".strip())
            labels.append(topic)
    return texts, np.array(labels)


table = os.environ.get("NCTI_TEXTS")
texts, labels = (
    load_text_table(table, split=".", limit_per_class=100) if table else made_up_texts()
)
texts, test_texts, labels, test_labels = train_test_split(
    texts, labels, test_size=0.5, stratify=labels, random_state=0
)
texts[:3], len(texts), len(test_texts)

# %%
# TF-IDF is a baseline without any pre-training. Scorers need dense features, so that an exact
# truncated SVD goes behind it.


def reduced(vectorizer, n_columns):
    """Return a vectorizer that is followed by a reduction to dense features."""
    return make_pipeline(vectorizer, TruncatedSVD(n_columns, algorithm="arpack", random_state=0))


# The default of a million hashes would give a million columns to reduce.
hashing = HashingVectorizer(analyzer="char_wb", ngram_range=(3, 4), n_features=4096)
candidates = [
    ("words, 20 columns", reduced(TfidfVectorizer(), 20)),
    ("words, 5 columns", reduced(TfidfVectorizer(), 5)),
    ("pairs of words", reduced(TfidfVectorizer(ngram_range=(2, 2)), 20)),
    ("single letters", reduced(TfidfVectorizer(analyzer="char"), 20)),
    ("hashed letters", reduced(hashing, 20)),
]

# %%
# An encoder is a folder as ``save_pretrained`` writes it, or a name on the Hugging Face hub, such
# as ``TextBackbone("sentence-transformers/all-MiniLM-L6-v2", pooling="auto")``. This page needs no
# network and writes an encoder here: a very small BERT with *random* weights, whose tokens are the
# words of the texts. It is the control that a pre-trained encoder should be ahead of.

import torch
from transformers import BertConfig, BertModel, BertTokenizerFast
from transformers.utils import logging

logging.disable_progress_bar()
folder = tempfile.TemporaryDirectory()
words = sorted({word for text in texts for word in re.findall(r"\w+|[^\w\s]", text.lower())})
vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words]
places = {word: place for place, word in enumerate(vocabulary)}
BertTokenizerFast(vocab=places, model_max_length=64).save_pretrained(folder.name)
config = BertConfig(
    vocab_size=len(vocabulary),
    hidden_size=64,
    num_hidden_layers=2,
    num_attention_heads=4,
    intermediate_size=128,
    max_position_embeddings=64,
)
with torch.random.fork_rng():
    torch.manual_seed(0)
    BertModel(config).save_pretrained(folder.name)

# %%
# With ``layer="all"``, each layer is a candidate, and all of them come from one pass. Layer 0 is
# the embedding of the tokens before the first layer.

candidates.append(("random BERT", TextBackbone(f"local-dir:{folder.name}", layer="all")))
selector = ModelSelector(
    candidates,
    scorer=NCTIScorer(n_components=20),
    final_estimator=LogisticRegression(max_iter=1000),
).fit(texts, labels)
selector.ranking_

# %%
# With a final estimator, the selector is a classifier on top of the best candidate. This is its
# accuracy on the other half of the texts. The made-up sentences share their phrases, so that it
# is higher than on texts that people write.

selector.best_name_, round(selector.score(test_texts, test_labels), 3)

# %%
selector.ranking_.plot()

# %%
folder.cleanup()
