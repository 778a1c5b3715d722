"""
Search a grid of backbones
==========================

With NCTI as the scoring of ``GridSearchCV``, one search chooses a backbone and the steps after it.
"""

# %%
# The pipeline has a backbone, an optional scaling of its features, and the scorer as the last
# step. Scores are computed on held-out rows.

from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_ncti import NCTIScorer, TimmBackbone, ncti_refit, ncti_scoring
from sklearn_ncti.datasets import load_digit_images, load_zoo

images, labels = load_digit_images()
images, labels = images[:450], labels[:450]
zoo = {name: backbone.model for name, backbone in load_zoo()}
pipeline = Pipeline(
    [
        ("backbone", TimmBackbone(zoo["resnet-all-long"])),
        ("scaler", StandardScaler()),
        ("ncti", NCTIScorer(n_components=32)),
    ]
)
grid = {
    "backbone__model": [zoo["resnet-all-long"], zoo["vit-all-short"]],
    "scaler": [StandardScaler(), "passthrough"],
}
search = GridSearchCV(pipeline, grid, scoring=ncti_scoring, refit=ncti_refit, cv=3)
search.fit(images, labels)

# %%
# ``refit=ncti_refit`` picks by the sum of the normalized components, as a ranking does:

name_of = {model: name for name, model in zoo.items()}
name_of[search.best_params_["backbone__model"]], search.best_params_["scaler"]

# %%
# ``cv_results_`` holds the held-out components of each point of the grid:

columns = ("mean_test_seli", "mean_test_ncc", "mean_test_vc")
for i, params in enumerate(search.cv_results_["params"]):
    values = "  ".join(f"{search.cv_results_[column][i]:9.3f}" for column in columns)
    print(f"{name_of[params['backbone__model']]:16} {params['scaler']!s:17} {values}")
