"""
Read the figure of the geometry
===============================

A figure shows what the scores measure: the rows of each class as a cloud around its center, in
the two directions that separate the classes most.
"""

# %%
# The two networks have the same architecture. One was trained on small photographs, the other is
# untrained.

from matplotlib import pyplot as plt

from sklearn_ncti import NCTIScorer, RankingDisplay
from sklearn_ncti.datasets import load_digit_images, load_zoo

images, labels = load_digit_images()
images, labels = images[:900], labels[:900]
zoo = dict(load_zoo())
figure, axes = plt.subplots(1, 2, figsize=(11, 5), sharex=True, sharey=True, layout="constrained")
scorers = {}
for ax, name in zip(axes, ("resnet-all-long", "resnet-random"), strict=True):
    features = zoo[name].fit_transform(images)
    # Without shrinkage, both figures have the same units.
    scorers[name] = NCTIScorer(shrinkage=0.0).fit(features, labels)
    display = RankingDisplay.from_estimator(scorers[name], features, labels, name=name)
    display.plot(ax, kind="geometry")

# %%
# The unit of both axes is the spread within the classes, so the clouds have about the same size
# and differ in their distances. On the left, the centers are farther from each
# other. This is closer to collapse, where the clouds would be points compared with these
# distances. Clouds that overlap here may still be separate in another direction: ten classes have
# nine.

for name, scorer in scorers.items():
    print(name, {part: round(value, 3) for part, value in scorer.components_.items()})

# %%
# A third network, trained on the digits themselves, would show the end of training. Its limit is
# easy to generate: rows at their class centers, with very little spread.

import numpy as np

centers = 10 * np.eye(10)[labels]
collapsed = centers + 0.3 * np.random.default_rng(0).normal(size=centers.shape)
scorer = NCTIScorer().fit(collapsed, labels)
display = RankingDisplay.from_estimator(scorer, collapsed, labels, name="nearly collapsed")
display.plot(kind="geometry")
