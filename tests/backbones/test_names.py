"""Names of timm's models and wildcards."""

import json

import numpy as np
import pytest

torch = pytest.importorskip("torch")
timm = pytest.importorskip("timm")

from sklearn_ncti.backbones import (  # noqa: E402
    TimmBackbone,
    check_model_name,
    expand_model_names,
)
from sklearn_ncti.backbones._names import names_of_folders  # noqa: E402

MODEL = "test_resnet"


@pytest.fixture
def no_download(monkeypatch):
    monkeypatch.setattr(timm, "create_model", lambda *a, **k: pytest.fail("a model was made"))


@pytest.mark.parametrize(
    "name",
    ["resnet18", "resnet18.a1_in1k", MODEL, "hf-hub:timm/resnet18.a1_in1k", "hf-hub:a/b@main"],
)
def test_good_names(no_download, name):
    check_model_name(name)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("resnet19", "unknown model 'resnet19'.*resnet18"),
        ("resnet18 ", "unknown model 'resnet18 '.*resnet18"),
        ("", "unknown model ''"),
        ("resnet18.a1_in2k", r"tag 'a1_in2k'.*resnet18\.a1_in1k"),
        ("resnet19.a1_in1k", "no architecture of that name.*resnet18"),
        ("vit_small_r20_s16_p2_224", "has no architecture"),
        ("resnet*", r"wildcard.*ModelSelector"),
        ("resnet1?.a1_in1k", "wildcard"),
        ("timm/resnet18", "'hf-hub:owner/name'.*'local-dir:folder'"),
        ("web:resnet18", "none of timm's names"),
        ("hf-hub:resnet18", "not of the form 'hf-hub:owner/name'"),
        ("hf-hub:timm/resnet*", "not of the form"),
        ("hf-hub:", "not of the form"),
    ],
)
def test_bad_names(no_download, name, message):
    # Nothing but the name is looked at: the same from fit, before anything is loaded.
    with pytest.raises(ValueError, match=message):
        check_model_name(name)
    if name:
        with pytest.raises(ValueError, match=message):
            TimmBackbone(name).fit(np.zeros((1, 8, 8), np.uint8))


def test_name_of_another_type():
    with pytest.raises(TypeError, match="must be a string; got 3"):
        check_model_name(3)


def test_architecture_without_weights(no_download):
    with_weights = {name.partition(".")[0] for name in timm.list_models(pretrained=True)}
    bare = next(name for name in timm.list_models() if name not in with_weights)
    check_model_name(bare, pretrained=False)
    with pytest.raises(ValueError, match=f"no pre-trained weights for '{bare}'.*pretrained=False"):
        check_model_name(bare)


def test_tag_without_weights(no_download):
    with_weights = set(timm.list_models(pretrained=True))
    architectures = {name.partition(".")[0] for name in with_weights}
    bare = next(
        name
        for name in timm.list_models(include_tags=True)
        if "." in name and name not in with_weights and name.partition(".")[0] in architectures
    )
    check_model_name(bare, pretrained=False)
    with pytest.raises(ValueError, match="It has some for"):
        check_model_name(bare)


