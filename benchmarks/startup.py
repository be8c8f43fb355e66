"""CPU time until the command line, or a module, is there: median of several fresh interpreters.

``make benchmark``; machines are noisy, so read the ratios. Beside another checkout, in one run and in turn:

    python benchmarks/startup.py --beside ../other/.venv/bin/python
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
from pathlib import Path

CASES = {
    "python": ["python", "-c", ""],
    "microzone --help": ["microzone", "--help"],
    "microzone host --help": ["microzone", "host", "--help"],
    "microzone sim --help": ["microzone", "sim", "--help"],
    "golden_model.config": ["python", "-c", "import microzone.golden_model.config"],
    "gateware.Microcircuit": ["python", "-c", "from microzone.gateware import Microcircuit"],
}
"""What is started: a program beside the interpreter, and its arguments."""


def cpu_seconds(command: list[str]) -> float:
    """User and system time of a command and its children."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--beside", metavar="PYTHON", help="interpreter of another checkout, to compare with")
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    programs = [Path(python).parent for python in (sys.executable, options.beside) if python]
    print(f"{'CPU time in s':<24}{'here':>8}" + (f"{'beside':>8}{'ratio':>8}" if options.beside else ""))
    for name, (program, *arguments) in CASES.items():
        spent: list[list[float]] = [[] for _ in programs]
        for turn in range(options.repeats + 1):
            for folder, times in zip(programs, spent, strict=True):
                seconds = cpu_seconds([str(folder / program), *arguments])
                if turn:  # the first one compiles what has changed
                    times.append(seconds)
        medians = [statistics.median(times) for times in spent]
        line = f"{name:<24}" + "".join(f"{median:>8.3f}" for median in medians)
        if options.beside:
            line += f"{medians[0] / medians[1]:>8.3f}"
        print(line, flush=True)


if __name__ == "__main__":
    main()
