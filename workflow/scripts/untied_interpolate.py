"""Follow ways between two networks at the end of their training: one pair, one seed, one file."""

from tacit import jobs, store, versions
from tacit.data import images
from tacit.settings.untied import InterpolationSettings
from tacit.studies import untied


def main(
    dataset: str,
    out: str,
    *,
    runs: dict[str, str],
    epochs: dict,
    cnn_learning_rate: float,
    learning_rate: float,
    seed: int,
    settings: dict,
    checkpoint: str,
) -> None:
    checked = InterpolationSettings.from_plain(settings)
    ends = [
        untied.End(path, name.partition("-")[0], epochs["split" if "-" in name else "scratch"])
        for name, path in runs.items()
    ]
    arrays = untied.interpolate(images.read(dataset, checked.images), *ends, checked, seed=seed, checkpoint=checkpoint)
    origin, target = runs
    identity = {"cnn_learning_rate": cnn_learning_rate, "learning_rate": learning_rate}
    identity |= {"origin": origin, "target": target, "seed": seed}
    identity["ends"] = {
        end: untied.settings_of(path) for end, path in zip(("origin", "target"), runs.values(), strict=True)
    }
    store.write(
        out, arrays, kind=untied.INTERPOLATION, settings=identity | settings, attributes=versions.of_libraries()
    )


if __name__ == "__main__":
    with jobs.started(__file__, log=snakemake.log[0], inputs=snakemake.input, params=snakemake.params):
        main(
            snakemake.input.images,
            snakemake.output[0],
            runs={
                snakemake.wildcards.origin: snakemake.input.origin,
                snakemake.wildcards.target: snakemake.input.target,
            },
            epochs=snakemake.params.epochs,
            cnn_learning_rate=float(snakemake.wildcards.cnn_learning_rate),
            learning_rate=float(snakemake.wildcards.learning_rate),
            seed=int(snakemake.wildcards.seed),
            settings=snakemake.params.settings,
            checkpoint=snakemake.params.checkpoint,
        )
