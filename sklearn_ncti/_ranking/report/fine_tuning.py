"""Code that fine-tunes the best candidate, with the package that its weights are for."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Pretrained:
    """Where the weights of a candidate come from.

    Attributes
    ----------
    name : str
        Name by which the package knows the model: a name of timm, or a folder or repository of
        transformers.

    package : {"timm", "transformers"}
        The package that loads it.

    revision : str or None
        Branch, tag or commit of a repository, of transformers only.

    trust_remote_code : bool
        Whether the model runs code of its own, of transformers only.
    """

    name: str
    package: str = "timm"
    revision: str | None = None
    trust_remote_code: bool = False


def fine_tuning_code(model: Pretrained, n_classes: int | str) -> str:
    """Return code that fine-tunes a model on the labelled images or texts that it names."""
    if model.package == "transformers":
        return _transformers_code(model)
    return _timm_code(model.name, n_classes)


def _timm_code(name: str, n_classes: int | str) -> str:
    """Return code for a folder of images with a folder for each class."""
    return f"""\
import timm
import torch
from torchvision.datasets import ImageFolder

device = "cuda" if torch.cuda.is_available() else "cpu"
model = timm.create_model({name!r}, pretrained=True, num_classes={n_classes})
model = model.to(device).train()
config = timm.data.resolve_model_data_config(model)
transform = timm.data.create_transform(**config, is_training=True)
images = ImageFolder("train", transform)  # the folder that has a folder for each class
full = len(images) > 32  # a last batch of one image stops batch normalisation
loader = torch.utils.data.DataLoader(images, batch_size=32, shuffle=True, drop_last=full)
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.05)
for epoch in range(10):
    for batch, labels in loader:
        logits = model(batch.to(device))
        loss = torch.nn.functional.cross_entropy(logits, labels.to(device))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    print(epoch, loss.item())"""


def _transformers_code(model: Pretrained) -> str:
    """Return code for a CSV file with a text and a label in each row."""
    options = "" if model.revision is None else f", revision={model.revision!r}"
    options += ", trust_remote_code=True" * model.trust_remote_code
    return f"""\
import csv

import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

with open("train.csv", encoding="utf-8", newline="") as file:  # with columns text and label
    rows = [(row["text"], row["label"]) for row in csv.DictReader(file)]
names = sorted({{label for _, label in rows}})
data = [(text, names.index(label)) for text, label in rows]

device = "cuda" if torch.cuda.is_available() else "cpu"
name = {model.name!r}
tokenizer = AutoTokenizer.from_pretrained(name{options})
tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token  # many decoders have none
model = AutoModelForSequenceClassification.from_pretrained(
    name, num_labels=len(names), dtype=torch.float32{options}
)
model.config.pad_token_id = tokenizer.pad_token_id
model = model.to(device).train()
longest = min(512, tokenizer.model_max_length)
loader = torch.utils.data.DataLoader(data, batch_size=32, shuffle=True)
optimizer = torch.optim.AdamW(model.parameters(), lr=2e-5, weight_decay=0.01)
for epoch in range(3):
    for texts, labels in loader:
        tokens = tokenizer(
            list(texts), padding=True, truncation=True, max_length=longest, return_tensors="pt"
        )
        loss = model(**tokens.to(device), labels=labels.to(device)).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    print(epoch, loss.item())"""
