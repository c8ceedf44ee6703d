# Targets of low rank and what is observed of them, shared by scales and studies, so their values are in the path. Each
# study adds the problems that it recovers.

from tacit.memory import factorizations as _factorizations_memory
from tacit.settings import factorizations as _factorizations

SENSING = files("results/data/sensing", _factorizations.OBSERVED)
# By factorization and identity.
SENSING_PROBLEMS = {}


def sensing_needs(factorization, problem):
    """Have a problem of the present settings observed."""
    SENSING_PROBLEMS[factorization, problem.identity] = problem


def sensing_problem(wildcards):
    """What a target and its observations depend on; the path must be that of the present settings."""
    return _known_problem(wildcards).plain()


def sensing_observe_memory(wildcards):
    """Target and observations of the problem that the path names."""
    return _factorizations_memory.observe(_known_problem(wildcards), wildcards.task)


def _known_problem(wildcards):
    try:
        return SENSING_PROBLEMS[wildcards.factorization, wildcards.problem]
    except KeyError:
        known = [problem for name, problem in SENSING_PROBLEMS if name == wildcards.factorization]
        raise WorkflowError(
            f"problem~{wildcards.problem}: with the present settings it is problem~{' or problem~'.join(known)} "
            f"that a {wildcards.factorization} target has; change the settings to get another"
        ) from None
