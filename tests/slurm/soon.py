"""Snakemake as its command is, but asking Slurm every three seconds how its jobs are.

The plugin asks ever less often while no job ends, after ten seconds more each time, which is right for jobs of hours
and most of the time that these tests would take.
"""

import sys
from pathlib import Path

import snakemake
from snakemake.cli import main
from snakemake_executor_plugin_slurm import Executor

Executor.next_seconds_between_status_checks = property(lambda self: 3, lambda self, seconds: None)

if __name__ == "__main__":
    sys.argv[0] = str(Path(snakemake.__file__).with_name("__main__.py"))
    main()
