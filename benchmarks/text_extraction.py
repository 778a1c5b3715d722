"""Time the way from texts to features, and count how often candidates tokenize.

    python benchmarks/text_extraction.py [--models FOLDER ...] [--texts FILE.csv] [--device cuda]

Without folders a tiny BERT with random weights is made, with a tokenizer trained on the spot.
The table has texts per second, over those of a bare loop `model(**batch)` with the mean over the
attention mask, on batches of the same size that are sorted by length, tokenized and padded
already:

    prepared   TextBackbone, from texts that are tokenized already
    texts      TextBackbone, from the texts

The sides take turns, and what counts is the median over the turns of the ratio within one: the
speed of a machine that others use as well changes from turn to turn. At the end, eight
candidates of one tokenizer are ranked, and the calls of the tokenizer are counted.
"""

import argparse
import csv
import sys
import tempfile
import time
import warnings
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

import numpy as np
import torch
import transformers
from text_pool import make_texts, write_text_model

from sklearn_ncti import ModelSelector, NCTIScorer, TextBackbone
from sklearn_ncti.backbones import _tokenize
from sklearn_ncti.backbones._texts import check_texts


class Bare:
    """A loop in plain transformers over batches that are sorted by length and padded."""

    def __init__(self, folder, texts, batch_size, device):
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        self.module = transformers.AutoModel.from_pretrained(folder).eval().to(device)
        limit = min(tokenizer.model_max_length, self.module.config.max_position_embeddings)
        tokens = tokenizer(list(texts), truncation=True, max_length=limit)["input_ids"]
        self.order = sorted(range(len(texts)), key=lambda i: -len(tokens[i]))
        self.batches = [
            tokenizer(
                [texts[i] for i in self.order[start : start + batch_size]],
                truncation=True,
                max_length=limit,
                padding=True,
                return_tensors="pt",
            ).to(device)
            for start in range(0, len(texts), batch_size)
        ]

    def __call__(self):
        """Return the features, in the order of the texts."""
        rows = []
        with torch.inference_mode():
            for batch in self.batches:
                vectors = self.module(**batch).last_hidden_state
                mask = batch["attention_mask"][..., None].float()
                rows.append(((vectors * mask).sum(1) / mask.sum(1)).cpu().numpy())
        features = np.empty((len(self.order), rows[0].shape[1]), dtype=np.float32)
        features[self.order] = np.concatenate(rows)
        return features


def seconds(function):
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def compare(folder, texts, args):
    """Print the speeds of the sides, and how far apart their features are."""
    backbone = TextBackbone(
        f"local-dir:{folder}",
        device=args.device,
        batch_size=args.batch_size,
        precision="float32",
    ).fit(texts)
    prepared = backbone.prepare(check_texts(texts)).complete()
    bare = Bare(folder, texts, args.batch_size, args.device)
    layer = backbone._layer_number()
    sides = {
        "bare": bare,
        "prepared": lambda: backbone._compute(prepared, [layer]),
        "texts": lambda: backbone.transform(texts),
    }
    difference = np.abs(backbone.transform(texts) - bare()).max()
    turns = {name: [] for name in sides}
    for _ in range(args.repeat):
        for name, function in sides.items():
            turns[name].append(seconds(function))
    times = {name: np.array(found) for name, found in turns.items()}
    speed = {name: len(texts) / np.median(found) for name, found in times.items()}
    ratios = {name: np.median(times["bare"] / found) for name, found in times.items()}
    n_tokens = int(prepared.tokens().starts[-1])
    print(
        f"{Path(folder).name:<12}{len(texts):>7}{n_tokens:>9}{speed['bare']:>10.0f}"
        f"{speed['prepared']:>12.0f}{speed['texts']:>10.0f}{ratios['prepared']:>10.2f}"
        f"{ratios['texts']:>8.2f}{difference:>12.1e}"
    )


def count_tokenizations(folder, texts, labels, device):
    """Rank eight candidates of one tokenizer, and print how often it ran."""
    calls = []
    real = _tokenize.tokenize
    _tokenize.tokenize = lambda *args: calls.append(len(args[0])) or real(*args)
    name = f"local-dir:{folder}"
    models = [
        (f"{pooling} {layer}", TextBackbone(name, pooling=pooling, layer=layer, device=device))
        for pooling in ("mean", "cls", "max", "last")
        for layer in (-1, -2)
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scorer = NCTIScorer(n_components=4)
        ModelSelector(models, scorer=scorer, refit=False).fit(texts, labels)
    _tokenize.tokenize = real
    print(
        f"\n{len(models)} candidates of one tokenizer: {len(calls)} tokenization of {calls} texts"
    )


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="*", default=[], help="folders of BERT-like models")
    parser.add_argument("--texts", help="CSV file with a column text; made up without it")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--n-texts", type=int, default=2000)
    args = parser.parse_args(argv)
    texts, labels = make_texts(args.n_texts)
    if args.texts:
        with open(args.texts, encoding="utf-8", newline="") as file:
            real = [row["text"] for row in csv.DictReader(file)][: args.n_texts]
    transformers.utils.logging.disable_progress_bar()
    print(
        f"{'model':<12}{'texts':>7}{'tokens':>9}{'bare/s':>10}{'prepared/s':>12}{'texts/s':>10}"
        f"{'prepared':>10}{'texts':>8}{'difference':>12}"
    )
    with tempfile.TemporaryDirectory() as scratch:
        tiny = Path(scratch, "tiny BERT")
        write_text_model(tiny)
        compare(tiny, texts, args)
        for folder in args.models:
            compare(folder, real if args.texts else texts, args)
        count_tokenizations(tiny, texts[:300], labels[:300], args.device)


if __name__ == "__main__":
    main()
