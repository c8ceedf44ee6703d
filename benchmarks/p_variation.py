"""Exact p-variation of the paths that weights draw along depth, beside the compiled plain recursion.

12000 points of 225 coordinates, as the weights of a residual network of that depth and width 15 have: a smooth curve,
as after training with a smooth start; the same with noise; independent draws, as before training; Brownian motion,
whose critical exponent is 2. The plain recursion computes all 72 million distances. Both values are found to agree
before the times are compared; one thread each. A note gives the time of three exponents in one call.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from comparison import Case, arguments, best_time, processor, report
from tacit.analysis.p_variation import p_variation, plain_p_variation

COORDINATES = 225
TOLERANCE = 1e-12


def paths(length: int) -> dict[str, np.ndarray]:
    """Return the paths (length, 225) by name."""
    random = np.random.default_rng(0)
    times = np.linspace(0, 2 * np.pi, length)[:, None]
    frequencies, phases = random.uniform(0.2, 3, COORDINATES), random.uniform(0, 2 * np.pi, COORDINATES)
    smooth = np.sin(frequencies * times + phases)
    draws = random.standard_normal((length, COORDINATES))
    return {
        "smooth": smooth,
        "smooth and noise": smooth + 0.01 * draws,
        "independent": draws,
        "Brownian": np.cumsum(draws, 0) / length**0.5,
    }


def compare(name: str, path: np.ndarray, p: float, note: str = "") -> Case:
    """Compare the times of one path and exponent."""
    results = {}

    def plain() -> None:
        results["plain"] = plain_p_variation(path, p)

    slow = best_time(plain, repeats=1)
    difference = abs(p_variation(path, p) / results["plain"] - 1)
    assert difference < TOLERANCE, f"{name}, p = {p:g}: values differ by {difference:.2g}"
    fast = best_time(lambda: p_variation(path, p), repeats=5)
    agreement = f"values within {difference:.1e}"
    return Case(f"{name}, p = {p:g}", 1000 * fast, 1000 * slow, "ms", slow / fast, agreement, note)


def cases(length: int) -> Iterator[Case]:
    """Yield a case for each path and exponent."""
    drawn = paths(length)
    # Compile first.
    for p in (1, 1.5):
        p_variation(drawn["smooth"][:50], p)
        plain_p_variation(drawn["smooth"][:50], p)
    together = best_time(lambda: p_variation(drawn["smooth"], [2, 1, 1.5]))
    note = f"2, 1 and 1.5 in one call: {1000 * together:.4g} ms"
    for name, p in [
        ("smooth", 1),
        ("smooth", 1.5),
        ("smooth", 2),
        ("smooth and noise", 1.5),
        ("smooth and noise", 2),
        ("independent", 2),
        ("Brownian", 1.5),
        ("Brownian", 2),
    ]:
        yield compare(name, drawn[name], p, note if (name, p) == ("smooth", 2) else "")


def main() -> None:
    """Run the benchmark."""
    parser = arguments(__doc__)
    parser.add_argument("--length", type=int, default=12_000, help="points of a path")
    given = parser.parse_args()
    report(cases(given.length), device=f"{processor()}, 1 thread, float64", as_json=given.json)


if __name__ == "__main__":
    main()
