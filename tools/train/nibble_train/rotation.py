"""Orthogonal matrices that spread outliers over all channels, and how they are folded into the weights of a model.

Inspired by QuaRot and SpinQuant (R1 on the residual stream, R2 on the values of a head, R4 before the down projection).
"""

import torch


def _is_prime(number: int) -> bool:
    return number > 1 and all(number % divisor for divisor in range(2, int(number**0.5) + 1))


def _jacobsthal(prime: int) -> torch.Tensor:
    """Q[i, j] = the quadratic character of i - j (0 on the diagonal)."""
    squares = {i * i % prime for i in range(1, prime)}
    character = torch.tensor([0.0] + [1.0 if i in squares else -1.0 for i in range(1, prime)], dtype=torch.float64)
    index = torch.arange(prime)
    return character[(index[:, None] - index[None, :]) % prime]


def _bordered(prime: int, sign: float) -> torch.Tensor:
    """[[0, 1], [sign, Q]]: a conference matrix of order prime + 1."""
    matrix = torch.zeros(prime + 1, prime + 1, dtype=torch.float64)
    matrix[0, 1:] = 1
    matrix[1:, 0] = sign
    matrix[1:, 1:] = _jacobsthal(prime)
    return matrix


def _paley(order: int) -> "torch.Tensor | None":
    """A matrix of +1 and -1 with orthogonal rows (R. Paley, 1933, both constructions), or None."""
    prime = order - 1
    if prime % 4 == 3 and _is_prime(prime):
        return torch.eye(order, dtype=torch.float64) + _bordered(prime, -1.0)
    prime = order // 2 - 1
    if order % 4 == 0 and prime % 4 == 1 and _is_prime(prime):
        plus = torch.tensor([[1.0, 1.0], [1.0, -1.0]], dtype=torch.float64)
        diagonal = torch.tensor([[1.0, -1.0], [-1.0, -1.0]], dtype=torch.float64)
        conference = _bordered(prime, 1.0)
        return torch.kron(conference, plus) + torch.kron(torch.eye(order // 2, dtype=torch.float64), diagonal)
    return None


def sylvester(order: int) -> torch.Tensor:
    """The Hadamard matrix of a power of two, entries +1 and -1: H[i, j] = (-1)^popcount(i & j)."""
    matrix = torch.ones(1, 1, dtype=torch.float64)
    while len(matrix) < order:
        matrix = torch.cat([torch.cat([matrix, matrix], 1), torch.cat([matrix, -matrix], 1)])
    if len(matrix) != order:
        raise ValueError(f"{order} is no power of two")
    return matrix


def hadamard_factors(order: int) -> "tuple[torch.Tensor, torch.Tensor]":
    """Paley and Sylvester, entries +1 and -1, of the smallest Paley order that leaves a power of two of at least 16.

    576 = 36·16, 1536 = 12·128. Raises ValueError where there is none. As in docs/arithmetic.md, "Rotation".
    """
    power = order & -order
    while power >= 16:
        rest = order // power
        first = torch.ones(1, 1, dtype=torch.float64) if rest == 1 else _paley(rest) if rest % 4 == 0 else None
        if first is not None:
            return first, sylvester(power)
        power //= 2
    raise ValueError(f"no Hadamard matrix of order {order} is known here")


def hadamard(order: int) -> torch.Tensor:
    """R = (Paley ⊗ Sylvester) / sqrt(order), orthogonal, in double; a column x becomes R·x."""
    first, second = hadamard_factors(order)
    return torch.kron(first, second) / order**0.5
