"""Rank text encoders on labelled sentences, and compare with the accuracy of linear probes.

    python benchmarks/text_fidelity.py ../shared/real/text/clinc10.csv --models FOLDER ... \
        [--wordllama]

The file has the columns text, label and split. Candidates are ranked on the rows of the split
"train". They are, for each folder of transformers: its own pooling ("auto"), the first token, the
maximum, the mean of each of its layers, and the same network with random weights; static word
vectors of the package wordllama, if wanted; and TF-IDF reduced by an exact truncated SVD to
20, 100 and 300 columns, a baseline without any pre-training.

The accuracy is that of a logistic regression on the standardised features of all rows that are
not of the split "test", measured on those that are. The second table has the weighted Kendall tau
of each scorer with this accuracy, over all candidates and over those that are networks.
"""

import argparse
import csv
import shutil
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import torch
import transformers
from scipy.stats import kendalltau, weightedtau
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_ncti import TextBackbone, rank_features
from sklearn_ncti.backbones._texts import check_texts
from sklearn_ncti.companions import HScore, LogME


class WordVectors(TransformerMixin, BaseEstimator):
    """Mean static word vectors of the package wordllama."""

    def fit(self, X, y=None):
        """Do nothing: the vectors are fixed."""
        return self

    def transform(self, X):
        """Return the vectors of texts."""
        # Here: the package is needed for this candidate only. Its wheel holds what it loads.
        import wordllama

        folder = Path(wordllama.__file__).parent
        model = wordllama.WordLlama.load(cache_dir=folder, disable_download=True)
        return np.asarray(model.embed(list(X)), dtype=np.float32)

    def __sklearn_is_fitted__(self):
        return True


class NearestNeighbours(BaseEstimator):
    """Cross-validated accuracy of five nearest neighbours by cosine."""

    response = "features"

    def fit(self, X, y):
        """Measure the accuracy."""
        classifier = KNeighborsClassifier(5, metric="cosine")
        self.score_ = float(cross_val_score(classifier, X, y, cv=5).mean())
        return self

    def score(self, X=None, y=None):
        """Return the accuracy."""
        return self.score_


def write_random_twin(folder, twin):
    """Write the network of a folder with random weights."""
    config = transformers.AutoConfig.from_pretrained(folder)
    torch.manual_seed(0)
    transformers.AutoModel.from_config(config).save_pretrained(twin)
    for file in Path(folder).iterdir():
        if file.name.startswith(("tokenizer", "vocab", "special", "merges")):
            shutil.copy(file, twin)


def candidates_of(folder, scratch):
    """Return the candidates that are made of one folder."""
    name, model = Path(folder).name, f"local-dir:{folder}"
    twin = Path(scratch, f"{name}-random")
    write_random_twin(folder, twin)
    return [
        (name, TextBackbone(model, pooling="auto")),
        *((f"{name} {p}", TextBackbone(model, pooling=p)) for p in ("cls", "max")),
        (f"{name} mean", TextBackbone(model, layer="all")),
        (f"{name} random", TextBackbone(f"local-dir:{twin}")),
    ]


def tf_idf(n_columns):
    svd = TruncatedSVD(n_columns, algorithm="arpack", random_state=0)
    return make_pipeline(TfidfVectorizer(sublinear_tf=True), svd)


def probe_accuracy(features, labels, is_test):
    probe = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=2000))
    probe.fit(features[~is_test], labels[~is_test])
    return probe.score(features[is_test], labels[is_test])


def read(path):
    with open(path, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return (np.array([row[name] for row in rows]) for name in ("text", "label", "split"))


def print_agreement(results, accuracies, networks):
    print(f"\n{'scorer':<22}{'all':>8}{'tau':>8}{'networks':>10}{'tau':>8}   (weighted, plain)")
    scorers = {"NCTI": "score", "ncc": "ncc", "seli": "seli", "vc": "vc"}
    scorers |= {
        "robust": "robust",
        "k-nearest neighbours": "knn",
        "LogME": "logme",
        "H-Score": "hscore",
    }
    for title, column in scorers.items():
        values = np.asarray(results[column], dtype=float)
        row = [
            function(values[rows], accuracies[rows]).statistic
            for rows in (slice(None), networks)
            for function in (weightedtau, kendalltau)
        ]
        print(f"{title:<22}{row[0]:>8.3f}{row[1]:>8.3f}{row[2]:>10.3f}{row[3]:>8.3f}")


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", help="CSV file with the columns text, label and split")
    parser.add_argument("--models", nargs="+", required=True, help="folders of transformers")
    parser.add_argument("--wordllama", action="store_true")
    args = parser.parse_args(argv)
    texts, labels, split = read(args.file)
    ranked, is_test = split == "train", split == "test"
    with tempfile.TemporaryDirectory() as scratch:
        models = [item for folder in args.models for item in candidates_of(folder, scratch)]
        models += [(f"TF-IDF {n}", tf_idf(n)) for n in (20, 100, 300)]
        models += [("wordllama", WordVectors())] * args.wordllama
        # Of all rows at a time: no candidate sees labels.
        features = {}
        for name, model in models:
            start = time.perf_counter()
            features |= features_of(name, model, texts)
            print(f"{name}: {time.perf_counter() - start:.0f} s", file=sys.stderr)
    scorers = ["ncti", "robust", ("knn", NearestNeighbours())]
    scorers += [("logme", LogME()), ("hscore", HScore())]
    of_train = {name: of[ranked] for name, of in features.items()}
    ranking = rank_features(of_train, labels[ranked], scorer=scorers)
    results = ranking.results
    probes = {name: probe_accuracy(of, labels, is_test) for name, of in features.items()}
    accuracies = np.array([probes[name] for name in results["model"]])
    print(
        f"{ranked.sum()} rows ranked, {(~is_test).sum()} for the probes, "
        f"{is_test.sum()} for their accuracy; {len(set(labels))} classes\n"
    )
    print(
        f"{'rank':>4}  {'candidate':<24}{'score':>7}{'ncc':>8}{'robust':>8}{'columns':>9}"
        f"{'accuracy':>10}"
    )
    for i in ranking.order:
        print(
            f"{results['rank'][i]:>4}  {results['model'][i]:<24}{results['score'][i]:>7.3f}"
            f"{results['ncc'][i]:>8.3f}{results['robust'][i]:>8.3f}{results['n_features'][i]:>9.0f}{accuracies[i]:>10.3f}"
        )
    networks = np.array(["TF-IDF" not in name for name in results["model"]])
    print_agreement(results, accuracies, networks)


def features_of(name, model, texts):
    """Return the features of a candidate by its name, or of its layers from one pass."""
    if not isinstance(model, TextBackbone) or model.layer != "all":
        return {name: model.fit(texts).transform(texts)}
    parts = [TextBackbone(model.model, layer=layer) for layer in model.layers()]
    checked = check_texts(texts)
    prepared = parts[0].prepare(checked, budget=2**30, models=parts)
    return {
        f"{name} layer {part.layer}": part.extract(checked, prepared=prepared).arrays["features"]
        for part in parts
    }


if __name__ == "__main__":
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*rows are few")
        main()
