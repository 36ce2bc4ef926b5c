"""Derives the polynomial of exp in native/kernels/exp_constants.h; standard library only.

Minimax of the relative error of exp(r) on |r| <= ln 2 / 2 for exp(r) = 1 + r + r^2 * (c2 + c3 r + ... + c6 r^4), by
Lawson's iteration: weighted least squares whose weights grow where the error is large. Prints the coefficients rounded
to f32, and the two parts of ln 2.
"""

import math
import struct

TERMS = 5  # c2 ... c6
POINTS = 1500
ROUNDS = 100
RADIUS = math.log(2) / 2 * 1.0001


def to_f32(value: float) -> float:
    return struct.unpack("f", struct.pack("f", value))[0]


def remainder(r: float) -> float:
    """(exp(r) - 1 - r) / r^2, by its series: no cancellation."""
    total, term = 0.0, 0.5
    for k in range(2, 25):
        total += term
        term *= r / (k + 1)
    return total


def solve(matrix: list[list[float]], right: list[float]) -> list[float]:
    """Gauss-Jordan elimination with pivoting."""
    size = len(right)
    rows = [row[:] + [value] for row, value in zip(matrix, right)]
    for i in range(size):
        pivot = max(range(i, size), key=lambda j: abs(rows[j][i]))
        rows[i], rows[pivot] = rows[pivot], rows[i]
        for j in range(size):
            if j != i:
                factor = rows[j][i] / rows[i][i]
                rows[j] = [a - factor * b for a, b in zip(rows[j], rows[i])]
    return [rows[i][size] / rows[i][i] for i in range(size)]


def minimax() -> tuple[list[float], float]:
    xs = [math.cos(math.pi * (i + 0.5) / POINTS) * RADIUS for i in range(POINTS)]
    relative = [x * x / math.exp(x) for x in xs]
    wanted = [remainder(x) for x in xs]
    basis = [[(x / RADIUS) ** j for j in range(TERMS)] for x in xs]
    weights = [1.0] * POINTS
    solution: list[float] = []
    largest = 0.0
    for _ in range(ROUNDS):
        scaled = [w * r * r for w, r in zip(weights, relative)]
        matrix = [[sum(s * b[i] * b[j] for s, b in zip(scaled, basis)) for j in range(TERMS)] for i in range(TERMS)]
        right = [sum(s * b[i] * y for s, b, y in zip(scaled, basis, wanted)) for i in range(TERMS)]
        solution = solve(matrix, right)
        errors = [abs(sum(c * v for c, v in zip(solution, b)) - y) * r for b, y, r in zip(basis, wanted, relative)]
        largest = max(errors)
        weights = [w * e / largest + 1e-9 for w, e in zip(weights, errors)]
    return [c / RADIUS**j for j, c in enumerate(solution)], largest


def main() -> None:
    coefficients, error = minimax()
    for index, value in enumerate(coefficients):
        print(f"c{index + 2} = {to_f32(value).hex()}")
    high = float.fromhex("0x1.62e4p-1")  # 15 significant bits of ln 2
    print(f"ln 2 = {high.hex()} + {to_f32(math.log(2) - high).hex()}; relative error of exp {error:.2g}")


if __name__ == "__main__":
    main()
