"""The commands ``sklearn-ncti rank``, ``score``, ``models`` and ``demo``.

The table goes to standard output and everything else to standard error. The exit status is
0 for a ranking, 1 if no candidate could be scored or something could not be written, and
2 for wrong usage. A failure is reported on one line.
"""

import os
import sys
import traceback
import warnings
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from .._ncti.scorer import NCTIScorer
from .._ranking.rank_features import rank_features
from .._ranking.ranking import Ranking
from .._ranking.table import as_text
from .._selection.candidates import check_devices, without_dropped
from .._selection.halving import HalvingModelSelector
from .._selection.plan import filtered_names
from .._selection.selector import ModelSelector
from .._utils.errors import AllFailedError, ParameterError
from .._utils.terminal import printable, say, write_to
from ..backbones import TextBackbone, TimmBackbone, expand_model_names
from ..datasets import load_digit_images, load_zoo, load_zoo_accuracies
from .inputs import (
    PRIORS,
    UsageError,
    check_kind,
    check_rows,
    check_search,
    load_candidates,
    named_files,
    read_baseline,
    read_prior,
    read_rows,
    row_files,
    weight_files,
)
from .models import shown_names, split_models, text_model_names
from .options import (
    DemoOptions,
    ModelsOptions,
    Options,
    Outputs,
    RankOptions,
    ScoreOptions,
    ScoringOptions,
)
from .outputs import (
    Outcome,
    Result,
    check_folder,
    check_no_new_images,
    check_not_inputs,
    check_outputs,
    shortlisted,
    write_outputs,
)
from .planning import ask_before_download, list_models, plan_only
from .words import in_options, usage_checked

# If this environment variable is set, failures are reported with their tracebacks.
_TRACEBACK = "SKLEARN_NCTI_TRACEBACK"

# Errors whose messages explain themselves. Any other is a defect of this package.
_EXPECTED = (ValueError, TypeError, ImportError, OSError, MemoryError)


def run(options: Options) -> int:
    """Run one command and return the exit status."""
    _let_threads_sleep()
    try:
        outputs = _check_files(options)
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.showwarning = _show_each_once()
            return _give_out(_perform(options, outputs), outputs)
    except (UsageError, ParameterError) as exc:
        reason = in_options(exc) if isinstance(exc, ParameterError) else exc
        say(f"sklearn-ncti {options.command}: error: {printable(reason)}")
        return 2
    except KeyboardInterrupt:
        say(f"sklearn-ncti {options.command}: interrupted")
        return 130
    except Exception as exc:
        return _report_failure(options.command, exc, verbose=_is_verbose(options))


def _is_verbose(options: Options) -> bool:
    return not isinstance(options, ModelsOptions) and options.verbose


def _show_tracebacks(texts: Iterable[str], verbose: bool) -> None:
    """Write tracebacks to standard error, each once, if they are asked for."""
    if verbose or os.environ.get(_TRACEBACK):
        for text in dict.fromkeys(filter(None, texts)):
            say(text.rstrip())


