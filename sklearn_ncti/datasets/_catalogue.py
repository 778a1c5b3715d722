"""Published facts of timm's pre-trained models, read from the file that is shipped."""

import csv
import gzip
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from .._utils.optional import import_optional
from ._filters import Filters

if TYPE_CHECKING:
    import pandas

_FILE = Path(__file__).resolve().parent / "catalogue.csv.gz"

# Type of each column of the file, in its order. `self_supervised` is computed from `supervision`.
_TYPES = {
    "name": str,
    "architecture": str,
    "is_default": bool,
    "top1": float,
    "n_parameters": float,
    "gmacs": float,
    "activations": float,
    "input_size": int,
    "test_input_size": int,
    "gpu_throughput": float,
    "cpu_throughput": float,
    "license": str,
    "supervision": str,
    "pretrained_on": str,
}


class Catalogue:
    """Published facts of pre-trained models, one row for each model.

    It behaves as a data frame does: ``catalogue["top1"]`` is a column, iteration and ``in`` are
    over the names of the columns, and ``len`` is the number of models. The columns are
    read-only arrays. :func:`load_catalogue` returns the one that is shipped and describes its
    columns.

    Parameters
    ----------
    columns : mapping of str to array-like of shape (n_models,)
        The columns by name.

    source : str, default=""
        Where the facts come from, and their licence.

    See Also
    --------
    load_catalogue : The catalogue of timm's models.

    Examples
    --------
    >>> from sklearn_ncti.datasets import Catalogue
    >>> catalogue = Catalogue({"name": ["a", "b"], "top1": [70.5, 80.1]}, source="my own")
    >>> len(catalogue), list(catalogue)
    (2, ['name', 'top1'])
    >>> catalogue["top1"].tolist()
    [70.5, 80.1]
    """

    def __init__(self, columns: Mapping[str, ArrayLike], *, source: str = ""):
        self._columns = {name: _read_only(values) for name, values in columns.items()}
        lengths = {name: values.shape for name, values in self._columns.items()}
        if len(set(lengths.values())) > 1 or any(len(shape) != 1 for shape in lengths.values()):
            raise ValueError(f"columns must be 1-dimensional and of equal length; got {lengths}.")
        self._source = source

    @property
    def source(self) -> str:
        """Where the facts come from, and their licence."""
        return self._source

    def keys(self) -> list[str]:
        """Return the names of the columns.

        Returns
        -------
        names : list of str
            Names of the columns, so that ``dict(catalogue)`` is a dict of arrays.
        """
        return list(self._columns)

    def to_frame(self) -> "pandas.DataFrame":
        """Return the catalogue as a pandas DataFrame with the model names as index.

        Returns
        -------
        frame : pandas.DataFrame
            One row for each model, in the order of the catalogue.

        Raises
        ------
        ImportError
            If pandas is not installed.
        """
        frame = import_optional("pandas", extra="all").DataFrame(dict(self))
        return frame.set_index("name") if "name" in self else frame

    def filter(
        self,
        names: str | Sequence[str] | None = None,
        *,
        license: str | Sequence[str] | None = None,
        pretrained_on: str | Sequence[str] | None = None,
        self_supervised: bool | None = None,
        min_parameters: float | None = None,
        max_parameters: float | None = None,
        min_gmacs: float | None = None,
        max_gmacs: float | None = None,
        min_input_size: int | None = None,
        max_input_size: int | None = None,
        min_top1: float | None = None,
        max_top1: float | None = None,
        min_cpu_throughput: float | None = None,
        min_gpu_throughput: float | None = None,
    ) -> "Catalogue":
        """Return the models that meet all of some conditions.

        Bounds are inclusive. **An unknown value (NaN) meets no bound**: a model whose accuracy
        was never published is not among those of a `min_top1`, nor of a `max_top1`.

        Parameters
        ----------
        names : str or sequence of str, default=None
            Names and wildcards (``*``, ``?`` and ``[...]``), as timm takes them. A model that
            matches one of them is kept. An architecture without a tag stands for all its tags.

        license : str or sequence of str, default=None
            Licenses as the column `license` has them, "unknown" where it is empty, and
            "permissive", which stands for apache-2.0, bsd-3-clause, cc-by-4.0 and mit. These
            allow any use, commercial use among them, changes and passing on, and ask only that
            the license or the author is named. All others, such as the non-commercial
            cc-by-nc-4.0, put conditions on the use of the weights.

        pretrained_on : str or sequence of str, default=None
            Data sets as the column of this name has them, "unknown" where it is empty.

        self_supervised : bool, default=None
            Whether the last stage of training was self-supervised. None for both.

        min_parameters, max_parameters : float, default=None
            Bounds of the number of parameters.

        min_gmacs, max_gmacs : float, default=None
            Bounds of the billions of multiply-accumulate operations for one image.

        min_input_size, max_input_size : int, default=None
            Bounds of height and width of the input in pixels.

        min_top1, max_top1 : float, default=None
            Bounds of the ImageNet-1k top-1 accuracy in per cent.

        min_cpu_throughput, min_gpu_throughput : float, default=None
            Least images per second on the machines of the catalogue, see `load_catalogue`.

        Returns
        -------
        catalogue : Catalogue
            The models that are left, in the same order. Its ``["name"].tolist()`` is what
            :class:`~sklearn_ncti.ModelSelector` takes as `models`.

        Raises
        ------
        TypeError or ValueError
            If a condition cannot be read, a pattern matches nothing, or a license or data set
            is unknown; or if no model is left. The message then names the filter that removed
            the last one.

        Examples
        --------
        >>> from sklearn_ncti.datasets import load_catalogue
        >>> small = load_catalogue().filter(
        ...     ["convnext*", "mobilenetv4*"], license="permissive", max_gmacs=1, min_top1=74
        ... )
        >>> small.sort_by("top1", ascending=False)["name"].tolist()[:2]
        ['mobilenetv4_hybrid_medium.e500_r224_in1k', 'mobilenetv4_conv_medium.e500_r224_in1k']
        """
        filters = Filters(
            names=names,
            license=license,
            pretrained_on=pretrained_on,
            self_supervised=self_supervised,
            min_parameters=min_parameters,
            max_parameters=max_parameters,
            min_gmacs=min_gmacs,
            max_gmacs=max_gmacs,
            min_input_size=min_input_size,
            max_input_size=max_input_size,
            min_top1=min_top1,
            max_top1=max_top1,
            min_cpu_throughput=min_cpu_throughput,
            min_gpu_throughput=min_gpu_throughput,
        )
        return self.take(filters.kept(self))

    def sort_by(self, column: str, *, ascending: bool = True) -> "Catalogue":
        """Return the models in the order of a column; those of equal value keep theirs.

        Parameters
        ----------
        column : str
            Name of the column.

        ascending : bool, default=True
            Whether the smallest value comes first. Unknown values (NaN) are last either way.

        Returns
        -------
        catalogue : Catalogue
            The same models.

        Raises
        ------
        KeyError
            If there is no such column.
        """
        values = self[column]
        codes = np.unique(values, return_inverse=True)[1].reshape(-1)
        order = np.argsort(codes if ascending else -codes, kind="stable")
        if values.dtype.kind == "f":
            unknown = np.isnan(values[order])
            order = np.concatenate([order[~unknown], order[unknown]])
        return self.take(order)

    def take(self, places: ArrayLike) -> "Catalogue":
        """Return the models at some positions.

        Parameters
        ----------
        places : array-like of int
            Positions of models.

        Returns
        -------
        catalogue : Catalogue
            These models, in the order of the positions.
        """
        columns = {name: values[np.asarray(places)] for name, values in self._columns.items()}
        return Catalogue(columns, source=self._source)

    def __getitem__(self, column: str) -> np.ndarray:
        try:
            return self._columns[column]
        except (KeyError, TypeError):
            raise KeyError(
                f"{column!r} is no column of the catalogue; it has {', '.join(self)}."
            ) from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns)

    def __contains__(self, column: object) -> bool:
        return column in self._columns

    def __len__(self) -> int:
        return len(next(iter(self._columns.values()), ()))

    def __repr__(self) -> str:
        return f"<Catalogue of {len(self)} models: {', '.join(self)}>"


