# Power iteration: its files, and what is asked of them.

from tacit.settings import power as _power

POWER = f"results/{cfg.scale}/power"
POWER_RUN = files(POWER, _power.RUN)
POWER_RUNS = POWER_RUN.grid(gap=cfg.power.gaps, seed=range(cfg.power.seeds))
POWER_ASKED = [[{}, cfg.power.run.plain()]]
CLAIMS[f"{POWER}/claims.csv"] = POWER_ASKED, POWER_RUNS
