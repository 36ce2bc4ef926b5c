// The thread team's stress and the topology's cases as a program of their own, so that they can be built with
// -fsanitize=thread without the rest. Prints the failures; exits 1 if there are any.
#include <cstdio>

#include "../../native/check/check_team.h"

int main() {
  size_t failures = 0;
  for (const uint64_t seed : {1u, 2u, 3u}) {
    for (const std::string& failure : nibble::check_team(seed)) ++failures, std::puts(failure.c_str());
  }
  for (const std::string& failure : nibble::check_topology()) ++failures, std::puts(failure.c_str());
  return failures == 0 ? 0 : 1;
}
