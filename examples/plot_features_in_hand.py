"""
Features in hand
================

Who has extracted features already needs no network, and no torch: one matrix for each
candidate, the same rows in the same order.
"""

# %%
# Here the candidates are parts of the 64 pixels of handwritten digits, as if each were what
# another backbone sees.

from sklearn.datasets import load_digits

from sklearn_ncti import rank_features

X, y = load_digits(return_X_y=True)
features = {
    "every pixel": X,
    "every second": X[:, ::2],
    "every third": X[:, ::3],
    "upper half": X[:, :32],
    "left half": X.reshape(-1, 8, 8)[:, :, :4].reshape(-1, 32),
}

# %%
# Drawing the rows anew a hundred times says how sure the order is. In a notebook the ranking
# shows itself as a table:

ranking = rank_features(features, y, n_resamples=100, random_state=0)
ranking

# %%
# The same as a picture. Each bar is what one component adds; the mark is their sum, with its
# interval.

ranking.plot()

# %%
# The best score is not all that counts. Here what is beaten in both score and width is hollow:

ranking.plot(kind="pareto", cost="n_features")