def load_catalogue() -> Catalogue:
    """Load published facts of every pre-trained model of timm.

    The facts come with the package: neither timm nor torch nor a network is needed. What is
    unknown is NaN, or an empty string.

    Returns
    -------
    catalogue : Catalogue
        One row for each pre-trained tag of the timm release that ``catalogue.source`` names,
        sorted by name. The columns are listed in the notes.

    See Also
    --------
    sklearn_ncti.TimmBackbone : Extract features with a model of the catalogue.

    Notes
    -----
    The columns are:

    ``name`` : str
        Name of the model with its tag, as timm takes it, for example ``"resnet50.a1_in1k"``.
    ``architecture`` : str
        The part of the name before the tag.
    ``is_default`` : bool
        Whether timm loads these weights if only the architecture is named.
    ``top1`` : float
        Top-1 accuracy on the ImageNet-1k validation images in per cent, at `test_input_size`.
        NaN for models that were not evaluated, among them all without an ImageNet-1k head.
    ``n_parameters`` : float
        Number of parameters, with the classification head if the model has one. The published
        number of the architecture is used if the tag has none. If the architecture has none,
        they were counted in the network that timm builds.
    ``gmacs``, ``activations`` : float
        Multiply-accumulate operations in billions, and number of activations, for one image of
        `input_size`. For networks whose branches can be merged (RepVGG, MobileOne), they are
        mostly of the merged network.
    ``input_size``, ``test_input_size`` : int
        Height and width in pixels of the images that the model takes by default, and of those
        that it was tested on.
    ``gpu_throughput``, ``cpu_throughput`` : float
        Images per second at `input_size`, by architecture: on an NVIDIA RTX 5090 with automatic
        mixed precision, and on an Intel i9-10940X in float32, compiled, one image at a time.
        They compare models; your machine gives other numbers.
    ``license`` : str
        License of the weights, as timm states it.
    ``supervision`` : str
        What the *last* stage of training learned from, derived from the name (see below).
    ``self_supervised`` : bool
        Whether `supervision` is "self-supervised".
    ``pretrained_on`` : str
        Name of the first data set that the tag names, such as "in1k", "in22k" or "laion2b".
        Data sets of fine-tuning, after "ft", are not considered.

    The first of these rules that holds decides `supervision`:

    * "labels": the tag ends in the name of a labelled data set (in1k, in12k, in21k, in22k,
      inw21k or bamboo; a resolution may follow), except for masked image modelling
      ("mim_in22k") and I-JEPA. A self-supervised or image-text model that was fine-tuned on
      ImageNet is therefore in this group.
    * "image-text": models that learned from images with texts. They have seen no class labels,
      but texts describe the classes. The name has CLIP, SigLIP, AIMv2, BEiT-3, TIPSv2, ViTamin,
      a perception encoder ("pe"), a vision-language model (Florence, PaliGemma, Gemma, Qwen,
      DeepSeek, InternVL), or a CLIP data set or model ("openai", "merged2b", "mclip").
    * "distilled": C-RADIO and EUPE, which imitate several other models.
    * "masks": the encoders of Segment Anything.
    * "self-supervised": DINO, its successors and their data sets (lvd, sat), MAE, FCMAE, masked
      image modelling, I-JEPA, SEER and Sapiens2.
    * "" for all others.

    Sources: the tables in the folder ``results`` of `pytorch-image-models
    <https://github.com/huggingface/pytorch-image-models>`_ (Apache-2.0), at the commit that
    ``catalogue.source`` names, and the configurations of the installed timm at the time. The
    file was written by ``benchmarks/build_catalogue.py``.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_ncti.datasets import load_catalogue
    >>> catalogue = load_catalogue()
    >>> known = np.isfinite(catalogue["top1"])
    >>> len(catalogue), int(known.sum())
    (1826, 1266)
    >>> small = known & (catalogue["n_parameters"] < 6e6)
    >>> best = np.argmax(np.where(small, catalogue["top1"], -np.inf))
    >>> str(catalogue["name"][best]), float(catalogue["top1"][best])
    ('edgenext_small.usi_in1k', 81.574)
    >>> accuracies = dict(zip(catalogue["name"], catalogue["top1"], strict=True))
    >>> float(accuracies["resnet50.a1_in1k"])
    81.24
    """
    return _load()


# The arrays are read-only, so that one catalogue can serve everybody.
@cache
def _load() -> Catalogue:
    comments: list[str] = []
    rows: list[str] = []
    with gzip.open(_FILE, "rt", encoding="utf-8", newline="") as lines:
        for line in lines:
            (comments if line.startswith("#") else rows).append(line)
    header, *records = csv.reader(rows)
    texts = dict(zip(header, zip(*records, strict=True), strict=True))
    columns = {name: _parsed(texts[name], kind) for name, kind in _TYPES.items()}
    columns["self_supervised"] = columns["supervision"] == "self-supervised"
    return Catalogue(columns, source=" ".join(line.lstrip("# ").rstrip() for line in comments))


def _parsed(texts, kind) -> np.ndarray:
    if kind is bool:
        return np.array([text == "1" for text in texts])
    if kind is float:
        return np.array([float(text or "nan") for text in texts])
    return np.array(texts, dtype=kind)


def _read_only(values: ArrayLike) -> np.ndarray:
    values = np.array(values)
    values.setflags(write=False)
    return values
