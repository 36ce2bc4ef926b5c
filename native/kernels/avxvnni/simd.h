#pragma once
// AVX-VNNI adds integer dot products only; floats are AVX2's.
#include "../avx2/simd.h"
