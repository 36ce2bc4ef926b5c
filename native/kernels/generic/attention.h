#pragma once
// Attention over one split of 256 positions; definition: reference/attention.cpp. Included inside a level's anonymous
// namespace. Query heads that share a KV head, and the queries of a chunk, are columns, up to 6 of which are a tile:
// scores into `scratch`, softmax in place, outputs.

#include "attention_parts.h"

#include "attention_numbers.h"

#include "attention_one_query.h"
#include "attention_queries.h"

void attention(const AttentionTask& task) noexcept {
  count_call();
  if (task.queries > 1) return attention_queries(task);
  switch (task.group) {
    case 1:
      return attention_one_query<1>(task);
    case 2:
      return attention_one_query<2>(task);
    case 3:
      return attention_one_query<3>(task);
    case 4:
      return attention_one_query<4>(task);
    case 5:
      return attention_one_query<5>(task);
    case 6:
      return attention_one_query<6>(task);
    default:
      return attention_queries(task);
  }
}
