"""Collect runs in tables, and judge what is claimed of them; the rule says by what function, as `uses`."""

from tacit import jobs, store


def main(
    runs: dict[str, list[str]], tables: dict[str, str], *, function: str, settings: dict, num_runs: int | None
) -> None:
    if num_runs is not None:
        settings = settings | {"missing": num_runs - sum(map(len, runs.values()))}
    found = jobs.used(function)(**runs, **settings)
    for name, path in tables.items():
        store.write_table(path, found[name])


if __name__ == "__main__":
    with jobs.started(__file__, snakemake):
        main(
            {name: [paths] if isinstance(paths, str) else list(paths) for name, paths in snakemake.input.items()},
            dict(snakemake.output.items()),
            function=snakemake.params.uses,
            settings=snakemake.params.get("settings", {}),
            # Of tables that hold claims: how many runs were planned.
            num_runs=snakemake.params.get("num_runs"),
        )
