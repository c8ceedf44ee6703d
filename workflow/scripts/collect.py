"""Collect runs in tables, and judge what is claimed of them; the rule says by what function, as `uses`."""

from tacit import jobs, store


def main(runs: dict[str, list[str]], tables: dict[str, str], *, function: str, settings: dict) -> None:
    found = jobs.used(function)(**runs, **settings)
    for name, path in tables.items():
        store.write_table(path, found[name])


if __name__ == "__main__":
    with jobs.started(__file__, snakemake):
        main(
            {name: list(paths) for name, paths in snakemake.input.items()},
            dict(snakemake.output.items()),
            function=snakemake.params.uses,
            settings=snakemake.params.get("settings", {}),
        )