def _let_threads_sleep() -> None:
    """Set how OpenMP threads wait, unless the environment says so already.

    By default they spin, and on a machine with busy cores a run then takes minutes instead
    of seconds. OpenMP reads the setting when torch is imported, which comes later.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ["OMP_WAIT_POLICY"] = "passive"
        # The layers of a light network follow each other too quickly to sleep in between.
        os.environ.setdefault("GOMP_SPINCOUNT", "10000")


def _perform(options: Options, outputs: Outputs) -> Result:
    """Run the function of the command."""
    if isinstance(options, RankOptions):
        check_search(options.search, options.scoring)
        check_kind(options)
        if options.dry_run:
            return plan_only(options)
        return shortlisted(_rank(options, outputs), options.shortlist)
    if isinstance(options, ModelsOptions):
        return list_models(options)
    if isinstance(options, ScoreOptions):
        return shortlisted(_score(options), options.shortlist)
    return _demo(options)


def _rank(options: RankOptions, outputs: Outputs) -> Outcome:
    """Rank timm models on images, or text encoders on texts."""
    scoring = options.scoring
    rows, labels, models, baseline = _rank_inputs(options, outputs)
    normalization = scoring.normalization or _default_normalization(models, scoring)
    prior = read_prior(scoring.prior, _names_for_numbers(models), normalization)
    candidates = _candidates(options, models)
    check_devices([item[1] if isinstance(item, tuple) else item for item in candidates])
    ask_before_download(options, models, rows)
    kind = HalvingModelSelector if options.search.halving else ModelSelector
    selector = kind(
        candidates,
        scorer=_scorer(scoring),
        normalization=normalization,
        refit=False,
        n_jobs=options.jobs,
        memory=options.cache,
        on_bad_image="skip" if options.skip_bad_images else "raise",
        n_resamples=scoring.resamples,
        random_state=scoring.random_state,
        baseline=baseline,
        prior=prior,
        verbose=1,
        **options.search.given(),
    )
    say(f"{len(models)} models on {len(rows)} {options.rows} of {len(set(labels))} classes")
    ranking = selector.fit(rows, labels).ranking_
    _show_tracebacks(ranking.results["traceback"], options.verbose)
    facts = _facts(selector, len(rows)) | {"models": {models[model]: model for model in models}}
    report = partial(selector._report, options.settings(), in_options)
    return Outcome(options.command, ranking, _table(ranking), facts, scoring, report)


def _facts(selector: ModelSelector, n_rows: int) -> dict[str, Any]:
    """Return what a ranking of images or texts was computed from."""
    n_skipped = selector.n_skipped_images_
    facts = {
        "n_rows": n_rows - n_skipped,
        "n_skipped_images": n_skipped,
        "n_classes": len(selector.classes_),
    }
    if not isinstance(selector, HalvingModelSelector):
        return facts
    return facts | {
        "n_rows": selector.n_resources_[-1],
        "n_possible_iterations": selector.n_possible_iterations_,
        "n_candidates": selector.n_candidates_,
        "n_resources": selector.n_resources_,
    }


def _rank_inputs(
    options: RankOptions, outputs: Outputs
) -> tuple[Sequence[Any], np.ndarray, dict[str, str], dict[str, float] | None]:
    """Return rows, labels, names by model and baseline, after checks of all that they need."""
    with usage_checked():
        rows, labels = read_rows(options)
        models = _names_of_models(options)
        check_rows(options.scoring, labels, halving=options.search.halving)
        baseline = read_baseline(options.scoring.baseline, _names_for_numbers(models))
        check_not_inputs(outputs, [*row_files(options, rows), *weight_files(models)])
        check_no_new_images(outputs, options.folder)
        if options.cache is not None:
            check_folder(options.cache)
    return rows, labels, models, baseline


def _names_of_models(options: RankOptions) -> dict[str, str]:
    """Return the names of the candidates, by model."""
    models, given = split_models(options.models)
    if options.text is not None:
        return shown_names(text_model_names(models), given)
    models = filtered_names(expand_model_names(without_dropped(models)), options.filters)
    return shown_names(models, given)


def _names_for_numbers(models: Mapping[str, str]) -> list[str]:
    """Return what a file of numbers may call the candidates: their names and models."""
    return list(dict.fromkeys([*models.values(), *models]))


def _candidates(options: RankOptions, models: Mapping[str, str]) -> list[Any]:
    """Return the candidates, as pairs where a name was given."""
    given = split_models(options.models)[1]
    backbones = {model: _backbone(model, options) for model in models}
    return [
        (given[model], backbone) if model in given else backbone
        for model, backbone in backbones.items()
    ]


def _backbone(model: str, options: RankOptions) -> TimmBackbone | TextBackbone:
    """Return one candidate."""
    shared: dict[str, Any] = {
        "device": options.device,
        "batch_size": options.batch_size,
        "precision": options.precision,
    }
    if options.text is not None:
        return TextBackbone(model, pooling=options.pooling or "mean", **shared)
    return TimmBackbone(model, num_workers=options.workers, **shared)


def _scorer(scoring: ScoringOptions) -> Any:
    """Return the scorer of all candidates."""
    if scoring.scorer == "robust":
        return "robust"
    return NCTIScorer(
        scoring.n_components,
        shrinkage=scoring.shrinkage,
        variant=scoring.variant,
        cv=scoring.cv,
    )


def _score(options: ScoreOptions) -> Outcome:
    """Score or rank features that were extracted before."""
    scoring = options.scoring
    features, labels = load_candidates(options.files, options.features, options.labels)
    check_rows(scoring, labels)
    normalization = scoring.normalization or _default_normalization(features, scoring)
    ranking = rank_features(
        features,
        labels,
        normalization=normalization,
        scorer=_scorer(scoring),
        n_resamples=scoring.resamples,
        random_state=scoring.random_state,
        baseline=read_baseline(scoring.baseline, features),
        prior=_prior_of_features(scoring.prior, features, normalization),
    )
    _show_tracebacks(ranking.results["traceback"], options.verbose)
    facts = {"n_rows": len(labels), "n_classes": len(np.unique(labels))}
    return Outcome(options.command, ranking, _table(ranking), facts, scoring)


def _default_normalization(names: Collection[str], scoring: ScoringOptions) -> str:
    """Return "absolute" for a single candidate, which cannot be normalised over the candidates."""
    return "absolute" if len(names) == 1 and scoring.prior is None else "minmax"


def _prior_of_features(value: str | None, names: Iterable[str], normalization: str) -> Any:
    """Return the prior of features, whose names are those of files."""
    if value in PRIORS:
        raise UsageError(
            f"--prior {value} needs {PRIORS[value]}, which `score` does not know; give a JSON "
            "file that maps the names of the candidates to numbers"
        )
    return read_prior(value, names, normalization)


def _demo(options: DemoOptions) -> Outcome:
    """Rank the bundled models and compare the order with fine-tuning."""
    images, labels = load_digit_images()
    zoo = load_zoo()
    say(f"{len(zoo)} bundled models on {len(images)} images of handwritten digits")
    ranking = ModelSelector(zoo, refit=False, verbose=1).fit(images, labels).ranking_
    accuracies, deviations = load_zoo_accuracies(return_std=True)
    agreement = ranking.agreement(accuracies)
    _show_tracebacks(ranking.results["traceback"], options.verbose)
    facts = {
        "n_rows": len(images),
        "n_classes": len(set(labels)),
        "fine_tuned_accuracy": accuracies,
        "agreement": agreement,
    }
    column = {name: f"{accuracies[name]:.1f} +- {deviations[name]:.1f}" for name in accuracies}
    text = f"{_table(ranking, {'fine-tuned %': column})}\n{_described(agreement)}"
    return Outcome(options.command, ranking, text, facts)


def _table(ranking: Ranking, columns: Mapping[str, Mapping[str, str]] | None = None) -> str:
    """Return the table of a command, with advice in the words of the command line."""
    elsewhere = "the files of --json and --csv"
    return as_text(ranking, columns, elsewhere=elsewhere, words=in_options)


def _described(agreement: Mapping[str, float]) -> str:
    """Return how well the ranking agrees with fine-tuning, as one line."""
    return (
        "agreement with fine-tuning: weighted Kendall tau "
        f"{agreement['weighted_kendall_tau']:.2f}, Kendall tau "
        f"{agreement['kendall_tau']:.2f}; regret {agreement['regret_at_1']:.1f} points for "
        f"the first, {agreement['regret_at_3']:.1f} for the best of the first three"
    )


def _check_files(options: Options) -> Outputs:
    """Return the files to write, or raise a UsageError if one of them cannot be written.

    Images and weights of `rank` are not known yet; `_rank_inputs` checks them.
    """
    with usage_checked():
        outputs = _demo_outputs(options) if isinstance(options, DemoOptions) else options.outputs
        check_outputs(outputs)
        check_not_inputs(outputs, _named_inputs(options))
    return outputs


def _demo_outputs(options: DemoOptions) -> Outputs:
    """Return the files of the demonstration, after making their folder."""
    check_folder(options.output)
    return Outputs(
        json=options.output / "ranking.json",
        plot=options.output / "ranking.png" if find_spec("matplotlib") else None,
        force=options.force,
    )


def _named_inputs(options: Options) -> list[Path]:
    """Return the input files that the options name."""
    if isinstance(options, DemoOptions | ModelsOptions):
        return []
    files = named_files(options)
    baseline, prior = options.scoring.baseline, options.scoring.prior
    records = [] if prior is None or prior in PRIORS else [Path(prior)]
    return [*files, *records, *([] if baseline is None else [baseline])]


def _give_out(outcome: Result, outputs: Outputs) -> int:
    """Write the files, then print the table. A failure of the table leaves the files."""
    status = 0
    try:
        for option, path, error in write_outputs(outputs, outcome):
            if error is None:
                say(f"wrote {printable(path)}")
            else:
                what = f"--{option} {path} could not be written: "
                status = _report_failure(outcome.command, error, what)
    finally:
        status = max(status, _print_table(outcome))
    return status


def _print_table(outcome: Result) -> int:
    """Print the table to standard output, or to standard error if that fails."""
    try:
        _write_line(sys.stdout, outcome.text)
    except BrokenPipeError:
        # The reader, for example `head`, needs no more lines.
        return 0
    except (OSError, ValueError) as exc:
        say(outcome.text)
        what = "the table is on standard error because standard output cannot be written: "
        return _report_failure(outcome.command, exc, what)
    return 0


def _write_line(stream: TextIO | None, text: str) -> None:
    if stream is None:
        raise OSError("it is closed")
    write_to(stream, f"{text}\n")


def _report_failure(command: str, exc: Exception, what: str = "", *, verbose: bool = False) -> int:
    """Report an error on one line of standard error, and return the exit status."""
    of_candidates = exc.tracebacks if isinstance(exc, AllFailedError) else []
    _show_tracebacks(of_candidates or ["".join(traceback.format_exception(exc))], verbose)
    if isinstance(exc, AllFailedError):
        reason = in_options(f"{exc.reason} --verbose shows the tracebacks.")
    elif isinstance(exc, _EXPECTED):
        reason = _in_one_line(in_options(exc)) or type(exc).__name__
    else:
        reason = (
            f"unexpected {type(exc).__name__}: {exc}; please report it with its traceback, "
            f"which {_TRACEBACK}=1 in the environment shows"
        )
    say(f"sklearn-ncti {command}: failed: {printable(what + reason)}")
    return 1


def _in_one_line(text: str) -> str:
    return " ".join(filter(None, text.split("\n")))


def _show_each_once() -> Callable[..., None]:
    """Return a function for `warnings.showwarning` that shows each message once, on one line.

    The filters of the interpreter cannot do that: it forgets what it has shown whenever
    filters change, which is the case for every candidate.
    """
    shown = set()

    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        text = in_options(str(message).partition("\n")[0])
        if text not in shown:
            shown.add(text)
            say(f"warning: {printable(text)}")

    return show
