"""
Resume a run from the cache
===========================

With ``memory``, the features of each candidate are cached as soon as they are extracted. The next
fit extracts only what is missing, after an interruption or with a further candidate.
"""

# %%
# The first run has three candidates.

import tempfile

import numpy as np
from matplotlib import pyplot as plt

from sklearn_ncti import ModelSelector
from sklearn_ncti.datasets import load_digit_images, load_zoo

folder = tempfile.TemporaryDirectory()
images, labels = load_digit_images()
images, labels = images[:900], labels[:900]
zoo = load_zoo()
first = ModelSelector(zoo[:3], memory=folder.name, refit=False).fit(images, labels)

# %%
# The second run has five. A new process, or another machine with the same folder, would use the
# same cache.

second = ModelSelector(zoo[:5], memory=folder.name, refit=False).fit(images, labels)
second.ranking_

# %%
# Only the new candidates took time. Labels are not part of the cache key, so scoring other
# labels of the same images needs no extraction.

names = second.results_["model"]
before = np.concatenate([first.results_["extract_time"], [0, 0]])
rows = np.arange(len(names))
figure, ax = plt.subplots(figsize=(7, 3), layout="constrained")
ax.barh(rows - 0.2, before, height=0.35, label="first run", facecolor="#22577a")
again = second.results_["extract_time"]
ax.barh(rows + 0.2, again, height=0.35, label="second run", facecolor="#f7e0a3", edgecolor="black")
ax.set_yticks(rows, labels=names)
ax.invert_yaxis()
ax.set_xlabel("seconds of extraction")
ax.legend()

# %%
# The folder holds one file for each candidate, with its features and nothing else. Remove
# it when you no longer need the images.

folder.cleanup()
