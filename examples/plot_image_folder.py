"""
A folder of images
==================

From a folder with one sub-folder for each class to a ranking of networks, and to the picture
of how well it agrees with what fine-tuning them gave.
"""

# %%
# The folder would be yours. This one holds handwritten digits, sixty of each.

import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from sklearn_ncti import ModelSelector, load_image_folder
from sklearn_ncti.datasets import load_digit_images, load_zoo, load_zoo_accuracies

folder = tempfile.TemporaryDirectory()
images, digits = load_digit_images()
for digit in range(10):
    Path(folder.name, f"digit-{digit}").mkdir()
    for i in np.flatnonzero(digits == digit)[:60]:
        Image.fromarray(images[i]).save(Path(folder.name, f"digit-{digit}", f"{i}.png"))

paths, labels = load_image_folder(folder.name)
len(paths), sorted(set(labels.tolist()))[:3]

# %%
# The candidates would be names such as ``"resnet18.a1_in1k"`` or ``"convnext_t*"``. The zoo
# holds eight very small networks, of which two were never trained.

selector = ModelSelector(load_zoo()).fit(paths, labels)
selector.ranking_

# %%
# ``best_model_`` is the winner, ready to give features, and ``transform`` asks it.

selector.transform(paths[:5]).shape

# %%
# What the networks reach when they are fine-tuned is known for the zoo, and only there. Above
# and to the left of the others lies what the ranking underrates.

selector.ranking_.plot(kind="agreement", accuracies=load_zoo_accuracies())

# %%
folder.cleanup()
