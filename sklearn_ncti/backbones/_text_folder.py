"""The folder of a text encoder: where it is, what it holds, and how transformers loads it."""

import json
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import RLock
from typing import TYPE_CHECKING, Any

from .._utils.optional import import_optional
from ._hub import download_from_hub
from ._identity import check_download, identify_files, key_of
from ._names import is_of_hub, local_folder

if TYPE_CHECKING:
    import torch

# Files that make a tokenizer, without which transformers would make an empty one up.
_VOCABULARIES = (
    *("tokenizer.json", "vocab.txt", "vocab.json", "tokenizer.model", "spiece.model"),
    *("sentencepiece.bpe.model", "sentencepiece.model", "spm.model", "bpe.codes"),
)
_OTHER_FILES = (
    *("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "merges.txt"),
)
# Those of these classes need no vocabulary: their tokens are bytes or characters.
_WITHOUT_VOCABULARY = ("ByT5Tokenizer", "CanineTokenizer", "PerceiverTokenizer")

_WEIGHTS = (
    *("model.safetensors", "model.safetensors.index.json"),
    *("pytorch_model.bin", "pytorch_model.bin.index.json"),
)

_OF_SENTENCE_TRANSFORMERS = (
    *("modules.json", "sentence_bert_config.json", "1_Pooling/config.json"),
)

# All files that are read from a folder but for the weights and code.
SMALL_FILES = ("config.json", *_VOCABULARIES, *_OTHER_FILES, *_OF_SENTENCE_TRANSFORMERS)

# What a tokenizer states beyond it is no limit.
_NO_LIMIT = 10**9

# Where the numbers of positions start behind that of padding.
_OFFSET_POSITIONS = ("roberta", "xlm-roberta", "camembert", "mpnet", "longformer")

# What was asked of the hub in this process: files that it lacks are not asked for again.
_asked: set[tuple[str, str, str, str | None, bool]] = set()

# What transformers tells and shows is a setting of the process.
_LOCK = RLock()


def check_text_model(name: str) -> None:
    """Check the name of a text encoder, and a local folder, before anything is downloaded.

    Parameters
    ----------
    name : str
        ``"local-dir:folder"``, ``"hf-hub:owner/name"`` or ``"owner/name"``. What lies on the
        hub is not looked up.

    Raises
    ------
    TypeError
        If `name` is no string.

    ValueError
        If it has none of these forms, or the folder lacks its configuration, tokenizer or
        weights.
    """
    if not isinstance(name, str):
        raise TypeError(f"the name of a text model must be a string; got {name!r}.")
    if name.startswith("local-dir:"):
        _check_folder(name, local_folder(name))
    elif not re.fullmatch(r"((hf-hub|hf_hub):)?[\w.-]+/[\w.-]+", name):
        raise ValueError(
            f"the text model {name!r} is neither 'local-dir:folder' nor 'owner/name' or "
            "'hf-hub:owner/name' for a model on the Hugging Face hub."
        )


def folder_of(name: str, revision: str | None, *, weights: bool = True) -> Path:
    """Return the folder of a model, downloaded if it is not in the hub's cache.

    Without `weights`, only the small files need be in it: they say how texts are tokenized.
    """
    check_text_model(name)
    if name.startswith("local-dir:"):
        if revision is not None:
            raise ValueError(
                f"revision={revision!r} is that of a repository of the hub, and {name!r} is a "
                "local folder: use revision=None."
            )
        return local_folder(name)
    try:
        folder = _repository_folder(repository_of(name), revision, weights)
    except OSError as exc:
        raise RuntimeError(
            f"could not load {name!r}: {exc}. Without a network, use a 'local-dir:' folder, or "
            "fill the cache where there is one (fit once there) and take it along: the "
            "environment variable HF_HOME names its folder."
        ) from exc
    _check_folder(name, folder, weights)
    return folder


def is_at_hand(name: str, revision: str | None) -> bool:
    """Whether all files of a model are on this machine; nothing is asked of the hub."""
    if name.startswith("local-dir:"):
        return True
    try:
        return _in_cache(repository_of(name), revision, True)[0] is not None
    except (ImportError, OSError, ValueError):
        # Without its package the hub has no cache, and a damaged file comes again.
        return False


def repository_of(name: str) -> str:
    """Return owner and name of the repository of a model on the hub."""
    return name.partition(":")[2] if is_of_hub(name) else name


def _repository_folder(repository: str, revision: str | None, weights: bool) -> Path:
    """Return the folder of a repository in the hub's cache, after what is missing came."""
    folder, unknown = _in_cache(repository, revision, weights)
    constants = import_optional("huggingface_hub.constants", extra="text")
    request = (constants.ENDPOINT, str(constants.HF_HUB_CACHE), repository, revision, weights)
    if folder is None or (unknown and request not in _asked):
        try:
            download_from_hub(
                f"{repository}@{revision}" if revision else repository,
                _WEIGHTS if weights else SMALL_FILES[:1],
                more=SMALL_FILES,
                library="transformers",
            )
        except OSError:
            # What another program has downloaded may be all that there is.
            if folder is None:
                raise
        _asked.update({request, (*request[:-1], False)})
        folder, _ = _in_cache(repository, revision, weights)
    if folder is None:
        raise FileNotFoundError(f"the cache of the hub holds no whole model {repository!r}")
    return folder


def _in_cache(repository: str, revision: str | None, weights: bool) -> tuple[Path | None, bool]:
    """Return the folder of a repository in the hub's cache, None if it lacks what is needed.

    The second value says whether it is unknown of some of the small files if there are any.
    """
    hub = import_optional("huggingface_hub", extra="text")

    def known(name: str) -> Any:
        return hub.try_to_load_from_cache(repository, name, revision=revision)

    found = {name: known(name) for name in SMALL_FILES}
    config = found["config.json"]
    if not isinstance(config, str):
        return None, True
    if not any(isinstance(found[name], str) for name in (*_VOCABULARIES, *_OTHER_FILES)):
        return None, True
    folder = Path(config).parent
    for part in _weight_files(folder, known) if weights else []:
        if part is None or not part.is_file():
            return None, True
        check_download(part)
    return folder, None in found.values()


def _weight_files(folder: Path, known: Callable[[str], Any]) -> list[Path | None]:
    """Return the files of weights that are needed of a folder; None for one without a name."""
    weights = next((path for path in map(known, _WEIGHTS) if isinstance(path, str)), None)
    if weights is None:
        return [None]
    file = Path(weights)
    if file.suffix != ".json":
        return [file]
    return [file, *(folder / part for part in set(_read_json(file)["weight_map"].values()))]


def _check_folder(name: str, folder: Path, weights: bool = True) -> None:
    """Check that a folder holds what transformers loads from it."""
    if not folder.is_dir():
        raise ValueError(
            f"model {name!r}: there is no folder {os.fspath(folder)!r}. "
            "Relative paths are looked up from the current folder."
        )
    config = read_config(folder)
    if weights and not any((folder / file).is_file() for file in _WEIGHTS):
        raise ValueError(
            f"model {name!r}: the folder {os.fspath(folder)!r} holds no weights, such as "
            "model.safetensors (save_pretrained writes them)."
        )
    file = folder / "tokenizer_config.json"
    kind = _read_json(file).get("tokenizer_class") if file.is_file() else None
    has_vocabulary = any((folder / file).is_file() for file in _VOCABULARIES)
    if not has_vocabulary and kind not in _WITHOUT_VOCABULARY and "auto_map" not in config:
        raise ValueError(
            f"model {name!r}: the folder {os.fspath(folder)!r} holds no tokenizer, such as "
            "tokenizer.json or vocab.txt (the tokenizer's save_pretrained writes it)."
        )


def read_config(folder: Path) -> dict[str, Any]:
    """Return the configuration of a model as it is written."""
    file = folder / "config.json"
    if not file.is_file():
        raise ValueError(
            f"the folder {os.fspath(folder)!r} holds no config.json, which tells transformers "
            "the architecture (save_pretrained writes one)."
        )
    config = _read_json(file)
    if "model_type" not in config:
        raise ValueError(
            f"{os.fspath(file)!r} is not a configuration of transformers: it has no key "
            "'model_type'. Models of timm go to a TimmBackbone."
        )
    return config


def _read_json(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as exc:
        raise ValueError(f"{os.fspath(file)!r} is no JSON file ({exc}).") from exc
    if not isinstance(found, dict):
        raise ValueError(f"{os.fspath(file)!r} holds a {type(found).__name__}, not an object.")
    return found


def load_config(folder: Path, trust_remote_code: bool) -> Any:
    """Return the configuration as an object of transformers."""
    transformers = import_optional("transformers", extra="text")
    _check_trust(folder, trust_remote_code)
    with quiet():
        return transformers.AutoConfig.from_pretrained(
            folder, trust_remote_code=trust_remote_code, local_files_only=True
        )


def load_tokenizer(folder: Path, trust_remote_code: bool) -> Any:
    """Return the tokenizer of a folder."""
    transformers = import_optional("transformers", extra="text")
    _check_trust(folder, trust_remote_code)
    with quiet():
        return transformers.AutoTokenizer.from_pretrained(
            folder, trust_remote_code=trust_remote_code, local_files_only=True
        )


def load_module(folder: Path, trust_remote_code: bool) -> "torch.nn.Module":
    """Return the encoder of a folder in float32, with all its weights.

    Weights are read from safetensors, or with torch's ``weights_only``.

    Raises
    ------
    ValueError
        If the file lacks weights of the encoder, which would be left random.
    """
    transformers = import_optional("transformers", extra="text")
    torch = import_optional("torch", extra="text")
    config = load_config(folder, trust_remote_code)
    # Encoders of encoder-decoder models have classes of their own, which leave the rest out.
    has_own = type(config) in transformers.MODEL_FOR_TEXT_ENCODING_MAPPING
    loader = transformers.AutoModelForTextEncoding if has_own else transformers.AutoModel
    with quiet():
        module, info = loader.from_pretrained(
            folder,
            config=config,
            trust_remote_code=trust_remote_code,
            local_files_only=True,
            dtype=torch.float32,
            output_loading_info=True,
        )
    missing = set(info["missing_keys"]) | {key for key, *_ in info["mismatched_keys"]}
    if getattr(config, "is_encoder_decoder", False) and hasattr(module, "get_encoder"):
        encoder = module.get_encoder()
        own = {id(weight) for weight in encoder.parameters()}
        of_encoder = {name for name, weight in module.named_parameters() if id(weight) in own}
        missing &= of_encoder
        module = encoder
    # The pooler comes behind the token vectors, which are all that is used.
    missing = {key for key in missing if "pooler" not in key.split(".")}
    if missing:
        raise ValueError(
            f"the weights in {os.fspath(folder)!r} hold nothing for {len(missing)} of the "
            f"network's own, which are left random: {', '.join(sorted(missing)[:5])}"
            f"{', ...' if len(missing) > 5 else ''}. Check that config.json names the "
            "architecture of the weights."
        )
    if getattr(module.config, "use_cache", False):
        # Of decoders: what they would keep for the next token is of no use here.
        module.config.use_cache = False
    return module


def identify_tokenizer(folder: Path) -> str:
    """Return a hash of the content of the files of a tokenizer."""
    transformers = import_optional("transformers", extra="text")
    names = (*_VOCABULARIES, *_OTHER_FILES)
    files = [folder / name for name in names if (folder / name).is_file()]
    # Without a configuration of its own, the tokenizer is that of the kind of model.
    kind = read_config(folder)["model_type"]
    if "tokenizer_config.json" in [file.name for file in files]:
        kind = None
    return key_of(
        {
            "files": identify_files(files),
            "model_type": kind,
            "transformers": transformers.__version__,
        }
    )


def identify_weights(folder: Path) -> dict[str, Any]:
    """Return the content of the configuration, the weights and any code of a folder."""
    transformers = import_optional("transformers", extra="text")
    files = sorted(
        file
        for file in folder.iterdir()
        if file.name == "config.json" or file.suffix in (".safetensors", ".bin", ".py")
    )
    return {"transformers": transformers.__version__, "files": identify_files(files)}


def most_tokens(folder: Path, config: Any) -> int | None:
    """Return the most tokens of a text that a model takes; None if it states no limit."""
    file = folder / "tokenizer_config.json"
    stated = _read_json(file).get("model_max_length") if file.is_file() else None
    # Tokenizers without a limit state one of astronomical size.
    limits = [int(stated)] if stated is not None and 0 < stated < _NO_LIMIT else []
    positions = getattr(config, "max_position_embeddings", None)
    if isinstance(positions, int) and positions > 0:
        if config.model_type in _OFFSET_POSITIONS:
            positions -= (config.pad_token_id or 0) + 1
        limits.append(positions)
    return min(limits, default=None)


@contextmanager
def quiet() -> Iterator[None]:
    """Keep transformers from logging and from showing bars while it loads; then put it back."""
    logging = import_optional("transformers.utils.logging", extra="text")
    with _LOCK:
        level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
        logging.set_verbosity_error()
        logging.disable_progress_bar()
        try:
            yield
        finally:
            logging.set_verbosity(level)
            if bars:
                logging.enable_progress_bar()


def _check_trust(folder: Path, trust_remote_code: bool) -> None:
    """Refuse a model that brings code of its own, unless it is trusted."""
    transformers = import_optional("transformers", extra="text")
    config = read_config(folder)
    known = config["model_type"] in transformers.CONFIG_MAPPING
    if "auto_map" in config and not known and not trust_remote_code:
        raise ValueError(
            f"the model in {os.fspath(folder)!r} runs code of its own, which is refused. Read "
            "that code, and use trust_remote_code=True if you trust it."
        )
