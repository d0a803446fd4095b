from __future__ import annotations

import pytest

from caviar.errors import UsageError
from caviar.jobs.environment import from_file, installer, requirements, variables, without
from caviar.store.place import place


def test_variables_are_given_or_taken_from_here():
    here = {"TOKEN": "abc", "EMPTY": ""}
    words = ["A=1", "B=x=y", "TOKEN", "EMPTY", "A=2", "C="]
    assert variables(words, here) == {"A": "2", "B": "x=y", "TOKEN": "abc", "EMPTY": "", "C": ""}


@pytest.mark.parametrize(
    ("word", "why"),
    [("NOPE", "--env NOPE: is not set here"), ("a-b=1", "needs NAME=VALUE"), ("=1", "needs NAME=VALUE")],
)
def test_what_is_no_variable_is_said(word, why):
    with pytest.raises(UsageError, match=why):
        variables([word], {})


def test_what_reaches_a_store_from_here_and_is_not_sent_is_named():
    here = {"AWS_SECRET_ACCESS_KEY": "s", "AWS_ACCESS_KEY_ID": "k", "GOOGLE_SERVICE_ACCOUNT": "g", "HOME": "/"}
    assert without(place("s3://b/x"), {}, here) == ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"]
    assert without(place("s3://b/x"), {"AWS_ACCESS_KEY_ID": "other"}, here) == ["AWS_SECRET_ACCESS_KEY"]
    assert without(place("gs://b/x"), {}, here) == ["GOOGLE_SERVICE_ACCOUNT"]
    assert without(place("/shared/x"), {}, here) == []


def test_requirements_are_read_with_those_that_they_include(tmp_path):
    (tmp_path / "more").mkdir()
    (tmp_path / "requirements.txt").write_text(
        "\ufeff# what we need\nscikit-learn>=1.5  # for digits\n\n-r more/base.txt\n--extra-index-url https://x.org/simple\n"
        "torch==2.6 \\\n    --hash=sha256:ab\nname @ https://x.org/name.whl\nscikit-learn>=1.5\n"
    )
    (tmp_path / "more/base.txt").write_text("--requirement=../requirements.txt\nnumpy\n")
    assert requirements(tmp_path / "requirements.txt") == [
        "scikit-learn>=1.5",
        "numpy",
        "--extra-index-url https://x.org/simple",
        "torch==2.6      --hash=sha256:ab",
        "name @ https://x.org/name.whl",
    ]


@pytest.mark.parametrize(
    "line",
    ["-e .", "--editable=./lib", ".", "./lib", "../lib[x]", "/opt/lib", "lib @ file:///opt/lib", "-c limits.txt"],
)
def test_requirements_that_only_this_machine_has_are_refused(tmp_path, line):
    file = tmp_path / "requirements.txt"
    file.write_text(f"numpy\n{line}\n")
    with pytest.raises(UsageError, match="refers to files of this machine"):
        requirements(file)


def test_requirements_that_cannot_be_read_are_said(tmp_path):
    with pytest.raises(UsageError, match=r"--requirements .*nope\.txt: cannot be read: No such file"):
        requirements(tmp_path / "nope.txt")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="is no text file"):
        requirements(tmp_path / "binary")


@pytest.mark.parametrize(
    "text", ["env_vars: {A: '1'}\nuv: [numpy]\n", '{"env_vars": {"A": "1"}, "uv": ["numpy"]}']
)
def test_a_runtime_environment_is_yaml_or_json(tmp_path, text):
    (tmp_path / "env").write_text(text)
    found = from_file(tmp_path / "env")
    assert found == {"env_vars": {"A": "1"}, "uv": ["numpy"]}
    assert installer(found) == "uv"
    assert installer({"pip": [], "env_vars": {}}) is None


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[1, 2]", "needs fields and their values"),
        ("a: [", "is neither YAML nor JSON"),
        ("working_dir: .", "leave it out, and give --working-dir"),
        ("env_vars: [A]", "env_vars is .*, not a dict"),
        ("py_modules: a", "py_modules is 'a', not a list"),
        (None, "cannot be read"),
    ],
)
def test_what_is_no_runtime_environment_is_said_in_one_line(tmp_path, text, why):
    if text is not None:
        (tmp_path / "env.yaml").write_text(text)
    with pytest.raises(UsageError, match=f"--runtime-env .*env.yaml: .*{why}") as error:
        from_file(tmp_path / "env.yaml")
    assert len(str(error.value)) < 500
