"""Wrong arguments: one line, and what to write."""

import shlex

from sklearn_ncti._cli.options import RankOptions
from sklearn_ncti._cli.parser import parse_options


def test_a_folder_that_an_option_took(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my images").mkdir()
    (tmp_path / "t.csv").touch()
    for argv, option, corrected in (
        (
            ["--models", "resnet18", "vit*", "my images"],
            "--models",
            "sklearn-ncti rank 'my images' --models resnet18 'vit*'",
        ),
        (
            ["--text", "text", "--models", "a/b", "t.csv", "--label", "y"],
            "--models",
            "sklearn-ncti rank t.csv --text text --models a/b --label y",
        ),
        (
            ["--models", "resnet18", "--license", "mit", "t.csv", "-v"],
            "--license",
            "sklearn-ncti rank t.csv --models resnet18 --license mit -v",
        ),
    ):
        status, out, err = run("rank", *argv)
        assert (status, out, len(err.splitlines())) == (2, "", 1)
        assert f"FOLDER is missing: {option} takes all values behind it" in err
        assert err.endswith(f"write the folder first: {corrected}\n")
        # The command that is shown is understood.
        assert isinstance(parse_options(shlex.split(corrected)[1:]), RankOptions)
    # Nothing is guessed at where no value is a path, or the only one is the model.
    for argv in (["--models", "resnet18", "nowhere"], ["--models", "my images"], []):
        status, out, err = run("rank", *argv)
        assert (status, out, len(err.splitlines())) == (2, "", 1)
        assert "takes all values" not in err
        assert "FOLDER" in err
