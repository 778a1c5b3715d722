"""
Reading the picture of the geometry
===================================

What the scores measure can be seen: the rows of each class as a cloud around its center, in
the two directions that part the classes most.
"""

# %%
# Two networks of one architecture: one was trained on small photographs, the other not at all.

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
    # Without shrinkage the units of both pictures are the same.
    scorers[name] = NCTIScorer(shrinkage=0.0).fit(features, labels)
    display = RankingDisplay.from_estimator(scorers[name], features, labels, name=name)
    display.plot(ax, kind="geometry")

# %%
# The unit of both axes is the spread within the classes, so the clouds are about equally large,
# and what differs is how far apart they lie. On the left the centers are farther from each
# other: nearer to collapse, in which the clouds would be points beside these distances. Clouds
# that overlap here may still be apart in one of the other directions; ten classes have nine.

for name, scorer in scorers.items():
    print(name, {part: round(value, 3) for part, value in scorer.components_.items()})

# %%
# A third network, which was trained on the digits themselves, would show what the end of
# training looks like. The limit itself is quickly made: rows at their class centers, with hardly
# any spread.

import numpy as np

centers = 10 * np.eye(10)[labels]
collapsed = centers + 0.3 * np.random.default_rng(0).normal(size=centers.shape)
scorer = NCTIScorer().fit(collapsed, labels)
display = RankingDisplay.from_estimator(scorer, collapsed, labels, name="nearly collapsed")
display.plot(kind="geometry")