def test_a_folder_is_no_name(no_download, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("zoo/net", "mine", "resnet18"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("zoo/net", "mine", str(tmp_path / "mine")):
        with pytest.raises(ValueError, match=f"is a folder: write 'local-dir:{name}'"):
            check_model_name(name)
    # A name of timm's is one, whatever is in the current folder.
    check_model_name("resnet18")


def test_old_name(no_download):
    old, new = next((k, v) for k, v in timm.models.get_deprecated_models().items() if v)
    with pytest.raises(ValueError, match=f"'{old}' is an old name.*'{new}'"):
        check_model_name(old)


def test_local_folders_that_timm_cannot_load(no_download, tmp_path):
    name = f"local-dir:{tmp_path}"
    with pytest.raises(ValueError, match=r"there is no folder .*absent"):
        check_model_name(f"{name}/absent")
    with pytest.raises(ValueError, match="there is no folder"):
        check_model_name("local-dir:")
    with pytest.raises(ValueError, match=r"holds no config\.json"):
        check_model_name(name)
    config = tmp_path / "config.json"
    for text in ("{", "[]", "{}"):
        config.write_text(text)
        with pytest.raises(ValueError, match=r"config\.json.*key 'architecture'"):
            check_model_name(name)
    config.write_text('{"architecture": "resnet19"}')
    with pytest.raises(ValueError, match=r"'resnet19'.*unknown to timm.*resnet18"):
        check_model_name(name)
    config.write_text(json.dumps({"architecture": MODEL}))
    with pytest.raises(ValueError, match=r"holds no weights.*model\.safetensors"):
        check_model_name(name)
    check_model_name(name, pretrained=False)
    (tmp_path / "model.safetensors").touch()
    check_model_name(name)


# --- short names of folders


@pytest.mark.parametrize(
    ("folders", "taken", "names"),
    [
        (["zoo/net", "other/mine"], [], ["net", "mine"]),
        (["a/x", "b/x"], [], ["a/x", "b/x"]),
        (["1/a/x", "2/a/x", "2/a/y"], [], ["1/a/x", "2/a/x", "y"]),
        # One needs a folder more than the others, which keep what is enough for them.
        (["1/a/x", "2/a/x", "b/x"], [], ["1/a/x", "2/a/x", "b/x"]),
        # A folder in another of the same name.
        (["x", "x/x"], [], ["here/x", "x/x"]),
        (["zoo/resnet18"], ["resnet18"], ["zoo/resnet18"]),
        (["resnet18"], ["resnet18"], ["here/resnet18"]),
        (["zoo/net/", "./zoo/net", "zoo/a/../net"], [], ["net", "net", "net"]),
        ([".", "zoo"], [], ["here", "zoo"]),
        (["a:b=c"], [], ["a:b=c"]),
    ],
)
def test_folders_are_named_by_as_little_as_tells_them_apart(
    tmp_path, monkeypatch, folders, taken, names
):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    models = [f"local-dir:{folder}" for folder in folders]
    short = names_of_folders(models, taken)
    assert [short[model] for model in models] == names


def test_what_is_left_has_the_whole_path(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    whole = (tmp_path / "x").as_posix()
    endings = [whole[i + 1 :] for i, character in enumerate(whole) if character == "/"]
    assert names_of_folders(["local-dir:x"], endings) == {"local-dir:x": whole}


# --- wildcards


def test_wildcards(no_download):
    names = expand_model_names(["test_vit2*", "resnet18.a1_in1k", "resnet18*"])
    assert names[:2] == ["test_vit2.r160_in1k", "resnet18.a1_in1k"]
    assert set(names[1:]) == set(timm.list_models("resnet18*", pretrained=True))
    assert len(names) == len(set(names))


def test_wildcards_without_weights(no_download):
    assert expand_model_names(["test_vi[t]"], pretrained=False) == ["test_vit"]
    assert "test_vit.r160_in1k" in expand_model_names(["test_vi?.*"], pretrained=False)


def test_wildcards_that_repeat_are_merged(no_download):
    names = expand_model_names(["test_resnet*", "test_res*", "test_resnet.r160_in1k"])
    assert names == ["test_resnet.r160_in1k"]


@pytest.mark.parametrize(
    ("patterns", "message"),
    [
        (["resnet18", "resnet18"], "'resnet18' is given twice"),
        (["resnett18*"], r"matches 'resnett18\*'.*closest names.*resnet18"),
        (["resnet18", "resnet19"], "unknown model 'resnet19'"),
        ([], "at least one"),
    ],
)
def test_bad_lists_of_names(no_download, patterns, message):
    with pytest.raises(ValueError, match=message):
        expand_model_names(patterns)


def test_lists_of_another_type(no_download):
    for wrong in ("resnet18", None, {"resnet18"}):
        with pytest.raises(TypeError, match="must be a list of strings"):
            expand_model_names(wrong)
    with pytest.raises(TypeError, match="must be a string"):
        expand_model_names([3])
