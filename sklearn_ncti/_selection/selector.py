"""ModelSelector, from a list of candidates to the best one."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from numbers import Integral, Real
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, TransformerMixin, _fit_context, clone
from sklearn.pipeline import Pipeline
from sklearn.utils import get_tags
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_consistent_length, check_is_fitted

from .._ranking.rank_features import check_baseline, rank_results, summand_names
from .._ranking.report.page import ranking_report, write_report
from .._scoring.bootstrap import MAX_RESAMPLES, check_resampling
from .._scoring.normalization import NORMALIZATIONS, check_weights
from .._scoring.scorers import check_scorers, holds_rows_out, is_pair
from .._utils.sklearn_compat import CallbackSupportMixin
from .._utils.validation import is_continuous
from ..backbones._backbone import Backbone
from ..backbones._sources import check_sized, images_and_labels
from .candidates import (
    by_name,
    check_devices,
    named_pairs,
    named_transformers,
    pretrained_of,
)
from .context import FitContext, checked_rows, open_memory, with_images
from .examples import summarize
from .features import extract
from .jobs import FitTask, run_candidates
from .plan import Plan, facts_of_candidates, make_plan
from .prior import WEIGHTS, imagenet_accuracies, known_prior, weights_prior
from .progress import FitProgress
from .source_attributes import check_source, measure_candidates, target_widths
from .winner import timm_candidate


def _final_estimator_has(method: str) -> Callable[[Any], bool]:
    """Whether the selector has a final estimator with `method`."""

    def check(self):
        getattr(self.final_estimator, method)
        return True

    return check


class ModelSelector(CallbackSupportMixin, TransformerMixin, BaseEstimator):
    """Rank candidate backbones on labelled data, and keep the best one.

    Every candidate turns `X` into features. A scorer measures how close these are to neural
    collapse. The components are normalised over the candidates and added. Nothing is
    fine-tuned. Candidates are usually ``timm`` models over images, but any scikit-learn
    transformer will do.

    A candidate that fails at any step is ranked last with its error, and a warning names it on
    one line; ``results_["traceback"]`` says where it failed.
    Names are checked before anything is downloaded. Image backbones of one input geometry
    share their images: each is read, decoded and resized once. Text backbones of one tokenizer
    share their tokens.

    Read more in the :ref:`User Guide <selection>`.

    Parameters
    ----------
    models : list
        The candidates. Each item is one of

        - the name of a ``timm`` model, such as ``"resnet18.a1_in1k"``,
          ``"local-dir:folder"`` or ``"hf-hub:owner/name"``;
        - a wildcard of ``timm`` names with pre-trained weights, such as ``"convnext_t*"``;
        - a torch module that returns features, see :class:`TorchBackbone`;
        - a :class:`TextBackbone`, of several layers a candidate for each, or a
          ``SentenceTransformer``;
        - a transformer, such as ``TimmBackbone("resnet18", batch_size=8)`` or ``PCA()``;
        - a pair (name, any of these but a wildcard).

        Items without a name of their own are named after the model or the class; those of a
        local folder by the folder, with as many of the folders above it as tell it apart from
        the other candidates: "net", or "a/net" and "b/net".

    scorer : "ncti", "robust", estimator, or list of these, default=None
        Scorer of a feature matrix, as in :func:`rank_features`. The first of a list ranks, the
        others are shown as additional columns. None for ``NCTIScorer()``. Scorers of
        source-class probabilities (``companions.LEEP`` and ``companions.NCE``) get those of the
        classification head of a :class:`TimmBackbone`, computed in the same pass as the
        features. A name whose columns are in `results_` already is refused.

    cv : int, "loo", cross-validation splitter or iterable of splits, default=None
        Cross-validation strategy used to score held-out rows: `cv` of the :class:`NCTIScorer`
        or component that ranks. Recommended for small samples. If None, the scorer's own
        setting is used.

    normalization : {"minmax", "zscore", "rank", "absolute"}, default="minmax"
        How components become comparable before they are added, see :func:`rank_features`.

    weights : dict of str to float, default=None
        Weight of components in the sum, by name; 1 for those that are not named.

    n_resamples : int, default=0
        Number of stratified bootstrap resamples, at most 100,000, for confidence intervals of
        the ranking; see :func:`rank_features`.

    random_state : int, RandomState instance or None, default=None
        Controls the bootstrap resampling. Pass an int for reproducible output across calls.

    baseline : dict of str to float, default=None
        Numbers by name of candidate, such as published accuracies, with which the ranking is
        compared. In place of its name, the model of a candidate may stand, such as
        ``"local-dir:folder"``, where no other candidate has that model.

    prior : dict of str to float, list of dict, "imagenet" or "weights", default=None
        What is known of candidates without the target data, as one more component of the
        score; see :ref:`prior`. Names are as in `baseline`. "imagenet" takes the published top-1
        accuracy of timm models from :func:`~sklearn_ncti.datasets.load_catalogue`. "weights"
        measures the spectra of the weight matrices of networks (minus the weighted alpha of
        Martin, Peng and Mahoney, arXiv 2002.06716).

    final_estimator : estimator, default=None
        Fitted on the features of the best candidate, for `predict`, `predict_proba`,
        `decision_function` and `score`.

    refit : bool, default=True
        Whether to fit the best candidate, and the final estimator, on all of `X`.

    n_jobs : int, default=None
        Number of candidates that run at the same time, through joblib. None for 1. Image
        backbones run in threads unless another backend of joblib is chosen, and are spread
        over the GPUs of the machine in turns.

    error_score : "raise" or float, default=nan
        Score of a failed candidate, which is ranked last whatever the value. "raise" stops at
        the first failure.

    memory : str, path or joblib.Memory, default=None
        Folder in which features are cached, so that the next fit extracts only what is
        missing: after a change of the list, or where a run was stopped. The cache key of image
        backbones holds all that determines the features: the weights, or what a torch module
        computes for two fixed images; the preparation, precision and kind of device; and the
        images. A file counts as unchanged while its path, size and time of change are the
        same. If the folder cannot be used, a warning says so, and the fit goes on without it.
        Use only folders that you trust: cached features of other candidates are unpickled.

    on_bad_image : {"raise", "skip"}, default="raise"
        How to handle images that image backbones cannot read. "raise" ends the fit with an
        error that names the first. "skip" leaves their rows out for all candidates, and warns.

    verbose : int, default=0
        If positive, show progress on the standard error stream: one bar for all candidates on
        a terminal and in a notebook, and a few lines elsewhere; see :ref:`progress`. Progress
        of single backbones is then part of it.

    Attributes
    ----------
    ranking_ : Ranking
        The candidates, best first. Its `notes` say what a reader must know, for example that
        the rows are few.

    results_ : dict of str to ndarray of shape (n_candidates,)
        In the manner of ``cv_results_``, in the order of the candidates: `model`, `rank`,
        `score`, `seli`, `ncc`, `vc`, `normalized_seli`, `normalized_ncc`, `normalized_vc`,
        `n_features`, `shrinkage`, `extract_time` and `score_time` in seconds, and the
        `error` and its `traceback` as text (both empty where there was none). Of image
        backbones also `images_per_second`, `decode_time` (seconds of waiting for images) and
        `device_time` (seconds of the network), NaN for cached features; `n_parameters`, and the
        `license` of the weights as timm states it, empty where it does not. Of text backbones also
        `texts_per_second` and `tokens_per_second` (of the network alone) and `n_truncated`
        (texts that are longer than the network takes). With `n_resamples` also
        `score_low`, `score_high`, `rank_low`, `rank_high`, `held` (whether a bound of the
        normalisation holds the score in at least half of the resamples),
        `best_probability` and `group`; with a `prior` also `prior`, `normalized_prior` and
        `prior_imputed`; and of a :class:`HalvingModelSelector` `iteration` and `n_samples`.

    best_index_ : int
        Position of the best candidate in `results_`.

    best_name_ : str
        Name of the best candidate.

    best_score_ : float
        Its score; larger is better.

    best_model_ : estimator
        The best candidate, fitted; with a final estimator, the fitted pipeline of both. Only
        with ``refit=True``.

    n_skipped_images_ : int
        Images that could not be read and were left out.

    classes_ : ndarray of shape (n_classes,)
        The class labels. Absent where `y` holds real numbers.

    n_features_in_ : int
        Number of features seen in `fit`, where the best candidate takes a feature matrix.

    feature_names_in_ : ndarray of shape (n_features_in_,)
        Their names, where it has seen names.

    See Also
    --------
    rank_features : Rank feature matrices that are there already.
    TimmBackbone : Features of a timm model, with parameters for device and batches.

    Examples
    --------
    Candidates need not be networks. Here two ways to reduce a feature matrix are compared:

    >>> from sklearn.datasets import load_digits
    >>> from sklearn.decomposition import PCA
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.random_projection import GaussianRandomProjection
    >>> from sklearn_ncti import ModelSelector
    >>> X, y = load_digits(return_X_y=True)
    >>> selector = ModelSelector(
    ...     [
    ...         ("pca", PCA(n_components=16)),
    ...         ("random", GaussianRandomProjection(n_components=16, random_state=0)),
    ...     ],
    ...     final_estimator=LogisticRegression(max_iter=1000),
    ... ).fit(X, y)
    >>> selector.best_name_
    'pca'
    >>> selector.predict(X[:3])
    array([0, 1, 2])
    """

    _default_scorer = "ncti"

    _parameter_constraints: dict = {
        "models": [list, tuple],
        "scorer": [
            HasMethods(["fit", "score"]),
            StrOptions({"ncti", "robust"}),
            list,
            tuple,
            None,
        ],
        "cv": ["cv_object", StrOptions({"loo"})],
        "normalization": [StrOptions(set(NORMALIZATIONS))],
        "weights": [Mapping, None],
        "n_resamples": [Interval(Integral, 0, MAX_RESAMPLES, closed="both")],
        "random_state": ["random_state"],
        "baseline": [Mapping, None],
        "prior": [Mapping, list, tuple, StrOptions({"imagenet", WEIGHTS}), None],
        "final_estimator": [HasMethods(["fit"]), None],
        "refit": ["boolean"],
        "n_jobs": [Integral, None],
        "error_score": [StrOptions({"raise"}), Real],
        "memory": [str, Path, HasMethods(["cache"]), None],
        "on_bad_image": [StrOptions({"raise", "skip"})],
        "verbose": ["verbose"],
    }

    def __init__(
        self,
        models: Sequence[Any],
        *,
        scorer: Any = None,
        cv: Any = None,
        normalization: str = "minmax",
        weights: Mapping[str, float] | None = None,
        n_resamples: int = 0,
        random_state: Any = None,
        baseline: Mapping[str, float] | None = None,
        prior: Any = None,
        final_estimator: Any = None,
        refit: bool = True,
        n_jobs: int | None = None,
        error_score: str | float = np.nan,
        memory: Any = None,
        on_bad_image: str = "raise",
        verbose: int = 0,
    ):
        self.models = models
        self.scorer = scorer
        self.cv = cv
        self.normalization = normalization
        self.weights = weights
        self.n_resamples = n_resamples
        self.random_state = random_state
        self.baseline = baseline
        self.prior = prior
        self.final_estimator = final_estimator
        self.refit = refit
        self.n_jobs = n_jobs
        self.error_score = error_score
        self.memory = memory
        self.on_bad_image = on_bad_image
        self.verbose = verbose

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Parameters of the selector, and with `deep` of the candidates given as pairs.

        Parameters
        ----------
        deep : bool, default=True
            Whether to include ``name`` and ``name__parameter`` of every (name, estimator)
            pair in `models`.

        Returns
        -------
        params : dict of str to object
            Values by parameter name.
        """
        params = super().get_params(deep=deep)
        if deep:
            # The names of the pairs are known without looking anything up, so theirs are the
            # parameters that can be reached, as in FeatureUnion.
            for name, candidate in named_pairs(self.models).items():
                params[name] = candidate
                if hasattr(candidate, "get_params"):
                    values = candidate.get_params(deep=True)
                    params |= {f"{name}__{key}": value for key, value in values.items()}
        return params

    def set_params(self, **params: Any) -> Self:
        """Set parameters of the selector or of candidates, as `get_params` names them.

        Parameters
        ----------
        **params : dict
            Values by name. The name of a pair replaces that candidate.

        Returns
        -------
        self : ModelSelector
            The selector itself.
        """
        if "models" in params:
            self.models = params.pop("models")
        replaced = {name: params.pop(name) for name in named_pairs(self.models) if name in params}
        if replaced:
            self.models = [
                (item[0], replaced.get(item[0], item[1])) if is_pair(item) else item
                for item in self.models
            ]
        return super().set_params(**params)

    @_fit_context(prefer_skip_nested_validation=False)
    def fit(self, X: Any, y: ArrayLike | None = None) -> Self:
        """Extract, score and rank; then fit the best candidate.

        Parameters
        ----------
        X : array-like, sequence or data set of length n_samples
            What every candidate takes: images as a sequence of paths, an array or a data set
            (see :ref:`datasets`), texts as a sequence of strings, or a feature matrix for
            ordinary transformers.

        y : array-like of shape (n_samples,), default=None
            Class of each row, or with scorers of numbers (``companions.LogME`` and regressors) a
            real number. None only for a data set that holds the labels: one of torch, a
            Hugging Face ``Dataset``, or a list of (image, label) pairs.

        Returns
        -------
        self : ModelSelector
            The fitted selector.

        Raises
        ------
        ValueError
            If there are no candidates, two have one name, a name is unknown, `y` is no
            vector of at least two classes or has another length than `X`, if no network has a
            device to run on, if an image cannot be read, or if all candidates fail.

        TypeError
            If an item of `models` is no candidate, or `scorer` cannot score fitted rows.
        """
        candidates, context, baseline, prior = self._check(X, y)
        callbacks = self._init_callback_context(
            max_subtasks=self._max_rankings(context) * len(candidates) + bool(self.refit)
        )
        with FitTask(callbacks, self).running(X, y):
            with context.progress:
                context, extracted = self._rank(candidates, context, callbacks, baseline, prior)
            if self.refit:
                subcontext = callbacks.subcontext(task_name="refit-best-model")
                with FitTask(subcontext, self).running(X, y):
                    self._refit(candidates[self.best_index_][1], context, extracted)
        return self

    def _check(self, X, y):
        """Return candidates, context, baseline and prior, checked before any work begins."""
        if y is None:
            X, y = _with_own_labels(X)
        check_sized(X)
        scorers = check_scorers(self._default_scorer if self.scorer is None else self.scorer)
        y = scorers.check_labels(y)
        check_consistent_length(X, y)
        candidates = named_transformers(self.models, reserved=self.get_params(deep=False))
        check_devices([model for _, model in candidates])
        scorers = replace(scorers, ranking=_held_out(scorers.ranking, self.cv))
        names = [name for name, _ in candidates]
        prior = known_prior(by_name(self.prior, candidates), candidates, self.normalization)
        check_weights(self.weights, summand_names(scorers.ranking, prior))
        baseline = check_baseline(by_name(self.baseline, candidates), names)
        resampling = check_resampling(self.n_resamples, self.random_state, scorers.ranking, y)
        context = FitContext(
            X,
            y,
            scorers,
            resampling,
            open_memory(self.memory),
            on_bad_image=self.on_bad_image,
            error_score=self.error_score,
            progress=FitProgress(type(self).__name__, self.verbose),
            only_scored=self.final_estimator is None,
            needs_weighted_alpha=self.prior == WEIGHTS,
        )
        return (
            candidates,
            with_images(context, [model for _, model in candidates]),
            baseline,
            prior,
        )

    def _max_rankings(self, context):
        """Return how often the candidates are ranked at most."""
        return 1

    def plan(self, X: Any) -> Plan:
        """Return what a fit would download and cost, without downloading anything.

        Sizes and times are estimates from the published facts of models of images. A small
        network is run to calibrate them, which takes some tenths of a second. The time of a text
        encoder, and the size of one that must be downloaded, are unknown.

        Parameters
        ----------
        X : array-like or sequence of length n_samples
            As in `fit`.

        Returns
        -------
        plan : Plan
            Candidates, downloads, time, memory and licenses; a text when it is printed.

        Raises
        ------
        ValueError or TypeError
            If `fit` would not start: there are no candidates, a name is unknown, or `X` holds
            nothing that the candidates take, such as no images.

        Examples
        --------
        >>> import numpy as np
        >>> from sklearn_ncti import ModelSelector
        >>> images = np.zeros((20, 32, 32, 3), dtype=np.uint8)
        >>> plan = ModelSelector(["resnet18.a1_in1k", "vit_tiny_p*_224.augreg_in21k"]).plan(images)
        >>> [candidate.name for candidate in plan.candidates]
        ['resnet18.a1_in1k', 'vit_tiny_patch16_224.augreg_in21k']
        >>> plan.licenses
        {'permissive': 2, 'conditions': 0, 'unknown': 0}
        """
        reserved = self.get_params(deep=False)
        candidates = named_transformers(self.models, reserved=reserved, may_download=False)
        backbones = [model for _, model in candidates if isinstance(model, Backbone)]
        facts = facts_of_candidates(candidates)
        # Candidates of one ranking share their device in nearly all cases.
        if not backbones:
            return make_plan(facts, X)
        return make_plan(
            facts,
            X,
            device=backbones[0].device,
            precision=backbones[0].precision,
            are_images="images" in checked_rows(X, [model for _, model in candidates]),
        )

    def _rank(self, candidates, context, callbacks, baseline, prior):
        """Score and rank the candidates.

        Return the context with the unreadable images, and what the best candidate gives for all
        rows if that is known.
        """
        # All tasks are made before the parallel loop, which pickles what it is given.
        tasks = [
            FitTask(callbacks.subcontext(task_name=f"score-{name}"), self)
            for name, _ in candidates
        ]
        context.progress.start(len(candidates))
        results, context = run_candidates(candidates, context, tasks, self.n_jobs)
        published = None
        if prior is None and self.normalization != "absolute":
            published = imagenet_accuracies(candidates)
        ranking = self._ranking_of(results, context, baseline, prior, published)
        context.progress.lead(ranking)
        self._set_results(ranking, context)
        return context, None

    def _ranking_of(self, results, context, baseline, prior, published=None):
        """Rank the results of candidates; `published` accuracies are named in a note only."""
        notes = [*context.scorers.notes]
        if context.needs_weighted_alpha:
            prior, unknown = weights_prior(results)
            notes += unknown
        return rank_results(
            results,
            normalization=self.normalization,
            weights=self.weights,
            baseline=baseline,
            prior=prior,
            published=published,
            notes=notes,
            error_score=np.nan if self.error_score == "raise" else self.error_score,
        )

    def _set_results(self, ranking, context):
        """Set the fitted attributes."""
        self.ranking_ = ranking
        self.results_ = self.ranking_.results
        if is_continuous(context.readable_y):
            vars(self).pop("classes_", None)
        else:
            self.classes_ = np.unique(context.readable_y)
        self.n_skipped_images_ = len(context.unreadable)
        self._data_summary = summarize(context)
        self.best_index_ = self.ranking_.best_index
        self.best_name_ = self.ranking_.best
        self.best_score_ = float(self.results_["score"][self.best_index_])
        if hasattr(self, "best_model_"):
            del self.best_model_

    def _refit(self, candidate, context, extracted):
        """Fit the best candidate on all rows, and on its features the final estimator."""
        if self.final_estimator is None:
            self.best_model_ = clone(candidate).fit(*context.own_data())
            return
        if extracted is None:
            extracted = extract(clone(candidate), context)
        final = clone(self.final_estimator).fit(extracted.features, extracted.labels)
        self.best_model_ = Pipeline([("model", extracted.model), ("final_estimator", final)])

    def _best(self):
        """Return the fitted best candidate, without the final estimator."""
        check_is_fitted(self, "ranking_")
        if not self.refit:
            raise AttributeError(
                "This ModelSelector was made with refit=False and has no fitted best model; "
                "set refit=True, or fit the candidate named best_name_ yourself."
            )
        return self.best_model_ if self.final_estimator is None else self.best_model_[0]

    def source_attributes(self, X_source: Any, y_source: ArrayLike) -> dict[str, np.ndarray]:
        """Measure every candidate on labelled source data, on which backbones were pre-trained.

        The attributes describe the candidates and take no part in the ranking, see
        :ref:`source-attributes`. The selector need not be fitted. Backbones are frozen, as in
        `fit`; other candidates are fitted to the source rows. `n_jobs`, `memory`,
        `on_bad_image`, `error_score` and `verbose` have the same meaning as in `fit`.

        Parameters
        ----------
        X_source : array-like or sequence of length n_samples
            Source rows, in the form that `fit` takes.

        y_source : array-like of shape (n_samples,)
            Source class of each row.

        Returns
        -------
        attributes : dict of str to ndarray of shape (n_candidates,)
            In the order of the candidates: `model`; the attributes of
            :class:`~sklearn_ncti.SourceAttributes`, `diversity`, `compactness`, `seli`, `nc1`,
            `cdnv` and `class_separation`; `source_score`, the sum of min-max scaled compactness
            and diversity, in [0, 2]; and `error` and `traceback` (both empty where there was
            none). A candidate that failed has NaN. The number of principal components and the
            shrinkage are those of the scorer that ranks, where it is :class:`NCTIScorer` or one
            of its components.

        Raises
        ------
        ValueError
            If `y_source` is no vector of at least two classes or has another length than
            `X_source`, if an image cannot be read, or if all candidates fail. A candidate fails
            if its number of source features is not that of its target features.

        TypeError
            If an item of `models` is no candidate.
        """
        self._validate_params()
        labels = check_source(X_source, y_source)
        candidates = named_transformers(self.models, reserved=self.get_params(deep=False))
        check_devices([model for _, model in candidates])
        scorers = check_scorers(self._default_scorer if self.scorer is None else self.scorer)
        context = FitContext(
            X_source,
            labels,
            scorers,
            memory=open_memory(self.memory),
            on_bad_image=self.on_bad_image,
            error_score=self.error_score,
            progress=FitProgress(type(self).__name__, self.verbose),
        )
        widths = target_widths(getattr(self, "results_", None), scorers.ranking)
        return measure_candidates(candidates, context, self.n_jobs, widths)

    def to_timm(
        self, num_classes: int | None = None, *, candidate: str | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Return the best candidate as a network of timm with a new head, for fine-tuning.

        The network has the weights whose features were ranked. The selector may have
        ``refit=False``. See :ref:`fine-tuning`.

        Parameters
        ----------
        num_classes : int, default=None
            Number of outputs of the new head. None for the number of classes seen in `fit`, or
            for 1 if `y` held real numbers. 0 for no head: the network then returns the features
            that were ranked.

        candidate : str, default=None
            Name of the candidate, such as one of :meth:`Ranking.shortlist`. None for
            `best_name_`.

        Returns
        -------
        network : torch.nn.Module
            The network on the CPU, in training mode, in float32, with all weights trainable. The
            weights of the head are random; the `random_state` of the candidate decides them.

        data_config : dict of str to object
            How images are prepared for it, as they were for the ranking (input size,
            interpolation, crop, mean and standard deviation): the arguments of
            ``timm.data.create_transform``, to which ``is_training=True`` adds augmentation.

        Raises
        ------
        TypeError
            If the candidate is no model of timm, such as a text encoder, a module or another
            transformer.

        ValueError
            If there is no such candidate, or `num_classes` is no integer of at least 0.

        RuntimeError
            If the weights cannot be loaded.

        NotFittedError
            If the selector is not fitted.

        Examples
        --------
        >>> import timm
        >>> from sklearn_ncti import ModelSelector, NCTIScorer, TimmBackbone
        >>> from sklearn_ncti.datasets import load_digit_images
        >>> images, y = load_digit_images()
        >>> images, y = images[y < 3][:60], y[y < 3][:60]
        >>> models = [TimmBackbone(name, pretrained=False) for name in ("test_resnet", "test_vit")]
        >>> selector = ModelSelector(models, scorer=NCTIScorer(4), refit=False).fit(images, y)
        >>> network, data_config = selector.to_timm(candidate="test_resnet")
        >>> network.get_classifier()
        Linear(in_features=96, out_features=3, bias=True)
        >>> transform = timm.data.create_transform(**data_config, is_training=True)
        """
        check_is_fitted(self, "ranking_")
        name = self.best_name_ if candidate is None else candidate
        backbone = timm_candidate(dict(named_transformers(self.models)), name)
        if num_classes is None:
            num_classes = len(getattr(self, "classes_", ())) or 1
        return backbone.to_timm(num_classes)

    def transform(self, X: Any) -> np.ndarray:
        """Features that the best candidate gives.

        Parameters
        ----------
        X : array-like or sequence of length n_samples
            As in `fit`.

        Returns
        -------
        features : ndarray of shape (n_samples, n_features_out)
            The features.
        """
        return self._best().transform(X)

    @available_if(_final_estimator_has("predict"))
    def predict(self, X: Any) -> np.ndarray:
        """Prediction of the final estimator on the features of the best candidate.

        Parameters
        ----------
        X : array-like or sequence of length n_samples
            As in `fit`.

        Returns
        -------
        y : ndarray of shape (n_samples,)
            Predicted labels.
        """
        self._best()
        return self.best_model_.predict(X)

    @available_if(_final_estimator_has("predict_proba"))
    def predict_proba(self, X: Any) -> np.ndarray:
        """Class probabilities of the final estimator.

        Parameters
        ----------
        X : array-like or sequence of length n_samples
            As in `fit`.

        Returns
        -------
        P : ndarray of shape (n_samples, n_classes)
            Probabilities.
        """
        self._best()
        return self.best_model_.predict_proba(X)

    @available_if(_final_estimator_has("decision_function"))
    def decision_function(self, X: Any) -> np.ndarray:
        """Decision function of the final estimator.

        Parameters
        ----------
        X : array-like or sequence of length n_samples
            As in `fit`.

        Returns
        -------
        decision : ndarray of shape (n_samples,) or (n_samples, n_classes)
            Confidence scores.
        """
        self._best()
        return self.best_model_.decision_function(X)

    @available_if(_final_estimator_has("score"))
    def score(self, X: Any, y: ArrayLike) -> float:
        """Score of the final estimator, such as its accuracy.

        Parameters
        ----------
        X : array-like or sequence of length n_samples
            As in `fit`.

        y : array-like of shape (n_samples,)
            True labels.

        Returns
        -------
        score : float
            What ``final_estimator.score`` gives.
        """
        self._best()
        return self.best_model_.score(X, y)

    def get_feature_names_out(self, input_features: ArrayLike | None = None) -> np.ndarray:
        """Names of the features that `transform` gives.

        Parameters
        ----------
        input_features : array-like of str, default=None
            Passed to the best candidate.

        Returns
        -------
        names : ndarray of str
            The names.
        """
        return self._best().get_feature_names_out(input_features)

    def report(
        self,
        path: str | os.PathLike[str],
        *,
        settings: Mapping[str, Any] | None = None,
        overwrite: bool = False,
    ) -> None:
        """Write a report as one HTML file, which loads nothing from the network.

        It has what :meth:`Ranking.report` has, the classes with a few example images or texts, and
        code that fine-tunes the best candidate where that is a timm model or a text backbone.
        Examples are read again from the paths in `X`; of images without a path, and of texts,
        `fit` keeps small copies.

        Parameters
        ----------
        path : str or path
            The file.

        settings : dict of str to object, default=None
            What the report shows as settings. None for the parameters of the selector
            but its candidates.

        overwrite : bool, default=False
            Whether an existing file may be replaced.

        Raises
        ------
        FileExistsError
            If the file exists and `overwrite` is False.

        NotFittedError
            If the selector is not fitted.
        """
        check_is_fitted(self, "ranking_")
        write_report(path, lambda: self._report(settings), overwrite=overwrite)

    def _report(self, settings=None, words=str):
        """Return the report as HTML, see `ranking_report`."""
        if settings is None:
            settings = self.get_params(deep=False)
            # The candidates are in the table.
            del settings["models"]
        candidates = dict(named_transformers(self.models))
        best = candidates.get(self.best_name_)
        return ranking_report(
            self.ranking_,
            self._data_summary.for_report(),
            settings=settings,
            pretrained=pretrained_of(best),
            words=words,
        )

    @property
    def n_features_in_(self) -> int:
        """Number of features seen in `fit`."""
        return self.best_model_.n_features_in_

    @property
    def feature_names_in_(self) -> np.ndarray:
        """Names of the features seen in `fit`."""
        return self.best_model_.feature_names_in_

    def __sklearn_is_fitted__(self):
        return hasattr(self, "ranking_")

    # scikit-learn has two ways to a notebook, and makes the diagram in each of them.
    def _repr_html_inner(self):
        bundle = self._repr_mimebundle_()
        return bundle["text/html"]

    def _get_params_html(self, deep=True, **kwargs):
        # scikit-learn looks for the names of parameters with regular expressions, and names of
        # candidates need not be valid ones.
        return super()._get_params_html(deep=False, **kwargs)

    def _repr_mimebundle_(self, **kwargs):
        bundle = super()._repr_mimebundle_(**kwargs)
        if "text/html" in bundle and hasattr(self, "ranking_"):
            bundle["text/html"] += self.ranking_._repr_html_()
        return bundle

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        # A candidate that cannot take the input is ranked last, so one that can is enough.
        items = self.models if isinstance(self.models, list | tuple) else []
        models = [item[1] if is_pair(item) else item for item in items]
        inputs = [get_tags(m).input_tags for m in models if hasattr(m, "__sklearn_tags__")]
        tags.input_tags.sparse = any(tag.sparse for tag in inputs)
        tags.input_tags.two_d_array = any(tag.two_d_array for tag in inputs)
        tags.input_tags.three_d_array = len(inputs) < len(models) or any(
            tag.three_d_array for tag in inputs
        )
        if self.final_estimator is not None:
            final = get_tags(self.final_estimator)
            tags.estimator_type = final.estimator_type
            tags.classifier_tags = final.classifier_tags
            tags.regressor_tags = final.regressor_tags
        return tags


def _with_own_labels(X):
    """Return the images and labels of a data set, or raise a ValueError if it has none."""
    images, y = (None, None) if X is None else images_and_labels(X)
    if y is None:
        raise ValueError(
            "ModelSelector requires y to be passed, but the target y is None. Only a data set "
            f"that holds labels needs no y; X is of type {type(X).__name__}."
        )
    return images, y


def _held_out(scorer, cv):
    """Return `scorer` so that it measures rows held out by `cv`, as it is for None."""
    if cv is None:
        return scorer
    if not holds_rows_out(scorer):
        raise ValueError(
            f"cv={cv!r} needs NCTIScorer or one of its components as the scorer that ranks, got "
            f"{scorer!r}. Use cv=None."
        )
    return clone(scorer).set_params(cv=cv)
