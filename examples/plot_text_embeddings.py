"""
Rank embeddings of text
=======================

Candidates need not be networks, and rows need not be images. Any object that turns ``X`` into
features with ``fit`` and ``transform`` can be ranked. Here, the candidates embed short messages.
"""

# %%
# The corpus is small: messages to a help desk, in three classes that share many words.

from itertools import product

import numpy as np
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import HashingVectorizer, TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from sklearn_ncti import ModelSelector, NCTIScorer

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
texts, labels = [], []
for topic, (things, faults) in topics.items():
    for opening, thing, fault in product(openings, things, faults):
        texts.append(f"{opening} {thing} {fault}".strip())
        labels.append(topic)
texts, labels = np.array(texts), np.array(labels)
texts[[0, 100, 200]], len(texts)


# %%
# The candidates are four vectorizers, each followed by the same reduction. An embedding model of
# any other library works as well if it has ``fit`` and ``transform``.


def embedding(vectorizer):
    """Return a vectorizer that is followed by a reduction to 20 dense features."""
    return make_pipeline(vectorizer, TruncatedSVD(n_components=20, random_state=0))


# The default of a million hashes would give a million columns to reduce.
hashing = HashingVectorizer(analyzer="char_wb", ngram_range=(3, 4), n_features=4096)
candidates = [
    ("words", embedding(TfidfVectorizer())),
    ("pairs of words", embedding(TfidfVectorizer(ngram_range=(2, 2)))),
    ("letters", embedding(TfidfVectorizer(analyzer="char", ngram_range=(1, 1)))),
    ("hashed letters", embedding(hashing)),
]
selector = ModelSelector(
    candidates,
    scorer=NCTIScorer(n_components=20),
    final_estimator=LogisticRegression(max_iter=1000),
).fit(texts, labels)
selector

# %%
# With a final estimator, the selector is a classifier on top of the best candidate:

selector.predict(["again my order is late", "and now the app never loads"])

# %%
selector.ranking_.plot()
