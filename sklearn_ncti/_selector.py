"""Floor 5: ModelSelector, the only place where backbones and scores meet."""

import os
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from numbers import Integral, Real
from pathlib import Path
from threading import Lock
from typing import Any, Self

import numpy as np
from joblib.parallel import LokyBackend, MultiprocessingBackend, get_active_backend
from numpy.typing import ArrayLike
from sklearn import get_config
from sklearn.base import BaseEstimator, TransformerMixin, _fit_context, clone
from sklearn.pipeline import Pipeline
from sklearn.utils import _safe_indexing, get_tags
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions
from sklearn.utils.metaestimators import available_if
from sklearn.utils.parallel import Parallel, delayed
from sklearn.utils.validation import (
    _num_samples,
    check_consistent_length,
    check_is_fitted,
    check_memory,
)

from ._base import BaseNCTI
from ._callbacks import CallbackSupportMixin
from ._normalization import NORMALIZATIONS, check_weights
from ._optional import import_optional
from ._ranking import check_baseline, rank_records
from ._resampling import check_resampling
from ._scorer import NCTIScorer
from ._scoring import attempt, check_labels, check_scorers, component_names, score_features
from .backbones import TimmBackbone, TorchBackbone, check_model_name, expand_model_names
from .backbones._base import _BaseBackbone, bad_images_text
from .backbones._images import BadImageError, check_images
from .backbones._prepared import Geometry, Preparation, PreparedImages
from .backbones._store import FeatureStore, identify_images
from .backbones._timm import is_wildcard

# How far candidates that run at the same time can share images: in one process, with other
# processes of this machine, or with nobody.
_IN_PROCESS, _ON_MACHINE, _NOWHERE = range(3)


def _final_estimator_has(method: str) -> Callable[[Any], bool]:
    """Whether the selector has a final estimator with `method`."""

    def check(self):
        getattr(self.final_estimator, method)
        return True

    return check


