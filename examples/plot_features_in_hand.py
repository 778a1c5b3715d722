"""
Rank features that you have
===========================

If you have extracted features already, you need neither a network nor torch. Pass one matrix for
each candidate, with the same rows in the same order.
"""

# %%
# Here, the candidates are parts of the 64 pixels of handwritten digits, as if each part came from
# another backbone.

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
# A hundred bootstrap resamples of the rows give confidence intervals. In a notebook, the ranking
# displays as a table:

ranking = rank_features(features, y, n_resamples=100, random_state=0)
ranking

# %%
# The same as a figure. Each bar is the contribution of one component. The mark is their sum, with
# its confidence interval.

ranking.plot()

# %%
# The score is not the only criterion. Filled marks are on the Pareto front of score and width,
# where no other candidate is better in one and at least as good in the other:

ranking.plot(kind="pareto", cost="n_features")
