"""Loss landscapes of deep residual networks, beside a plain loop over points in torch.

Both agree first, on a few rows. Seconds are those of the whole plane, from that many rows.
"""

from __future__ import annotations

import numpy as np
import torch

from comparison import Case, arguments, best_time, processor, report
from depth_limit import DIM, problem
from tacit.analysis import landscapes
from tacit.training.depth_kernel import pass_through


def compare(depth: int, number: int, *, points: int, rows: int, plain_rows: int) -> Case:
    """Time the plane of a network, on one core, and the plain loop, which torch divides among all."""
    network, weights, samples = problem(depth, number, "tanh")
    directions = landscapes.draw_directions(weights, generator=np.random.default_rng(0))
    plane = {"points": points, "step": 5 / points}

    def loss(moved: np.ndarray) -> float:
        return pass_through(network, moved.astype(np.float32), samples, threads=1, gradient=False).loss

    def ours(count: int = rows) -> np.ndarray:
        return landscapes.evaluate(loss, weights.astype(np.float64), directions, rows=range(count), **plane)

    own = torch.tensor(weights, dtype=torch.float64)
    first, second = (torch.tensor(np.stack(direction)) for direction in directions)
    inputs = torch.tensor(samples.inputs, dtype=torch.float32)
    head = torch.tensor(network.output_weights, dtype=torch.float32)
    labels = torch.tensor(samples.labels)

    @torch.no_grad()
    def theirs() -> np.ndarray:
        along = landscapes.axis(**plane)
        found = np.empty((plain_rows, points))
        for row in range(plain_rows):
            for column in range(points):
                h = inputs
                for layer in (own + along[row] * second + along[column] * first).float():
                    h = h + network.delta * torch.tanh(h @ layer.T)
                found[row, column] = torch.nn.functional.cross_entropy(h @ head.T, labels)
        return found

    difference = float(np.abs(ours(plain_rows) / theirs() - 1).max())
    if difference > 1e-4:
        raise AssertionError(f"losses differ by {difference:.1e}")
    fast, slow = best_time(ours) * points / rows, best_time(theirs, repeats=1) * points / plain_rows
    return Case(
        f"{points} x {points} points, L = {depth}, d = {DIM}, N = {number}", fast, slow, "s", slow / fast,
        f"losses within {difference:.1e}",
    )  # fmt: skip


def main() -> None:
    """Compare the published case and one of a thousand samples."""
    parser = arguments(__doc__)
    parser.add_argument("--points", type=int, default=100)
    parser.add_argument("--depth", type=int, default=100)
    parser.add_argument("--samples", type=int, nargs="+", default=[17, 1000])
    parser.add_argument("--rows", type=int, default=10, help="of ours")
    parser.add_argument("--plain-rows", type=int, default=1)
    chosen = parser.parse_args()
    cases = (
        compare(chosen.depth, number, points=chosen.points, rows=chosen.rows, plain_rows=chosen.plain_rows)
        for number in chosen.samples
    )
    report(cases, device=f"{processor()}, one core of ours, float32", as_json=chosen.json)


if __name__ == "__main__":
    main()
