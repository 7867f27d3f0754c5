"""What it takes until something can be done."""

import subprocess
import sys

from benchmarks.speed.paired import table


def start(rounds):
    """Print a table of imports and of the command line's help, in fresh processes."""

    def python(*words):
        return lambda: subprocess.run([sys.executable, *words], check=True, stdout=subprocess.DEVNULL)

    contenders = {
        "import pyro": python("-c", "import pyro"),
        "import bayesnn": python("-c", "import bayesnn"),
        "from bayesnn import *": python("-c", "from bayesnn import *"),
        "bayesnn --help": python("-m", "bayesnn", "--help"),
    }
    table("start", contenders, rounds)
