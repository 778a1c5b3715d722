"""
From the ranking to a fine-tuned model
======================================

A ranking says which networks to fine-tune. This page goes on from there: it ranks the eight small
networks that come with the package, fine-tunes the first three and one of the last with
`skorch <https://skorch.readthedocs.io>`_, compares their accuracies with the ranking, and passes
them on to the ranking of the next data set.
"""

# %%
# Rank
# ----
#
# The images are handwritten digits: 500 to rank and train on, 500 to measure the accuracy on, and
# the rest for the end of this page. The networks were trained on photographs. Use your own images
# and names of timm models here.

from sklearn.model_selection import train_test_split

from sklearn_ncti import ModelSelector
from sklearn_ncti.datasets import load_digit_images, load_zoo

rest, rest_y = load_digit_images()
images, rest, y, rest_y = train_test_split(
    rest, rest_y, train_size=500, stratify=rest_y, random_state=0
)
test_images, rest, test_y, rest_y = train_test_split(
    rest, rest_y, train_size=500, stratify=rest_y, random_state=0
)
selector = ModelSelector(load_zoo(), n_resamples=100, random_state=0, refit=False)
ranking = selector.fit(images, y).ranking_
ranking

# %%
# How many to fine-tune? The probabilities of being the best say how likely the best network on
# other images of this kind is among the first ones.

shortlist = ranking.shortlist(3)
columns = ranking.results
probability = dict(zip(columns["model"], columns["best_probability"], strict=True))
for name in shortlist:
    print(f"{name:24} {probability[name]:.2f}")

# %%
# Fine-tune
# ---------
#
# ``to_timm`` returns a network with the weights of a candidate and a new head, and how its images
# are prepared. ``timm.data.create_transform`` makes a transform of the latter; with
# ``is_training=True`` it would add augmentation, which flips images and is not meant for digits.
# The sixth network is trained as well, to see whether the ranking was right to leave it out.

import timm
import torch
from PIL import Image
from skorch import NeuralNetClassifier

torch.set_num_threads(1)  # the networks are small: more threads would wait for each other


def prepared(pixels, transform):
    """Return grey images as the network takes them."""
    pictures = [Image.fromarray(picture).convert("RGB") for picture in pixels]
    return torch.stack([transform(picture) for picture in pictures])


def fine_tuned(name):
    """Return the test accuracy in per cent of a candidate after all its layers were trained."""
    network, data_config = selector.to_timm(candidate=name)
    transform = timm.data.create_transform(**data_config)
    torch.manual_seed(0)  # for the order of the images
    classifier = NeuralNetClassifier(
        network,
        criterion=torch.nn.CrossEntropyLoss,
        optimizer=torch.optim.AdamW,
        lr=1e-3,
        batch_size=32,
        max_epochs=6,
        iterator_train__shuffle=True,
        train_split=None,
        verbose=0,
    )
    classifier.fit(prepared(images, transform), y)
    return 100 * classifier.score(prepared(test_images, transform), test_y)


check = ranking.names[5]
accuracies = {name: fine_tuned(name) for name in [*shortlist, check]}

# %%
# Compare
# -------

for name in accuracies:
    print(f"{name:24} score {ranking.scores[name]:5.2f}   accuracy {accuracies[name]:4.1f} %")

# %%
# The sixth is far behind, as the ranking says. The first three are in one group of the table,
# which means that these images cannot tell them apart. The best of them need not be the first by
# score, and this is why more than one should be fine-tuned. ``agreement`` gives the percentage
# points of accuracy that are lost by fine-tuning only the first, or only the first three.

agreement = ranking.agreement(accuracies)
round(agreement["regret_at_1"], 1), round(agreement["regret_at_3"], 1)

# %%
# Use what was learned
# --------------------
#
# The accuracies are worth keeping. On the next data set of the same kind, they are a record of
# these candidates: a *prior*, which is one more component of the score. Here the next data set is
# the digits that were not used yet. Networks that were not fine-tuned get the value that their
# other components suggest, which the table marks with a star. A record of few networks that are
# all alike suggests little, so that one from further down is worth the time.

next_selector = ModelSelector(load_zoo(), prior=[accuracies], refit=False)
next_selector.fit(rest, rest_y).ranking_
