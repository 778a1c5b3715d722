"""
Rank networks on a folder of images
===================================

A folder with one sub-folder for each class gives a ranking of networks. A figure shows how well
the ranking agrees with the accuracies after fine-tuning.
"""

# %%
# Use your own folder here. The folder of this example holds handwritten digits, sixty of each.

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
# Your candidates would be names such as ``"resnet18.a1_in1k"`` or ``"convnext_t*"``. The zoo
# of this example holds eight very small networks, two of them untrained.

selector = ModelSelector(load_zoo()).fit(paths, labels)
selector.ranking_

# %%
# ``best_model_`` is the best candidate, fitted. ``transform`` returns its features.

selector.transform(paths[:5]).shape

# %%
# The accuracies after fine-tuning are known for the zoo only. The ranking underrates the
# candidates above and to the left of the others.

selector.ranking_.plot(kind="agreement", accuracies=load_zoo_accuracies())

# %%
folder.cleanup()
