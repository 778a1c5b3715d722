"""HalvingModelSelector: many candidates on few rows, and more rows for those that may be best."""

import math
import tempfile
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from numbers import Integral, Real
from typing import Any

import numpy as np
from sklearn.exceptions import FitFailedWarning
from sklearn.utils._param_validation import Interval, StrOptions

from .._ranking.iterations import join_iterations
from .._scoring.bootstrap import MAX_RESAMPLES, surely_behind
from .._utils.stacklevel import find_stack_level
from .._utils.validation import encode_labels
from .budget import affordable, best_first
from .jobs import OUT_OF_TIME, FitTask
from .part_runner import PartRunner
from .parts import nested_parts, part_sizes
from .selector import ModelSelector
from .weights import NewWeights


@dataclass
class _Search:
    """State of a search.

    Attributes
    ----------
    left : list of (str, transformer)
        Candidates that may be among the wanted ones, best first.

    n_possible : int
        Number of iterations until all rows are used.

    baseline, prior : dict of str to float, or None
        Numbers by name of candidate.

    callbacks : callback context
        That of the fit.

    left_out : dict of str to str
        Names of candidates that did not start, and why.

    rankings, n_samples : list
        Ranking and number of rows of each iteration.

    stop : str
        Why the search ended before it was done; empty if it did not.

    new_weights : NewWeights, default=None
        Weights that are deleted when candidates are dropped; None to keep all.
    """

    left: list
    n_possible: int
    baseline: Mapping[str, float] | None
    prior: Mapping[str, float] | None
    callbacks: Any
    left_out: dict
    rankings: list = field(default_factory=list)
    n_samples: list = field(default_factory=list)
    stop: str = ""
    new_weights: NewWeights | None = None