class ModelSelector(CallbackSupportMixin, TransformerMixin, BaseEstimator):
    """Rank candidate backbones on labelled data, and keep the best one.

    Every candidate turns `X` into features; a scorer measures how near these are to neural
    collapse; the components are normalised over the candidates and added. Nothing is
    fine-tuned. Candidates are usually ``timm`` models over images, but any scikit-learn
    transformer will do.

    A candidate that fails, at whatever step, is ranked last with its error and warned about;
    the others are ranked. Names are checked before anything is downloaded. Image backbones of
    one input geometry share their images: each is read, decoded and resized once.

    Read more in the :ref:`User Guide <selection>`.

    Parameters
    ----------
    models : list
        The candidates. Each item is one of

        - the name of a ``timm`` model, such as ``"resnet18.a1_in1k"``,
          ``"local-dir:folder"`` or ``"hf-hub:owner/name"``;
        - a wildcard of ``timm`` names with pre-trained weights, such as ``"convnext_t*"``;
        - a torch module that gives features, see :class:`TorchBackbone`;
        - a transformer, such as ``TimmBackbone("resnet18", batch_size=8)`` or ``PCA()``;
        - a pair (name, any of these but a wildcard).

        Items without a name of their own are named after the model or the class.

    scorer : estimator, or list of estimators and (name, estimator) pairs, default=None
        What scores a feature matrix, as in :func:`rank_features`: the first of a list ranks,
        the others are shown beside it. None for ``NCTIScorer()``.

    cv : int, cross-validation splitter or iterable of splits, default=None
        How rows are held out before they are measured: `cv` of the :class:`NCTIScorer` or
        component that ranks. The cure for few rows. None leaves the scorer as it is.

    normalization : {"minmax", "zscore", "rank", "absolute"}, default="minmax"
        How components become comparable before they are added, see :func:`rank_features`.

    weights : dict of str to float, default=None
        Weight of components in the sum, by name; 1 for those that are not named.

    n_resamples : int, default=0
        How often rows are drawn anew, the same for all candidates, to say how sure the
        ranking is; see :func:`rank_features`.

    random_state : int, RandomState instance or None, default=None
        What the drawn rows follow from.

    baseline : dict of str to float, default=None
        A number for candidates by name, such as published accuracies, that the ranking is
        compared with.

    final_estimator : estimator, default=None
        Fitted on the features of the best candidate, for `predict`, `predict_proba`,
        `decision_function` and `score`.

    refit : bool, default=True
        Whether to fit the best candidate, and the final estimator, on all of `X`.

    n_jobs : int, default=None
        Candidates that run at the same time, through joblib. None for 1. Image backbones run
        in threads unless another backend of joblib is chosen, and are spread over the GPUs
        of the machine in turns.

    error_score : "raise" or float, default=nan
        What a failed candidate shows as its score; it is ranked last whatever the value.
        "raise" stops at the first failure.

    memory : str, path or joblib.Memory, default=None
        The folder where features are kept, so that the next fit extracts only what is
        missing: after a change of the list, or where a run was stopped. Features of image
        backbones are kept by what made them: the weights, the preparation, precision and
        kind of device, and the images. Files are the same while path, size and time of
        change are. Name only folders that you trust: those of other candidates are
        unpickled.

    on_bad_image : {"raise", "skip"}, default="raise"
        What becomes of an image that image backbones cannot read. "raise" ends the fit and
        names it; "skip" leaves its row out for all candidates alike, and warns.

    verbose : int, default=0
        1 writes a line per candidate to standard error; 2 also shows the progress of each
        ``timm`` model given by name.

    Attributes
    ----------
    ranking_ : Ranking
        The candidates, best first.

    results_ : dict of str to ndarray of shape (n_candidates,)
        In the manner of ``cv_results_``, in the order of the candidates: `model`, `rank`,
        `score`, `seli`, `ncc`, `vc`, `normalized_seli`, `normalized_ncc`, `normalized_vc`,
        `n_features`, `shrinkage`, `extract_time` and `score_time` in seconds, and `error`
        (empty where there was none). Of image backbones also `images_per_second`,
        `decode_time` (seconds of waiting for images) and `device_time` (seconds of the
        network), NaN for features that were kept; `n_parameters`, and the `license` of the
        weights as timm states it, empty where it does not.

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
        The class labels.

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

    _parameter_constraints: dict = {
        "models": [list, tuple],
        "scorer": [HasMethods(["fit", "score"]), list, tuple, None],
        "cv": ["cv_object"],
        "normalization": [StrOptions(set(NORMALIZATIONS))],
        "weights": [Mapping, None],
        "n_resamples": [Interval(Integral, 0, None, closed="left")],
        "random_state": ["random_state"],
        "baseline": [Mapping, None],
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
        self.final_estimator = final_estimator
        self.refit = refit
        self.n_jobs = n_jobs
        self.error_score = error_score
        self.memory = memory
        self.on_bad_image = on_bad_image
        self.verbose = verbose

    # The names of the pairs are known without looking anything up, so theirs are the
    # parameters that can be reached, as in FeatureUnion.
    def _named(self) -> dict[str, Any]:
        if not isinstance(self.models, list | tuple):
            return {}
        return {item[0]: item[1] for item in self.models if _is_pair(item)}

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
            for name, candidate in self._named().items():
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
        replaced = {name: params.pop(name) for name in self._named() if name in params}
        if replaced:
            self.models = [
                (item[0], replaced.get(item[0], item[1])) if _is_pair(item) else item
                for item in self.models
            ]
        return super().set_params(**params)

    @_fit_context(prefer_skip_nested_validation=False)
    def fit(self, X: Any, y: ArrayLike) -> Self:
        """Extract, score and rank; then fit the best candidate.

        Parameters
        ----------
        X : array-like or sequence of length n_samples
            What every candidate takes: images as a sequence of paths or an array, or a
            feature matrix for ordinary transformers.

        y : array-like of shape (n_samples,)
            Class of each row.

        Returns
        -------
        self : ModelSelector
            The fitted selector.

        Raises
        ------
        ValueError
            If there are no candidates, two have one name, a name is unknown, `y` is no
            vector of at least two classes or has another length than `X`, if an image
            cannot be read, or if all candidates fail.

        TypeError
            If an item of `models` is no candidate, or `scorer` cannot score fitted rows.
        """
        if y is None:
            raise ValueError("ModelSelector requires y to be passed, but the target y is None.")
        y = check_labels(y)
        check_consistent_length(X, y)
        candidates = self._candidates()
        scorer, others = check_scorers(self.scorer)
        scorer = _held_out(scorer, self.cv)
        check_weights(self.weights, component_names(scorer))
        baseline = check_baseline(self.baseline, [name for name, _ in candidates])
        resampling = check_resampling(self.n_resamples, self.random_state, scorer, y)
        # scikit-learn takes no path for a folder, only its name.
        named = isinstance(self.memory, os.PathLike)
        memory = check_memory(os.fspath(self.memory) if named else self.memory)

        score = partial(score_features, scorer=scorer, others=others, resampling=resampling)
        work = _Work(X, y, candidates, score, memory, self.on_bad_image)

        context = self._init_callback_context(max_subtasks=len(candidates) + bool(self.refit))
        context.call_on_fit_task_begin(estimator=self, X=X, y=y)
        # All contexts are made before the parallel loop, which pickles what it is given.
        contexts = [context.subcontext(task_name=f"score-{name}") for name, _ in candidates]
        records, work = self._run(candidates, work, contexts)
        self.ranking_ = rank_records(
            records,
            normalization=self.normalization,
            weights=self.weights,
            baseline=baseline,
            error_score=np.nan if self.error_score == "raise" else self.error_score,
        )
        self.results_ = self.ranking_.results
        self.classes_ = np.unique(work.y_kept)
        self.n_skipped_images_ = len(work.y) - len(work.y_kept)
        self.best_index_ = self.ranking_.best_index
        self.best_name_ = self.ranking_.best
        self.best_score_ = float(self.results_["score"][self.best_index_])
        self.__dict__.pop("best_model_", None)
        if self.refit:
            subcontext = context.subcontext(task_name="refit-best-model")
            subcontext.call_on_fit_task_begin(estimator=self, X=X, y=y)
            self._refit(candidates[self.best_index_][1], work)
            subcontext.call_on_fit_task_end(estimator=self, X=X, y=y)
        context.call_on_fit_task_end(estimator=self, X=X, y=y)
        return self

    def _run(self, candidates, work, contexts):
        """Run all candidates; return their records, and the work with its bad images known.

        Those of one geometry run together, so that the images of one geometry are there at a
        time. Other candidates than backbones come last, when it is known which rows count.
        """
        takes_images = [isinstance(model, _BaseBackbone) for _, model in candidates]
        prefer = "threads" if all(takes_images) else None
        parallel = Parallel(n_jobs=self.n_jobs, prefer=prefer)
        backend, _ = get_active_backend(prefer=prefer)
        n_jobs = backend.effective_n_jobs(parallel.n_jobs)
        sharing = _sharing(backend, n_jobs)
        if n_jobs > 1 and sharing != _NOWHERE:
            candidates = _spread_over_devices(candidates)
        tally = _Tally(len(candidates)) if sharing == _IN_PROCESS else None
        records = [None] * len(candidates)

        def run(places, prepared=None):
            tasks = (
                delayed(_run_candidate)(self, *candidates[i], work, prepared, tally, contexts[i])
                for i in places
            )
            for i, record in zip(places, parallel(tasks), strict=True):
                records[i] = record

        places = [i for i, takes in enumerate(takes_images) if takes]
        with _torch_threads(n_jobs if places and sharing == _IN_PROCESS else 1), parallel:
            for geometry, group in _by_geometry(candidates, places, n_jobs, sharing):
                prepared = work.prepare(candidates, group, geometry, sharing)
                try:
                    run(group, prepared)
                finally:
                    if prepared is not None:
                        prepared.close()
                # The memory is free before the next ones are prepared.
                del prepared
            bad = _agreed_bad([records[i] for i in places], self.error_score)
            if bad:
                work = work.without(bad)
                warnings.warn(
                    f"{bad_images_text(bad, len(work.y))} They are left out for all candidates.",
                    UserWarning,
                    stacklevel=4,
                )
            run([i for i, takes in enumerate(takes_images) if not takes])
        return records, work

    def _candidates(self) -> list[tuple[str, Any]]:
        """Return (name, transformer) of every candidate; all names checked, none fitted."""
        if not self.models:
            raise ValueError("models is empty: at least 1 candidate is needed.")
        # (name, transformer, whether somebody chose the name)
        found: list[tuple[str, Any, bool]] = []
        from_wildcards: set[str] = set()
        for item in self.models:
            if isinstance(item, str) and is_wildcard(item):
                known = {name for name, _, _ in found}
                names = [name for name in expand_model_names([item]) if name not in known]
                from_wildcards.update(names)
                found += [(name, self._as_transformer(name), True) for name in names]
            elif isinstance(item, str) and item in from_wildcards:
                continue
            elif _is_pair(item):
                found.append((item[0], self._as_transformer(item[1]), True))
            else:
                transformer = self._as_transformer(item)
                chosen = isinstance(transformer, TimmBackbone)
                found.append((_default_name(transformer), transformer, chosen))

        # Names that nobody chose are told apart by a number, as make_pipeline does; one that
        # somebody chose must be unique.
        total = Counter(name for name, _, chosen in found if not chosen)
        seen: Counter[str] = Counter()
        candidates = []
        for name, transformer, chosen in found:
            seen[name] += not chosen
            numbered = not chosen and total[name] > 1
            candidates.append((f"{name}-{seen[name]}" if numbered else name, transformer))
        repeated = [name for name, k in Counter(n for n, _ in candidates).items() if k > 1]
        if repeated:
            raise ValueError(
                f"models has more than one candidate named {repeated}; give each a name of "
                "its own with a (name, model) pair."
            )
        own = self.get_params(deep=False)
        reserved = [name for name in self._named() if "__" in name or name in own]
        if reserved:
            raise ValueError(
                f"models has the names {reserved}, which contain '__' or are parameters of "
                "ModelSelector; choose others, so that set_params can tell them apart."
            )
        return candidates

    def _as_transformer(self, model):
        """Turn whatever stands for a candidate into a transformer."""
        if isinstance(model, str):
            model = TimmBackbone(model, verbose=max(0, int(self.verbose) - 1))
        elif _is_torch_module(model):
            model = TorchBackbone(model)
        if isinstance(model, type) or not (hasattr(model, "fit") and hasattr(model, "transform")):
            raise TypeError(
                f"models must hold timm names, torch modules, transformers or (name, model) "
                f"pairs, got {model!r}."
            )
        if isinstance(model, TimmBackbone):
            check_model_name(model.model, model.pretrained)
        return model

    def _refit(self, candidate, work):
        """Fit the best candidate on all rows, and on its features the final estimator."""
        if self.final_estimator is None:
            self.best_model_ = clone(candidate).fit(work.X_kept, work.y_kept)
            return
        features, y, fitted, _ = _extract(candidate, work, None)
        final = clone(self.final_estimator).fit(features, y)
        self.best_model_ = Pipeline([("model", fitted), ("final_estimator", final)])

    def _best(self):
        """Return the fitted best candidate, without the final estimator."""
        check_is_fitted(self, "ranking_")
        if not self.refit:
            raise AttributeError(
                "This ModelSelector was made with refit=False and has no fitted best model; "
                "set refit=True, or fit the candidate named best_name_ yourself."
            )
        return self.best_model_ if self.final_estimator is None else self.best_model_[0]

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

    # scikit-learn has two ways to a notebook and makes the diagram anew in each.
    def _repr_html_inner(self):
        bundle = self._repr_mimebundle_()
        return bundle["text/html"]

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
        models = [item[1] if _is_pair(item) else item for item in items]
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


def _is_pair(item) -> bool:
    return isinstance(item, tuple) and len(item) == 2 and isinstance(item[0], str)


def _held_out(scorer, cv):
    """Return `scorer` so that it measures rows held out by `cv`, as it is for None."""
    if cv is None:
        return scorer
    if not isinstance(scorer, BaseNCTI):
        raise ValueError(
            f"cv={cv!r} needs NCTIScorer or one of its components as the scorer that ranks, got "
            f"{scorer!r}. Use cv=None."
        )
    return clone(scorer).set_params(cv=cv)


def _is_torch_module(model) -> bool:
    # A module can only have been made where torch is imported already.
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(model, torch.nn.Module)


def _default_name(transformer) -> str:
    """Name of a candidate that was given without one."""
    if isinstance(transformer, TimmBackbone):
        return transformer.model
    named = transformer
    if isinstance(transformer, TorchBackbone):
        named = transformer.module
        if isinstance(named, str | os.PathLike):
            return os.fspath(named)
    return getattr(named, "__name__", type(named).__name__).lower()


class _Work:
    """What all candidates of one fit work on, and how."""

    def __init__(self, X, y, candidates, score, memory, on_bad_image):
        self.X = self.X_kept = X
        self.y = self.y_kept = y
        self.score = score
        self.memory = memory
        self.on_bad_image = on_bad_image
        self.images = self.store = self.images_identity = None
        backbones = [model for _, model in candidates if isinstance(model, _BaseBackbone)]
        if not backbones:
            return
        try:
            self.images = check_images(X)
        except (TypeError, ValueError):
            # Candidates of other kinds may know what to do with it.
            if len(backbones) == len(candidates):
                raise
            return
        self.store = _store(memory)
        if self.store is not None:
            self.images_identity = identify_images(self.images)

    def prepare(self, candidates, group, geometry, sharing) -> PreparedImages | None:
        """Give images that a group of candidates shares, or None where they share none."""
        if geometry is None or self.images is None:
            return None
        budget = int(get_config()["working_memory"] * 2**20)
        backbones = [candidates[i][1] for i in group]
        prepared = PreparedImages(
            self.images,
            Preparation(backbones[0]._data_config()),
            num_workers=backbones[0].num_workers,
            on_bad_image=self.on_bad_image,
            budget=budget,
        )
        if sharing == _IN_PROCESS:
            return prepared
        # What lies in a file without a name cannot be found by other processes, and what
        # nobody needs is not decoded for them.
        if prepared.nbytes > budget or all(self.is_stored(model) for model in backbones):
            return None
        return prepared.complete()

    def identity(self, model) -> dict[str, Any] | None:
        """Say what the features of a backbone are kept under, None if they are not."""
        identity = None if self.store is None else model._identity()
        return identity and {**identity, "images": self.images_identity}

    def is_stored(self, model) -> bool:
        """Whether the features of a backbone are there already."""
        identity = self.identity(model)
        return identity is not None and self.store.path(identity).exists()

    def without(self, bad) -> Self:
        """Leave out rows for the candidates that still come."""
        kept = _kept(bad, len(self.y))
        self.X_kept, self.y_kept = _safe_indexing(self.X, kept), self.y[kept]
        return self


class _Tally:
    """How many candidates are done, and how long the others may take."""

    def __init__(self, total):
        self._total = total
        self._done = 0
        self._start = time.perf_counter()
        self._lock = Lock()

    def next(self) -> tuple[str, str]:
        """Count one more; return the count and the time that is left, as words."""
        with self._lock:
            self._done += 1
            left = self._total - self._done
            seconds = (time.perf_counter() - self._start) / self._done * left
        return f"{self._done} of {self._total}, ", f"; about {seconds:.0f} s left" if left else ""


def _run_candidate(selector, name, model, work, prepared, tally, context):
    """Record of one candidate, from its network to its components."""
    context.call_on_fit_task_begin(estimator=selector, X=work.X, y=work.y)
    run = _attempting(selector.error_score)
    start = time.perf_counter()
    keep = selector.final_estimator is None
    record = {"model": name, **run(_extract_and_score, model, work, prepared, keep)}
    if "bad_image" in record:
        # It concerns all candidates alike: this is no failure of one of them.
        raise record["bad_image"]
    if selector.verbose:
        outcome = record["error"] or f"{record['n_features']} features"
        seconds = time.perf_counter() - start
        speed = record.get("images_per_second", np.nan)
        at_speed = "" if np.isnan(speed) else f", {speed:.1f} images/s"
        count, left = ("", "") if tally is None else tally.next()
        sys.stderr.write(
            f"[ModelSelector] {count}{name}: {outcome} ({seconds:.1f} s{at_speed}{left})\n"
        )
    context.call_on_fit_task_end(estimator=selector, X=work.X, y=work.y)
    return record


def _attempting(error_score):
    return attempt if error_score != "raise" else _unguarded


def _unguarded(function, *args):
    return {"error": "", **function(*args)}


def _extract_and_score(model, work, prepared, keep):
    start = time.perf_counter()
    try:
        features, y, _, facts = _extract(model, work, prepared, keep)
    except BadImageError as exc:
        return {"bad_image": exc}
    extract_time = time.perf_counter() - start
    n_rows = _num_samples(features)
    if n_rows != len(y):
        raise ValueError(
            f"the candidate gave {n_rows} rows of features for {len(y)} labels: all "
            "candidates must be scored on the same rows."
        )
    return {"extract_time": extract_time, **facts, **work.score(features, y)}


def _extract(model, work, prepared, keep=False):
    """Features and labels of the rows that count, the fitted candidate, and facts about it."""
    if isinstance(model, _BaseBackbone):
        features, model, facts = _image_features(clone(model), work, prepared, keep)
        bad, y = facts["bad"], work.y
        if bad:
            kept = _kept(bad, len(y))
            features, y = features[kept], y[kept]
            try:
                check_labels(y)
            except ValueError as exc:
                raise BadImageError(
                    f"{bad_images_text(bad, len(work.y))} Too few are left: {exc}"
                ) from exc
        return features, y, model, facts
    # The stamps are part of the key under which features are kept.
    features, model = work.memory.cache(_fit_transform)(
        clone(model), work.X_kept, work.y_kept, _stamps(work.X_kept)
    )
    return features, work.y_kept, model, {}


def _fit_transform(model, X, y, stamps):
    return model.fit_transform(X, y), model


def _image_features(model, work, prepared, keep):
    """Features of a backbone for all images, from the store if they are there."""
    images = check_images(work.X) if work.images is None else work.images
    identity = work.identity(model)
    stored = None if identity is None else work.store.load(identity)
    if stored is not None:
        features, facts = stored
        facts["bad"] = {int(place): reason for place, reason in facts["bad"].items()}
        if facts["bad"] and work.on_bad_image == "raise":
            raise BadImageError(facts["bad"][min(facts["bad"])])
        model.n_features_out_ = features.shape[1]
        return features, model, facts
    try:
        network = model.fit(images)._load_network()
        if prepared is None or prepared.geometry != network.preparation.geometry:
            prepared = images
        # Scores can be computed where the features are, if nobody else needs them.
        on_device = (
            keep
            and work.store is None
            and network.device.type == "cuda"
            and isinstance(work.score.keywords["scorer"], NCTIScorer)
        )
        extraction = model._extract(prepared, on_bad_image=work.on_bad_image, keep=on_device)
        facts = {
            "bad": extraction.bad,
            "n_parameters": network.n_parameters,
            "license": network.license,
        }
    finally:
        # The next candidate needs the room on the device.
        network = None
        model._drop_network()
    # Of downloaded weights the revision, a part of their identity, is known only now.
    identity = identity or work.identity(model)
    if identity is not None:
        _keep_features(work.store, identity, extraction.features, facts)
    seconds = extraction.decode_time + extraction.device_time
    facts |= {
        "images_per_second": len(images) / seconds,
        "decode_time": extraction.decode_time,
        "device_time": extraction.device_time,
    }
    return extraction.features, model, facts


def _keep_features(store, identity, features, facts):
    try:
        store.save(identity, features, facts)
    except OSError as exc:
        warnings.warn(
            f"the features cannot be kept in {os.fspath(store.folder)!r}: {exc}",
            UserWarning,
            stacklevel=2,
        )


def _kept(bad, n_rows) -> np.ndarray:
    return np.setdiff1d(np.arange(n_rows), list(bad))


def _agreed_bad(records, error_score) -> dict[int, str]:
    """Bad images of all candidates; one that found others was scored on other rows."""
    agreed = None
    for record in records:
        if record["error"]:
            continue
        if agreed is None:
            agreed = record["bad"]
        elif set(record["bad"]) != set(agreed):
            differ = sorted(set(record["bad"]) ^ set(agreed))
            record |= _attempting(error_score)(_raise_unequal, differ)
    return agreed or {}


def _raise_unequal(places):
    raise ValueError(
        f"the images at {places[:5]} could be read for some candidates and not for others: "
        "all must be scored on the same rows. Have these files changed meanwhile?"
    )


def _sharing(backend, n_jobs) -> int:
    if getattr(backend, "supports_sharedmem", False):
        return _IN_PROCESS
    if isinstance(backend, LokyBackend | MultiprocessingBackend):
        # One job stays where it is.
        return _IN_PROCESS if n_jobs == 1 else _ON_MACHINE
    return _NOWHERE


def _by_geometry(candidates, places, n_jobs, sharing):
    """Group backbones by the geometry of their images; None where one shares with nobody."""
    if sharing == _NOWHERE:
        return [(None, places)]
    groups: dict[Geometry | None, list[int]] = {}
    for i in places:
        groups.setdefault(candidates[i][1]._geometry(), []).append(i)
    found = [(geometry if len(group) > 1 else None, group) for geometry, group in groups.items()]
    if n_jobs > 1:
        # Those that share with nobody can as well run at the same time.
        alone = [i for geometry, group in found if geometry is None for i in group]
        found = [item for item in found if item[0] is not None] + [(None, alone)]
    return found


def _spread_over_devices(candidates):
    """Give the backbones that leave it open a CUDA device each, in turns."""
    candidates = list(candidates)
    leave_open = [
        i
        for i, (_, model) in enumerate(candidates)
        if isinstance(model, _BaseBackbone) and str(model.device) in ("auto", "cuda")
    ]
    if not leave_open:
        return candidates
    torch = import_optional("torch", extra="timm")
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if count > 1:
        for turn, i in enumerate(leave_open):
            name, model = candidates[i]
            candidates[i] = (name, clone(model).set_params(device=f"cuda:{turn % count}"))
    return candidates


@contextmanager
def _torch_threads(n_jobs) -> Iterator[None]:
    """Divide torch's threads among jobs that run in threads of this process."""
    if n_jobs == 1:
        yield
        return
    torch = import_optional("torch", extra="timm")
    before = torch.get_num_threads()
    torch.set_num_threads(max(1, before // n_jobs))
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _store(memory) -> FeatureStore | None:
    """Folder of features beside those that joblib keeps for other candidates."""
    if not hasattr(memory, "location"):
        raise TypeError(
            "memory must be a folder or a joblib.Memory for the features of images, which "
            f"are kept in files of their own; got {memory!r}."
        )
    return None if memory.location is None else FeatureStore(Path(memory.location, "features"))


def _stamps(X) -> list[tuple[str, int, int]]:
    """Path, size and time of change of every file among `X`, for the key of the cache."""
    if not isinstance(X, Sequence) and getattr(X, "ndim", 0) != 1:
        return []
    paths = [os.fspath(x) for x in X if isinstance(x, str | os.PathLike)]
    stats = [(path, os.stat(path)) for path in paths if os.path.exists(path)]
    return [(path, stat.st_size, stat.st_mtime_ns) for path, stat in stats]
