# Figures of all that one run recorded: beside each run file seed~0.h5 there can be seed~0.metrics.pdf, whatever the
# study, and the numbers drawn in it.

from tacit.paths import METRICS, WHOLE

_run = f"results/{cfg.scale}/{{run}}/seed~{{seed}}"
_figure = f"results/{cfg.scale}/{{run,.+}}/seed~{{seed,{WHOLE}}}"
METRICS_RUN = f"{_run}.h5"
METRICS_FIGURE = f"{_figure}{METRICS}.pdf"
METRICS_NUMBERS = f"{_figure}{METRICS}.csv"
METRICS_LOG = log_of(f"{_run}{METRICS}.pdf")


def metrics_asked(wildcards):
    """What is asked of a run whose study plans it; of others the code alone is compared."""
    run = METRICS_RUN.format(run=wildcards.run, seed=wildcards.seed)
    return next((asked for asked, runs in CLAIMS.values() if run in runs), [])
