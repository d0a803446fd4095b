from __future__ import annotations

import os
import subprocess
import zipfile
from pathlib import Path

import pytest

from caviar.errors import UsageError
from caviar.jobs.package import most_bytes, pack, size, told
from caviar.jobs.working_dir import default_root, survey


@pytest.fixture(autouse=True)
def _nothing_known_of_git(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Whatever who runs the tests has git ignore."""
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_SYSTEM", os.devnull)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.mktemp("config")))


def lay(root: Path, *names: str, text: str = "x") -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def sent(root: Path) -> set[str]:
    return set(survey(root).sizes_bytes)


def git(root: Path, *arguments: str) -> str:
    alone = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull, "PATH": os.environ["PATH"]}
    command = ["git", "-C", str(root), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True, env=alone).stdout


def test_everything_is_sent_but_environments_caches_and_sweeps(tmp_path):
    kept = {"train.py", "lib/a.py", "lib/runs/b.py", ".hidden", "conf/x.yaml", "notes/sweep.json"}
    lay(tmp_path, *kept)
    lay(
        tmp_path,
        ".git/HEAD",
        "lib/__pycache__/a.pyc",
        "lib/old.pyc",
        ".venv/bin/python",
        "env/pyvenv.cfg",
        "env/bin/x",
    )
    lay(tmp_path, "runs/digits/notes.txt", "out/digits/sweep.json", "out/digits/metrics/part", ".mypy_cache/x")
    assert sent(tmp_path) == kept


def test_ignore_files_are_read_as_git_reads_them(tmp_path):
    git(tmp_path, "init", "--quiet")
    lay(tmp_path, "data/a.csv", "data/keep/b.csv", "lib/data/c.csv", "build/x", "lib/build/x", "lib/build.py")
    lay(tmp_path, "a.log", "lib/a.log", "lib/keep.log", "lib/deep/er/z.log", "lib/tmp/one", "lib/deep/tmp/two")
    lay(tmp_path, "we!rd", "with blank.txt", "lib/#x", "all/one", "all/two/three", "star/x.bin", "star/sub/x.bin")
    (tmp_path / ".gitignore").write_text(
        "# comment\n/data\nbuild/\n*.log\n!keep.log\n\\#x\nall/*\n!all/two/\nstar/*.bin\n**/deep/er\n\n"
    )
    lay(tmp_path, "lib/.gitignore", text="tmp/\n!deep/tmp/\n!*.log\n")
    told = git(tmp_path, "ls-files", "--cached", "--others", "--exclude-standard", "-z")
    assert sent(tmp_path) == set(told.split("\0")) - {""}
    assert {"lib/build.py", "lib/keep.log", "lib/a.log", "all/two/three", "star/sub/x.bin"} <= sent(tmp_path)
    assert not sent(tmp_path) & {"data/a.csv", "a.log", "lib/tmp/one", "build/x", "all/one", "lib/deep/er/z.log"}


def test_what_only_this_user_has_git_ignore_is_not_sent(tmp_path, monkeypatch):
    repo = tmp_path / "repo"
    lay(repo, "part/train.py", "part/secrets.env", "part/key.pem", "part/kept.pem", "key.pem", "part/own.txt")
    git(repo, "init", "--quiet")
    (repo / ".git/info").mkdir(exist_ok=True)
    (repo / ".git/info/exclude").write_text("/part/secrets.env\nown.txt\n")
    (tmp_path / "mine").write_text("*.pem\n!own.txt\n")
    (tmp_path / "config").write_text(f'[core]\n\texcludesFile = "{tmp_path}/mine"\n')
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "config"))
    assert sent(repo / "part") == {"train.py"}
    assert sent(repo) == {"part/train.py"}
    lay(repo, "part/.gitignore", text="!kept.pem\n")
    assert sent(repo / "part") == {"train.py", "kept.pem", ".gitignore"}
    # where git has no file named, or there is no git at all, it is the one in its usual place
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    lay(tmp_path, "git/ignore", text="*.pem\n")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert sent(repo / "part") == {"train.py", "kept.pem", ".gitignore"}
    monkeypatch.setenv("PATH", str(tmp_path))
    assert sent(repo / "part") == {"train.py", "kept.pem", ".gitignore"}


def test_a_worktree_has_the_excludes_of_its_repository(tmp_path):
    git(lay(tmp_path / "repo", "train.py"), "init", "--quiet")
    git(tmp_path / "repo", "add", "train.py")
    identity = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
    git(tmp_path / "repo", *identity, "commit", "--quiet", "--message", "x")
    git(tmp_path / "repo", "worktree", "add", "--quiet", str(tmp_path / "tree"))
    (tmp_path / "repo/.git/info").mkdir(exist_ok=True)
    (tmp_path / "repo/.git/info/exclude").write_text("secrets.env\n")
    lay(tmp_path / "tree", "secrets.env")
    assert "secrets.env" not in sent(tmp_path / "tree")
    assert "train.py" in sent(tmp_path / "tree")


def test_ignore_files_above_the_working_directory_count_within_its_repository(tmp_path):
    lay(tmp_path, "repo/part/a.csv", "repo/part/b.py", "repo/other/c.py")
    lay(tmp_path, ".gitignore", text="*.py\n")
    lay(tmp_path, "repo/.gitignore", text="part/*.csv\n")
    git(tmp_path / "repo", "init", "--quiet")
    assert sent(tmp_path / "repo/part") == {"b.py"}


def test_what_git_tracks_is_sent_though_gitignore_names_it_and_not_where_rayignore_does(tmp_path):
    git(tmp_path, "init", "--quiet")
    lay(tmp_path, "train.py", "data/small.csv", "data/large.csv", "data/old/x.csv", "weights.bin")
    git(tmp_path, "add", "data/small.csv", "weights.bin", "data/old/x.csv")
    lay(tmp_path, ".gitignore", text="data/\n*.bin\n")
    lay(tmp_path, ".rayignore", text="weights.bin\nold/\n")
    assert sent(tmp_path) == {"train.py", "data/small.csv", ".gitignore", ".rayignore"}


def test_links_lead_to_files_anywhere_and_to_folders_within(tmp_path):
    root = lay(tmp_path / "project", "train.py", "lib/a.py")
    lay(tmp_path, "elsewhere/big.bin", "shared.yaml")
    (root / "shared.yaml").symlink_to(tmp_path / "shared.yaml")
    (root / "data").symlink_to(tmp_path / "elsewhere")
    (root / "same").symlink_to("lib")
    (root / "lib/up").symlink_to(root)
    (root / "gone").symlink_to("nowhere")
    (root / "loop").symlink_to("loop")
    found = survey(root)
    assert set(found.sizes_bytes) == {"train.py", "lib/a.py", "shared.yaml", "same/a.py"}
    left_out = " ".join(found.left_out)
    assert f"data: is a link to {tmp_path}/elsewhere, outside of the working directory" in left_out
    assert "gone: is a link that leads nowhere" in left_out
    packed = zipfile.ZipFile(pack(found, tmp_path, at_most=10**6))
    assert packed.getinfo("shared.yaml").external_attr >> 16 == 0o100644  # its content, not the link


def test_odd_names_and_what_is_no_file(tmp_path):
    lay(tmp_path, "line\nbreak.txt", "ünïcode.py", "-dash", "a b", "x/c:")
    lay(tmp_path, "c:x", "back\\slash")
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.txt")).write_text("x")
    os.mkfifo(tmp_path / "pipe")
    found = survey(tmp_path)
    assert set(found.sizes_bytes) == {"line\nbreak.txt", "ünïcode.py", "-dash", "a b", "x/c:"}
    assert sorted(line.split(": ")[-1] for line in found.left_out) == ["has a name that Ray does not unpack"] * 3
    assert all(line.isprintable() for line in found.left_out)
    with zipfile.ZipFile(pack(found, tmp_path, at_most=10**6)) as package:
        assert set(package.namelist()) == set(found.sizes_bytes)


def test_a_file_that_cannot_be_read_is_named(tmp_path, monkeypatch):
    lay(tmp_path, "train.py", "secret.key")
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path).name != "secret.key")  # root may read anything
    with pytest.raises(UsageError, match=r"secret\.key: cannot be read, .*: name it in \.gitignore"):
        survey(tmp_path)
    lay(tmp_path, ".gitignore", text="*.key\n")
    assert sent(tmp_path) == {"train.py", ".gitignore"}


def test_the_same_files_make_the_same_package_and_others_another(tmp_path):
    packages = []
    for number in range(3):
        root = lay(tmp_path / str(number), "b.py", "a/c.py", "run.sh")
        (root / "run.sh").chmod(0o755)
        os.utime(root / "b.py", (number, number))
        if number == 2:
            (root / "b.py").write_text("y")
        into = tmp_path / f"into-{number}"
        into.mkdir()
        packages.append(pack(survey(root), into, at_most=10**6).read_bytes())
    assert packages[0] == packages[1] != packages[2]


def test_a_package_unpacks_to_the_files_with_what_may_be_run(tmp_path):
    root = lay(tmp_path / "project", "b.py", "a/c.py", "run.sh")
    (root / "run.sh").chmod(0o700)
    with zipfile.ZipFile(pack(survey(root), tmp_path, at_most=10**6)) as package:
        assert {name: package.read(name) for name in package.namelist()} == {
            "a/c.py": b"x",
            "b.py": b"x",
            "run.sh": b"x",
        }
        assert [package.getinfo(name).external_attr >> 16 for name in ("b.py", "run.sh")] == [0o100644, 0o100755]


def test_too_large_a_folder_is_refused_and_what_is_large_named(tmp_path):
    root = lay(tmp_path / "project", "train.py", "data/raw/deep/tiny")
    (root / "data/raw/deep/huge.bin").write_bytes(os.urandom(60_000))
    (root / "models").mkdir()
    for number in range(2):
        (root / f"models/{number}.bin").write_bytes(os.urandom(20_000))
    (root / "notes.txt").write_bytes(os.urandom(5_000))
    found = survey(root)
    assert told(found) == f"{root}: 6 files, 105.0 kB"
    with pytest.raises(UsageError) as error:
        pack(found, tmp_path, at_most=90_000)
    assert "more than the 90.0 kB that Ray takes" in str(error.value)
    assert "data/raw/deep/huge.bin (60.0 kB), models/ (40.0 kB), notes.txt (5.0 kB);" in str(error.value)
    assert "--working-dir" in str(error.value)
    pack(found, tmp_path, at_most=200_000)


def test_what_packs_well_may_be_larger_than_the_limit(tmp_path):
    root = lay(tmp_path / "project", "data.csv", text="0,0,0\n" * 100_000)
    assert pack(survey(root), tmp_path, at_most=10_000).stat().st_size < 10_000


def test_ray_takes_at_least_what_it_has_taken_for_years():
    assert most_bytes() >= 100 * 2**20


def test_the_file_is_found_below_the_working_directory(tmp_path, monkeypatch):
    root = lay(tmp_path / "project", "sub/train.py", "left.py", ".gitignore", "runs/in.py", text="left.py\n")
    found = survey(root)
    assert found.name_of(root / "sub/train.py") == "sub/train.py"
    monkeypatch.chdir(root / "sub")
    assert found.name_of(Path("train.py")) == found.name_of(Path("../sub/train.py")) == "sub/train.py"
    for left_out in (root / "left.py", root / "runs/in.py"):
        with pytest.raises(UsageError, match=r"is not sent with the working directory .* name it, or it lies in"):
            found.name_of(left_out)
    with pytest.raises(UsageError, match="lies outside of the working directory"):
        found.name_of(lay(tmp_path, "other.py") / "other.py")


def test_the_current_folder_is_sent_where_the_file_lies_in_it(tmp_path, monkeypatch):
    lay(tmp_path, "project/sub/train.py", "other/x")
    file = tmp_path / "project/sub/train.py"
    monkeypatch.chdir(tmp_path / "project")
    assert default_root(file) == default_root(Path("sub/train.py")) == tmp_path / "project"
    monkeypatch.chdir(tmp_path / "other")
    assert default_root(file) == tmp_path / "project/sub"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(UsageError, match=r"would be sent as a whole, since train\.py lies there"):
        default_root(file)


@pytest.mark.parametrize(("name", "why"), [("file", "is a file"), ("nowhere", "no such folder")])
def test_what_is_no_folder_is_said(tmp_path, name, why):
    lay(tmp_path, "file")
    with pytest.raises(UsageError, match=rf"--working-dir .*{name}: {why}"):
        survey(tmp_path / name)


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [(0, "0 bytes"), (999, "999 bytes"), (1000, "1.0 kB"), (1_234_567, "1.2 MB"), (3.1e9, "3.1 GB")],
)
def test_sizes_are_told_as_people_read_them(size_bytes, text):
    assert size(size_bytes) == text
