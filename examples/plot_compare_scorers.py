"""
Compare scorers
===============

No metric wins everywhere. With a list of scorers, the first one ranks. The others become further
columns, and the agreement of all orders is printed.
"""

# %%
# Extract the features of the eight networks of the zoo once:

from matplotlib import pyplot as plt
from sklearn.neighbors import KNeighborsClassifier

from sklearn_ncti import NCTIScorer, rank_features
from sklearn_ncti.companions import GBC, HScore, LogME
from sklearn_ncti.datasets import load_digit_images, load_zoo, load_zoo_accuracies

images, labels = load_digit_images()
images, labels = images[:500], labels[:500]
features = {name: backbone.fit_transform(images) for name, backbone in load_zoo()}

# %%
# The list may contain any classifier, which is cross-validated. Nearest neighbours are a
# strong baseline.

scorers = [NCTIScorer(n_components=32), LogME(), HScore(), GBC(), ("kNN", KNeighborsClassifier())]
ranking = rank_features(features, labels, scorer=scorers)
ranking

# %%
# For the zoo, the accuracies after fine-tuning are known. Plot them against each scorer:

accuracies = load_zoo_accuracies()
models = ranking.results["model"]
columns = ["score", *ranking.scorers]
figure, axes = plt.subplots(1, len(columns), figsize=(11, 2.8), sharey=True, layout="constrained")
for ax, column in zip(axes, columns, strict=True):
    ax.scatter(ranking.results[column], [accuracies[name] for name in models])
    ax.set_title("ncti" if column == "score" else column)
axes[0].set_ylabel("fine-tuned accuracy")

# %%
# The same in numbers: the agreement of the orders of two scorers, from -1 to 1.

agreement = ranking.scorer_agreement()
for first, second, tau in zip(
    agreement["first"], agreement["second"], agreement["kendall_tau"], strict=True
):
    print(f"{first:8} {second:8} {tau:6.2f}")
