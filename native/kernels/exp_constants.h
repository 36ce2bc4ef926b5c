#pragma once
// Constants of exp, shared by the scalar reference and the vector levels. Plain `constexpr` at namespace scope has
// internal linkage, as everything that a level's translation unit includes must have.

namespace nibble {

// x is clamped to [low, high]: beyond them the result is 0 and +infinity anyway, and n stays in [-151, 128].
constexpr float kExpLow = -105.0f;
constexpr float kExpHigh = 89.0f;
constexpr float kLog2E = 0x1.715476p+0f;
// Adding 1.5·2^23 rounds to an integer (nearest, ties to even) and leaves it in the low mantissa bits.
constexpr float kRoundMagic = 12582912.0f;
// −ln 2 in two parts; the first has 15 significant bits, so that x − n·high is exact.
constexpr float kNegLn2High = -0x1.62e4p-1f;
constexpr float kNegLn2Low = -0x1.7f7d1cp-20f;
// exp(r) ≈ 1 + r + r²·(c2 + c3·r + … + c6·r⁴) for |r| ≤ ln 2 / 2: minimax of the relative error, 3.1e-9 before
// the coefficients are rounded (tools/reference/kernels_exp.py derives them).
constexpr float kExpC2 = 0x1.fffffcp-2f;
constexpr float kExpC3 = 0x1.555492p-3f;
constexpr float kExpC4 = 0x1.5558f2p-5f;
constexpr float kExpC5 = 0x1.1239e2p-7f;
constexpr float kExpC6 = 0x1.6a2432p-10f;

}  // namespace nibble
