#pragma once
// AVX2 without VNNI: see generic/linear_a8_256.h.
#define NIBBLE_LEVEL_VNNI 0
#include "../generic/linear_a8_256.h"
#include "../generic/linear_a8_groups_256.h"
#undef NIBBLE_LEVEL_VNNI