class HalvingModelSelector(ModelSelector):
    """Rank many candidates by successive halving, with more images for those that may be best.

    All candidates start on a small stratified part of the rows. Candidates that the resamples
    exclude from the best are dropped, and the others get `factor` times as many rows, until one
    is left or all rows are used. The parts are nested: the features of earlier parts are kept,
    and only new images go through the networks.

    A candidate is compared only with those of the same iteration. The ranking is by the
    iteration that a candidate reached, then by its score there.

    Read more in the :ref:`User Guide <halving>`.

    Parameters
    ----------
    models : list
        The candidates, as for :class:`ModelSelector`.

    factor : float, default=3
        Ratio of the numbers of rows of successive iterations; more than 1.

    min_samples : int or "auto", default="auto"
        Least number of rows of the first iteration, at least two for each class. "auto" for ten
        of each class, and 1.5 for each class and each principal component of the scorer: 111 for
        ten classes and 64 components.

    confidence : float, default=0.95
        Probability with which the wanted candidates are kept, as far as the resamples can tell:
        they describe the sampling of the rows. A candidate is dropped if it is further behind
        than the errors of the resamples explain (multiple comparisons with the best). The risk
        of 1 - confidence is shared among the iterations: see :doc:`/many_candidates`.

    n_best : int, default=1
        Number of first candidates that are wanted. Candidates that are equal to one of them are
        kept as well.

    elimination : {"confidence", "factor"}, default="confidence"
        "confidence" drops a candidate only if the resamples exclude it, so that no, few or nearly
        all candidates may be dropped. "factor" then also drops all but the best 1 / `factor` of
        the candidates of an iteration, as scikit-learn's halving searches do: a bound on the work,
        but with no statement about the risk.

    scorer : "ncti", "robust", estimator, or list of these, default=None
        Scorer of a feature matrix, as for :class:`ModelSelector`. None for "robust", which
        measures held-out rows: scores of fitted rows are too optimistic on small parts.

    cv : int, "loo", cross-validation splitter or iterable of splits, default=None
        As for :class:`ModelSelector`. Only "loo" can be resampled.

    normalization : {"minmax", "zscore", "rank", "absolute"}, default="minmax"
        How components become comparable, over the candidates of an iteration.

    weights : dict of str to float, default=None
        Weight of components in the sum, by name; 1 for those that are not named.

    n_resamples : int, default=200
        Number of bootstrap resamples in each iteration, from 40 to 100,000.

    random_state : int, RandomState instance or None, default=0
        Controls the parts and the resamples. With an int, a fit that was stopped goes on where it
        was (see `memory`); with None, its parts are others.

    baseline : dict of str to float, default=None
        Numbers by name of candidate with which the ranking is compared.

    prior : dict of str to float, list of dict, "imagenet" or "weights", default=None
        What is known of candidates without the target data, as one more component of the
        score in every iteration; see :ref:`prior`. Candidates start in its order, but for
        "weights", which is known only then.

    max_download : float, default=None
        Gigabytes (1e9 bytes) of weights that may be downloaded, by the estimate of
        :meth:`ModelSelector.plan`. Candidates whose weights do not fit are left out, in the
        order of the prior, or else of published ImageNet accuracies.

    max_time : float, default=None
        Seconds for the whole search. As many candidates start, in the same order, as the first
        iteration has time for by the estimate of :meth:`ModelSelector.plan`: each iteration has
        the same share. When the time is over, no further candidate is started. An iteration that
        is not complete by then is left out of the ranking, unless it is the first: its candidates
        are ranked, and the others are left out. One candidate always runs.

    keep_weights : bool, default=True
        Whether downloaded weights of dropped candidates stay in the cache of the Hugging Face
        hub. If False, they are deleted after each iteration; weights that were in the cache
        before the fit, or that are not from timm's own repositories, are not. See
        :ref:`keep_weights`.

    final_estimator : estimator, default=None
        Fitted on the features of the best candidate, for `predict` and others.

    refit : bool, default=True
        Whether to fit the best candidate, and the final estimator, on all of `X`.

    n_jobs : int, default=None
        Number of candidates that run at the same time, as for :class:`ModelSelector`.

    error_score : "raise" or float, default=nan
        Score of a failed candidate, which is ranked last whatever the value. "raise" stops at
        the first failure.

    memory : str, path or joblib.Memory, default=None
        Folder in which features are cached, as for :class:`ModelSelector`. A fit that was stopped
        in any iteration then extracts only what is missing.

    on_bad_image : {"raise", "skip"}, default="raise"
        How to handle images that image backbones cannot read.

    verbose : int, default=0
        If positive, show progress on the standard error stream, as for :class:`ModelSelector`,
        with the iteration, the candidates that are left and the one that leads.

    Attributes
    ----------
    ranking_ : Ranking
        The candidates by the iteration that they reached, then by their score.

    results_ : dict of str to ndarray of shape (n_candidates,)
        As for :class:`ModelSelector`, with the `traceback` of a failure, from the last iteration
        of each candidate, with the columns `iteration` (from 1; 0 for a candidate that was left
        out) and `n_samples` (rows of that iteration). `best_probability` is NaN for candidates
        that were dropped.

    rankings_ : list of Ranking
        The ranking of each iteration.

    n_iterations_ : int
        Number of iterations.

    n_candidates_ : list of int
        Number of candidates in each iteration.

    n_resources_ : list of int
        Number of rows in each iteration.

    n_possible_iterations_ : int
        Number of iterations until all rows are used.

    best_index_ : int
        Position of the best candidate in `results_`.

    best_name_ : str
        Name of the best candidate.

    best_score_ : float
        Its score in its last iteration; larger is better.

    best_model_ : estimator
        The best candidate, fitted on all rows; with a final estimator, the fitted pipeline.

    n_skipped_images_ : int
        Images that could not be read and were left out, among those that were used.

    classes_ : ndarray of shape (n_classes,)
        The class labels.

    n_features_in_ : int
        Number of features seen in `fit`, where the best candidate takes a feature matrix.

    feature_names_in_ : ndarray of shape (n_features_in_,)
        Their names, where it has seen names.

    See Also
    --------
    ModelSelector : Rank all candidates on all rows.

    Notes
    -----
    Successive halving is that of Jamieson and Talwalkar, "Non-stochastic Best Arm Identification
    and Hyperparameter Optimization", AISTATS 2016. Here the resamples say who is dropped.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.decomposition import PCA
    >>> from sklearn_ncti import HalvingModelSelector
    >>> X, y = load_digits(return_X_y=True)
    >>> pool = [(f"pca{k}", PCA(n_components=k)) for k in (1, 2, 3, 4, 6, 8, 16)]
    >>> selector = HalvingModelSelector(pool).fit(X, y)
    >>> selector.best_name_
    'pca16'
    >>> selector.n_resources_, selector.n_candidates_
    ([200, 599], [7, 2])
    """

    _default_scorer = "robust"

    _parameter_constraints: dict = {
        **ModelSelector._parameter_constraints,
        "factor": [Interval(Real, 1, None, closed="neither")],
        "min_samples": [Interval(Integral, 2, None, closed="left"), StrOptions({"auto"})],
        "confidence": [Interval(Real, 0, 1, closed="neither")],
        "n_best": [Interval(Integral, 1, None, closed="left")],
        "elimination": [StrOptions({"confidence", "factor"})],
        "n_resamples": [Interval(Integral, 40, MAX_RESAMPLES, closed="both")],
        "max_time": [Interval(Real, 0, None, closed="neither"), None],
        "max_download": [Interval(Real, 0, None, closed="left"), None],
        "keep_weights": ["boolean"],
    }

    def __init__(
        self,
        models: Sequence[Any],
        *,
        factor: float = 3,
        min_samples: int | str = "auto",
        confidence: float = 0.95,
        n_best: int = 1,
        elimination: str = "confidence",
        scorer: Any = None,
        cv: Any = None,
        normalization: str = "minmax",
        weights: Mapping[str, float] | None = None,
        n_resamples: int = 200,
        random_state: Any = 0,
        baseline: Mapping[str, float] | None = None,
        prior: Any = None,
        max_time: float | None = None,
        max_download: float | None = None,
        keep_weights: bool = True,
        final_estimator: Any = None,
        refit: bool = True,
        n_jobs: int | None = None,
        error_score: str | float = np.nan,
        memory: Any = None,
        on_bad_image: str = "raise",
        verbose: int = 0,
    ):
        super().__init__(
            models,
            scorer=scorer,
            cv=cv,
            normalization=normalization,
            weights=weights,
            n_resamples=n_resamples,
            random_state=random_state,
            baseline=baseline,
            prior=prior,
            final_estimator=final_estimator,
            refit=refit,
            n_jobs=n_jobs,
            error_score=error_score,
            memory=memory,
            on_bad_image=on_bad_image,
            verbose=verbose,
        )
        self.factor = factor
        self.min_samples = min_samples
        self.confidence = confidence
        self.n_best = n_best
        self.elimination = elimination
        self.max_time = max_time
        self.max_download = max_download
        self.keep_weights = keep_weights

    def _max_rankings(self, context):
        return len(self._sizes(context))

    def _sizes(self, context):
        """Return the number of rows of each iteration that is possible."""
        n_components = getattr(context.scorers.ranking, "n_components", 0)
        codes = encode_labels(context.y)[1]
        return part_sizes(codes, self.factor, self.min_samples, n_components)

    def _rank(self, candidates, context, callbacks, baseline, prior):
        """Rank the candidates in iterations; return the context, and features of the best."""
        codes, sizes = encode_labels(context.y)[1], self._sizes(context)
        ordered = best_first(candidates, prior)
        left_out = affordable(
            ordered,
            context.X,
            sizes[0],
            len(sizes),
            max_time=self.max_time,
            max_download=self.max_download,
        )
        starting = [item for item in ordered if item[0] not in left_out]
        search = _Search(starting, len(sizes), baseline, prior, callbacks, left_out)
        if self.max_time is not None:
            context = replace(context, deadline=time.time() + self.max_time)
        search.new_weights = None if self.keep_weights else NewWeights()
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            runner = PartRunner(replace(context, kept_in=folder))
            for rows in nested_parts(codes, sizes, context.resampling.seed):
                self._iterate(search, runner, rows, context)
                if search.stop or len(search.left) <= self.n_best:
                    break
            best = search.rankings[-1].best
            extracted = runner.features_of_all(best, dict(candidates)[best])
        self.rankings_ = search.rankings
        self.n_iterations_, self.n_possible_iterations_ = len(search.rankings), len(sizes)
        self.n_candidates_ = [len(ranking) for ranking in search.rankings]
        self.n_resources_ = search.n_samples
        ranking = join_iterations(
            search.rankings,
            search.n_samples,
            [name for name, _ in candidates],
            search.left_out,
            self._notes(search),
        )
        context = replace(context, unreadable=runner.unreadable)
        self._set_results(ranking, context)
        return context, extracted

    def _iterate(self, search, runner, rows, context):
        """Rank the candidates that are left on a part with these rows more."""
        number = len(search.rankings) + 1
        stage = f"iteration {number} of {search.n_possible}: "
        context.progress.start(len(search.left), stage, context.deadline)
        context.progress.tell(f"{len(search.left)} candidates, {len(rows)} rows more")
        tasks = [
            FitTask(search.callbacks.subcontext(task_name=f"score-{number}-{name}"), self)
            for name, _ in search.left
        ]
        results = runner.run(search.left, rows, tasks, self.n_jobs)
        late = [result.name for result in results if result.components == OUT_OF_TIME]
        if late:
            search.stop = f"max_time={self.max_time} was over"
        elif number > 1 and all(result.failure for result in results):
            search.stop = f"no candidate could be scored on {runner.n_rows} rows"
            _warn_of_failures(results, search.stop)
        # The best of an incomplete iteration may be missing; the first one must do.
        if search.stop and number > 1:
            return
        why = f"left out: not started before max_time={self.max_time} was over"
        search.left_out |= dict.fromkeys(late, why)
        results = [result for result in results if result.name not in late]
        ranking = self._ranking_of(results, context, search.baseline, search.prior)
        search.rankings.append(ranking)
        search.n_samples.append(runner.n_rows)
        ranked = search.left
        search.left = self._going_on(ranked, ranking, search.n_possible)
        if search.new_weights is not None:
            search.new_weights.delete(ranked, search.left)
        context.progress.lead(ranking, f", {len(search.left)} candidates left")
        is_last = number == search.n_possible or len(search.left) <= self.n_best
        if not is_last and time.time() > context.deadline:
            search.stop = f"max_time={self.max_time} was over"

    def _going_on(self, candidates, ranking, n_iterations):
        """Return the candidates that may be among the wanted ones, best first."""
        scored = ranking.comparable
        risk = (1 - self.confidence) / max(1, n_iterations - 1)
        behind = surely_behind(
            ranking.results["score"][scored], ranking.resamples[:, scored], self.n_best, risk
        )
        staying = scored[~behind]
        if self.elimination == "factor":
            limit = max(self.n_best, math.ceil(len(ranking) / self.factor))
            # The ranks of equal candidates are equal.
            staying = staying[ranking.results["rank"][staying] <= limit]
        names = ranking.results["model"][staying]
        models = dict(candidates)
        return [(str(name), models[name]) for name in names]

    def _notes(self, search):
        """Return what the ranking must say of its iterations."""
        steps = [
            f"{n} on {rows} rows"
            for n, rows in zip(self.n_candidates_, self.n_resources_, strict=True)
        ]
        done = self.n_iterations_ == self.n_possible_iterations_
        found = [
            f"successive halving, candidates in each iteration: {', '.join(steps)}"
            + ("" if done else f" (of at most {self.n_possible_iterations_} iterations)")
            + "; the order is by the iteration reached, then by the score in it"
        ]
        if search.stop:
            found.append(
                f"{search.stop}: {len(search.left)} candidates that started may be the best"
            )
        if search.left_out:
            by = "prior" if search.prior else "published ImageNet accuracy, where it is known"
            found.append(
                f"budget: {len(search.left_out)} candidates did not start; they were taken in the "
                f"order of their {by}"
            )
        return found


def _warn_of_failures(results, stop):
    lines = [f"{result.name}: {result.error.partition(chr(10))[0]}" for result in results]
    errors = "; ".join(lines)
    warnings.warn(
        f"{stop}, so that the ranking on fewer rows stays ({errors}).",
        FitFailedWarning,
        stacklevel=find_stack_level(),
    )
