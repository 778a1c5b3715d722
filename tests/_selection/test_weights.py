"""Weights of dropped candidates are deleted, and nothing else."""

import pytest
from sklearn.decomposition import PCA

pytest.importorskip("torch")
pytest.importorskip("timm")
pytest.importorskip("huggingface_hub")

from image_pool import candidates

from sklearn_ncti import HalvingModelSelector, NearestCenterClassifier
from sklearn_ncti._selection.weights import NewWeights
from sklearn_ncti.backbones import _hub

NAMES = [f"test_{name}.r160_in1k" for name in ("vit", "efficientnet", "byobnet", "convnext")]
REPOSITORIES = [f"timm/{name}" for name in NAMES]


def halving(models, **parameters):
    scorer = NearestCenterClassifier(n_components=4, cv="loo", shrinkage="scale-free")
    return HalvingModelSelector(
        models, scorer=scorer, min_samples=20, elimination="factor", n_resamples=40, **parameters
    )


def dropped(selector):
    """The repositories of candidates that the second iteration did not have, but the best."""
    results = selector.results_
    names = results["model"][results["iteration"] == 1]
    return {f"timm/{name}" for name in names if name != selector.best_name_}


def test_weights_of_dropped_candidates_are_deleted(data, hub):
    selector = halving(candidates(NAMES), keep_weights=False).fit(*data)
    assert len(dropped(selector)) >= 2
    left = hub.repositories()
    assert not left & dropped(selector)
    assert f"timm/{selector.best_name_}" in left
    # The best model still works.
    assert len(selector.transform(data[0][:2])) == 2


def test_weights_are_kept_by_default(data, hub):
    selector = halving(candidates(NAMES)).fit(*data)
    assert dropped(selector)
    assert hub.repositories() == set(REPOSITORIES)


def test_weights_that_were_in_the_cache_are_kept(data, hub):
    for repository in REPOSITORIES:
        hub.put(repository)
    selector = halving(candidates(NAMES), keep_weights=False).fit(*data)
    assert dropped(selector)
    assert hub.repositories() == set(REPOSITORIES)
    assert hub.asked == []


def test_only_what_the_candidates_used_is_deleted(hub):
    # A repository of which the cache holds a configuration alone is the user's as well.
    (hub.path(REPOSITORIES[0]) / "snapshots").mkdir(parents=True)
    new = NewWeights()
    for repository in [*REPOSITORIES, "timm/other", "own/a"]:
        hub.put(repository) if repository != "timm/other" else hub.path(repository).mkdir()
    pool = [*candidates([*NAMES, "hf-hub:own/a"]), ("pca", PCA())]
    # The last of them is needed for another output.
    staying = [("probabilities", pool[3][1])]
    new.delete([*pool, *staying], staying)
    gone = {REPOSITORIES[1], REPOSITORIES[2]}
    assert hub.repositories() == {*REPOSITORIES, "timm/other", "own/a"} - gone
    new.delete(pool, staying)
    assert hub.repositories() == {*REPOSITORIES, "timm/other", "own/a"} - gone


@pytest.mark.parametrize("name", ["hf-hub:timm/test_vit", "hf-hub:timm/test_vit@0a1b"])
def test_repositories_of_timm_named_as_those_of_the_hub(hub, name):
    new = NewWeights()
    hub.put("timm/test_vit")
    new.delete(candidates([name]), [])
    assert hub.repositories() == set()


def test_random_weights_have_no_repository(hub):
    new = NewWeights()
    hub.put(REPOSITORIES[0])
    new.delete(candidates(NAMES[:1], pretrained=False), [])
    assert hub.repositories() == set(REPOSITORIES[:1])


def link(place, target):
    try:
        place.symlink_to(target, target_is_directory=target.is_dir())
    except OSError:
        pytest.skip("no links on this file system")


def test_links_are_not_followed(hub, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "file").write_text("precious")
    new = NewWeights()
    # A link in the place of a repository stays; one within a repository goes, but alone.
    link(hub.path(REPOSITORIES[0]), elsewhere)
    hub.put(REPOSITORIES[1])
    link(hub.path(REPOSITORIES[1]) / "snapshots" / "latest", elsewhere)
    link(hub.path(REPOSITORIES[1]) / "file", elsewhere / "file")
    hub.path(REPOSITORIES[2]).mkdir()
    link(hub.path(REPOSITORIES[2]) / "snapshots", elsewhere)
    new.delete(candidates(NAMES[:3]), [])
    assert hub.repositories() == {REPOSITORIES[0]}
    assert [path.name for path in elsewhere.iterdir()] == ["file"]
    assert (elsewhere / "file").read_text() == "precious"


def test_a_folder_that_cannot_be_deleted_is_no_error(hub, monkeypatch):
    new = NewWeights()
    hub.put(REPOSITORIES[0])

    def refuse(path, ignore_errors=False):
        assert ignore_errors

    monkeypatch.setattr(_hub.shutil, "rmtree", refuse)
    new.delete(candidates(NAMES[:1]), [])
    assert hub.repositories() == set(REPOSITORIES[:1])
