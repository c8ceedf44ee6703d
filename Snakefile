# Tacit: experiments on the implicit bias of deep networks.
#
#   snakemake --cores 8 figures/pathfinder.pdf      draws one figure, from nothing
#   snakemake --cores 8                             draws all of them
#   snakemake --profile profiles/slurm              the same on a cluster
#   snakemake --report report.html                  figures, captions, claims, code and run times in one page

from snakemake.utils import min_version

min_version("9.11")


report: "workflow/report/workflow.rst"


include: "workflow/rules/common.smk"
include: "workflow/rules/pathfinder.smk"
include: "workflow/rules/images.smk"
include: "workflow/rules/same_class.smk"
include: "workflow/rules/sensing.smk"
include: "workflow/rules/rank_dynamics.smk"
include: "workflow/rules/norms.smk"
include: "workflow/rules/untied.smk"
include: "workflow/rules/depth_limit.smk"
include: "workflow/rules/depth_cifar.smk"
include: "workflow/rules/factorized.smk"
include: "workflow/rules/compressed.smk"
include: "workflow/rules/translation.smk"
include: "workflow/rules/claims.smk"
include: "workflow/rules/metrics.smk"


rule all:
    default_target: True
    input:
        rules.pathfinder.input,
        rules.same_class.input,
        rules.rank_dynamics.input,
        rules.norms.input,
        rules.untied.input,
        rules.depth_limit.input,
        rules.depth_cifar.input,
        rules.factorized.input,
        rules.compressed.input,
        rules.translation.input,
        rules.claims.input,


include: "workflow/rules/targets.smk"
