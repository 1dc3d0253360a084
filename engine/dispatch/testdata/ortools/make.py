"""Writes costs.json: instances on the floor of bench_test.go and the least total way, as OR-tools' linear sum assignment
finds it. Run in this folder by `uv run --with ortools==9.15.6755 python make.py`.
"""

import json
import random

from ortools.graph.python import linear_sum_assignment

AISLE, SHELVES = "." * 500, "...." + "@@@@..." * 70 + "......"
CELLS = [(x, y) for y in range(140) for x, c in enumerate(AISLE if y % 7 < 3 else SHELVES) if c == "."]


def instance(rows: int, columns: int, seed: int) -> dict:
    rng = random.Random(seed)
    a = [rng.randrange(len(CELLS)) for _ in range(rows)]
    b = [rng.randrange(len(CELLS)) for _ in range(columns)]
    # OR-tools wants as many rows as columns: rows that stand for nobody cost nothing.
    solver = linear_sum_assignment.SimpleLinearSumAssignment()
    for i in range(columns):
        for k, v in enumerate(b):
            way = 0
            if i < rows:
                (x, y), (p, q) = CELLS[a[i]], CELLS[v]
                way = abs(x - p) + abs(y - q)
            solver.add_arc_with_cost(i, k, way)
    assert solver.solve() == solver.OPTIMAL
    return {"rows": a, "columns": b, "cost": solver.optimal_cost()}


if __name__ == "__main__":
    sizes = [(200, 300), (1000, 1000), (1000, 1500), (200, 2000)]
    with open("costs.json", "w") as f:
        f.write("[\n" + ",\n".join(json.dumps(instance(r, c, i), separators=(",", ":")) for i, (r, c) in enumerate(sizes)) + "\n]\n")
