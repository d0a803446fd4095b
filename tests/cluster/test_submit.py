"""What `caviar submit` says of a real cluster where something is missing, and what becomes of a driver's death."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import caviar
from tests.cluster.nodes import Nodes
from tests.cluster.sweeps import Make

pytestmark = [pytest.mark.ray, pytest.mark.timeout(300)]


def test_what_is_missing_is_one_line_before_anything_is_made(nodes: Nodes, make: Make, tmp_path: Path) -> None:
    sweep = make()
    (sweep.project / "missing.py").write_text("import json\nimport not_there_a, not_there_b.sub\nimport caviar\n")
    (sweep.project / "typo.py").write_text("import caviar\nsweep = caviar.Sweep(\n")
    out = tmp_path / "out"
    imports = "missing.py:2: the cluster lacks not_there_a and not_there_b, which the file imports"
    expected = [
        (("missing.py", "--out", str(out / "a")), imports),
        (("typo.py", "--out", str(out / "b")), "typo.py:2: SyntaxError: "),
        (("gated.py", "--out", "/proc/nowhere/out"), "/proc/nowhere/out: cannot be made"),
        (("gated.py", "--out", str(out / "c"), "--gpus", "64"), "a trial needs 64 GPU"),
    ]
    clients = [sweep.call("submit", *words, "--address", nodes.dashboard) for words, _ in expected]
    for client, (_, told) in zip(clients, expected, strict=True):
        *_, last = client.ends(2).splitlines()
        assert last.startswith(f"caviar: error: {told}")
    assert not out.exists()


def test_a_driver_that_was_killed_is_gone_on_with_by_the_same_command(nodes: Nodes, make: Make) -> None:
    sweep = make()
    first = sweep.submit("--workers", "3")
    sweep.at_the_gate(3)
    driver = json.loads((sweep.path / "lease.json").read_text())["pid"]
    assert driver in nodes.head.processes(), "it runs on the head"
    os.kill(driver, signal.SIGKILL)
    assert f"the driver of job {sweep.job} was ended by SIGKILL" in first.ends(1)
    assert caviar.load(sweep.path).status == "interrupted"
    sweep.gate.touch()
    assert f"job {sweep.job}-2 submitted" in sweep.submit("--workers", "3").ends()
    result = sweep.ended_well()
    assert len(sweep.events("trial_sampled")) == len(result.trials()), "no params were drawn again"
    assert sorted(result.trials().attempts)[-3:] == [2, 2, 2]
    assert "has ended already" in sweep.submit().ends()


def test_a_cluster_with_a_token_lets_nobody_else_in(nodes: Nodes, make: Make, tmp_path: Path) -> None:
    sweep = make()
    address = nodes.dashboard

    words = ["submit", "gated.py", "--address", address, "--out", str(sweep.path)]
    kept = {name: value for name, value in nodes.environment.items() if not name.startswith("RAY_AUTH")}

    def said(**token: str) -> str:
        ended = subprocess.run(
            [sys.executable, "-m", "caviar", *words],
            cwd=sweep.project,
            env={**kept, "HOME": str(tmp_path), **token},
            capture_output=True,
            text=True,
            check=False,
        )
        assert (ended.returncode, ended.stdout) == (1, "")
        return ended.stderr

    assert said().startswith(f"caviar: error: cannot reach a Ray cluster at {address}: it asks for a token")
    wrong = said(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN="0" * 64)
    assert wrong.startswith(f"caviar: error: cannot reach a Ray cluster at {address}: it does not take the token")
    assert not any(str(sweep.path) in (job["metadata"] or {}).values() for job in nodes.get("/api/jobs/"))
