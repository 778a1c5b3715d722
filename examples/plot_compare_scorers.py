"""
Comparing scorers
=================

No metric wins everywhere. A list of scorers ranks by the first and shows the others beside it,
with how far their orders agree.
"""

# %%
# Features of the eight networks of the zoo, extracted once:

from matplotlib import pyplot as plt
from sklearn.neighbors import KNeighborsClassifier

from sklearn_ncti import NCTIScorer, rank_features
from sklearn_ncti.companions import GBC, HScore, LogME
from sklearn_ncti.datasets import load_digit_images, load_zoo, load_zoo_accuracies

images, labels = load_digit_images()
images, labels = images[:500], labels[:500]
features = {name: backbone.fit_transform(images) for name, backbone in load_zoo()}

# %%
# Any classifier can stand in the list too, and is cross-validated. Nearest neighbours are a
# strong baseline.

scorers = [NCTIScorer(n_components=32), LogME(), HScore(), GBC(), ("kNN", KNeighborsClassifier())]
ranking = rank_features(features, labels, scorer=scorers)
ranking

# %%
# For the zoo it is known what fine-tuning gives. Each scorer against it:

accuracies = load_zoo_accuracies()
models = ranking.results["model"]
columns = ["score", *ranking.scorers]
figure, axes = plt.subplots(1, len(columns), figsize=(11, 2.8), sharey=True, layout="constrained")
for ax, column in zip(axes, columns, strict=True):
    ax.scatter(ranking.results[column], [accuracies[name] for name in models])
    ax.set_title("ncti" if column == "score" else column)
axes[0].set_ylabel("fine-tuned accuracy")

# %%
# The same in numbers: how far the orders of two scorers agree, from -1 to 1.

agreement = ranking.scorer_agreement()
for first, second, tau in zip(
    agreement["first"], agreement["second"], agreement["kendall_tau"], strict=True
):
    print(f"{first:8} {second:8} {tau:6.2f}")
