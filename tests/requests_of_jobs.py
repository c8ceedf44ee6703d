"""Prints, as JSON, a list of what each job of the workflow in this folder asks for, is measured in, and makes."""

import contextlib
import io
import json
import sys
from pathlib import Path

from snakemake.api import SnakemakeApi
from snakemake.settings.types import ConfigSettings, DAGSettings, OutputSettings, Quietness, ResourceSettings

config = json.loads(sys.argv[1])
with contextlib.redirect_stdout(io.StringIO()), SnakemakeApi(OutputSettings(quiet={Quietness.ALL})) as api:
    workflow = api.workflow(
        resource_settings=ResourceSettings(cores=1),
        config_settings=ConfigSettings(config=config),
        snakefile=Path("Snakefile"),
    )
    workflow.dag(dag_settings=DAGSettings(forceall=True)).summary()
found = [
    {
        "rule": job.rule.name,
        "mem_mb": job.resources.get("mem_mb"),
        "benchmark": job.benchmark and str(job.benchmark),
        "output": str(next(iter(job.output), "")),
    }
    for job in list(workflow._workflow.dag.jobs)
]
print(json.dumps(found))
