"""What a sentence-transformers folder says of its pooling."""

import json

import pytest

from sklearn_ncti.backbones._pooling import Pooling, pooling_of

TRANSFORMER = {"idx": 0, "path": "", "type": "sentence_transformers.models.Transformer"}
POOLING = {"idx": 1, "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"}
NORMALIZE = {"idx": 2, "path": "2_Normalize", "type": "sentence_transformers.models.Normalize"}


def write(folder, modules, pooling, limits=None):
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir(exist_ok=True)
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    if limits is not None:
        (folder / "sentence_bert_config.json").write_text(json.dumps(limits))
    return folder


@pytest.mark.parametrize(
    ("config", "modes"),
    [
        ({"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False}, ("mean",)),
        ({"pooling_mode_lasttoken": True}, ("last",)),
        ({"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": True}, ("cls", "mean")),
        ({"pooling_mode": "cls"}, ("cls",)),
        ({"pooling_mode": ["mean", "max"]}, ("mean", "max")),
    ],
)
def test_modes(tmp_path, config, modes):
    folder = write(tmp_path, [TRANSFORMER, POOLING], config)
    assert pooling_of("auto", folder) == Pooling(modes)
    # A name is what it is, whatever the folder says.
    assert pooling_of("max", folder) == Pooling(("max",))


def test_normalisation_and_limits(tmp_path):
    limits = {"max_seq_length": 256, "do_lower_case": True}
    mean = {"pooling_mode_mean_tokens": True}
    folder = write(tmp_path, [TRANSFORMER, POOLING, NORMALIZE], mean, limits)
    assert pooling_of("auto", folder) == Pooling(("mean",), True, 256, True)


def test_other_folders_are_averaged(tmp_path):
    assert pooling_of("auto", tmp_path) == Pooling(("mean",))


@pytest.mark.parametrize(
    ("modules", "config", "message"),
    [
        ([TRANSFORMER, POOLING], {"pooling_mode_weightedmean_tokens": True}, "weightedmean"),
        ([TRANSFORMER, POOLING], {}, "asks for the pooling"),
        ([TRANSFORMER], {}, "names no pooling"),
        ([POOLING | {"type": "x.models.Dense"}], {}, "module 'Dense' in place 0"),
        ([TRANSFORMER, TRANSFORMER], {}, "module 'Transformer' in place 1"),
        ([TRANSFORMER, NORMALIZE], {}, "module 'Normalize' in place 1"),
    ],
)
def test_what_is_not_supported_is_refused(tmp_path, modules, config, message):
    folder = write(tmp_path, modules, config)
    with pytest.raises(ValueError, match=message):
        pooling_of("auto", folder)


def test_files_that_cannot_be_read(tmp_path):
    folder = write(tmp_path, [TRANSFORMER, POOLING], {"pooling_mode": "cls"})
    (folder / "1_Pooling" / "config.json").write_text("{")
    with pytest.raises(ValueError, match="cannot be read"):
        pooling_of("auto", folder)
