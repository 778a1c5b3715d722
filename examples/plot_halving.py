"""
Drop candidates early with successive halving
=============================================

``HalvingModelSelector`` starts all candidates on a few images. Only those that can still be the
best, as far as resamples tell, get more images.
"""

# %%
# The pool has the eight small networks that come with the package, and eight of timm with random
# weights, which stand for the many candidates of a large pool that do not suit the data.

from matplotlib import pyplot as plt

from sklearn_ncti import HalvingModelSelector, TimmBackbone
from sklearn_ncti.datasets import load_digit_images, load_zoo

images, labels = load_digit_images()
names = [
    "test_byobnet",
    "test_convnext",
    "test_efficientnet",
    "test_mambaout",
    "test_nfnet",
    "test_resnet",
    "test_vit",
    "test_vit2",
]
untrained = [(f"{name} (random)", TimmBackbone(name, pretrained=False)) for name in names]
candidates = load_zoo() + untrained
selector = HalvingModelSelector(candidates, refit=False).fit(images, labels)
selector.ranking_

# %%
# The order is by the iteration that a candidate reached, then by its score there. Every iteration
# has a ranking of its own, on nested parts of the images.

for n_rows, ranking in zip(selector.n_resources_, selector.rankings_, strict=True):
    print(f"{n_rows} images: {len(ranking)} candidates, {ranking.best} leads")

# %%
# Features of earlier parts are cached, so that only new images go through a network. Their number
# is the work that was done, compared with all images through all networks.

new = [
    after - before
    for before, after in zip([0, *selector.n_resources_], selector.n_resources_, strict=False)
]
work = [n * k for n, k in zip(new, selector.n_candidates_, strict=True)]
share = sum(work) / (len(candidates) * len(images))
print(f"{sum(work):,} images went through networks: {share:.0%} of all")

# %%
# The bars show how many images each network has seen.

results, order = selector.results_, selector.ranking_.order
figure, ax = plt.subplots(figsize=(7, 4.5), layout="constrained")
ax.barh(results["model"][order], results["n_samples"][order], facecolor="#22577a")
ax.invert_yaxis()
ax.set_xlabel("images that the candidate was ranked on")

# %%
# With ``max_time`` (seconds) or ``max_download`` (gigabytes), only as many candidates start as the
# budget allows. The chapter :doc:`/many_candidates` shows the plan to look at before the start.
