"""
Use several machines with Dask
==============================

Candidates are independent of each other until the last step, so they can run on all machines
of a cluster.
"""

# %%
# Connect to a real cluster by its address, ``Client("scheduler:8786")``. Its machines need this
# package, and the files of images and weights under the same paths. The cluster of this example
# has two workers in one process.

import tempfile

import joblib
from distributed import Client

from sklearn_ncti import ModelSelector
from sklearn_ncti.datasets import load_digit_images, load_zoo

client = Client(processes=False, n_workers=2, threads_per_worker=1, dashboard_address=None)
images, labels = load_digit_images()
images, labels = images[:900], labels[:900]
features = tempfile.TemporaryDirectory()

# %%
# Only the backend of joblib changes. All machines must have access to the folder of cached
# features.

models = load_zoo()[:4]
with joblib.parallel_config(backend="dask"):
    selector = ModelSelector(models, n_jobs=-1, memory=features.name, refit=False)
    selector.fit(images, labels)

selector.ranking_

# %%
# The ranking is the same as without a cluster:

alone = ModelSelector(models, refit=False).fit(images, labels)
selector.ranking_.names, alone.ranking_.names == selector.ranking_.names

# %%
client.close()
features.cleanup()
