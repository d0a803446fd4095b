"""The demo: sweep `digits.py` from the command line, then look at what it found. About a minute on two cores.

make demo                                        # or: python examples/demo.py
"""

from __future__ import annotations

import subprocess
import sys
from itertools import count
from pathlib import Path

import pandas as pd
from digits import test_accuracy

import caviar


def main() -> None:
    path = next(path for path in (Path(f"runs/demo-{n}") for n in count(1)) if not path.exists())
    example = Path(__file__).with_name("digits.py")
    ran = subprocess.run([sys.executable, "-m", "caviar", "run", example, "--out", path], check=False)
    if ran.returncode:
        sys.exit(ran.returncode)

    result = caviar.load(path)
    best, saved, trials = result.best, result.savings(), result.trials()
    accuracy = test_accuracy(best.params)

    print(f"\nThe best of {len(trials)} settings, trial {best.trial} at epoch {best.step}:\n")
    for name, value in best.params.items():
        print(f"  {name:<12} {value:.4g}")
    print(f"\n  validation accuracy {best.value:.1%}: it chose the setting, so it flatters")
    print(f"  test accuracy       {accuracy:.1%}: trained again from another seed, on images that chose nothing")

    print("\nThe ten best:\n")
    print(show(result.top(10)))

    seconds = (trials["end_time"].max() - trials["start_time"].min()).total_seconds()
    print(f"\nEarly stopping ended {saved.trials_stopped} of {len(trials)} trials before their last epoch:")
    print(f"{saved.steps:,} epochs were trained instead of {saved.steps_without:,}, {saved.fraction:.0%} less,")
    print(f"in {seconds:.0f} seconds.")
    page = result.report(path.with_suffix(".html"))
    print(f"\nThe sweep folder:     {path}   (pandas.read_parquet('{path}/metrics') reads every learning curve)")
    print(f"The report:           {page}   (open it in a browser)")


def show(top: pd.DataFrame) -> str:
    """The table with short column names and four digits."""
    table = top.rename(columns=lambda name: name.removeprefix("params.")).rename(columns={"value": "accuracy"})
    return table.to_string(float_format=lambda value: f"{value:.4g}")


if __name__ == "__main__":
    main()
