// llama.cpp or ik_llama.cpp, built from source, as a peer of `nibble bench peers`: JSON requests on standard input, one
// a line, answers on file descriptor 3. src/cli/bench/peer-messages.ts describes both; docs/performance.md how to build
// it.
//
// -DIK_LLAMA for ik_llama.cpp. Settings are the fastest that were found for both: flash attention, steps of 512 prompt
// tokens, keys and values in f16, and for ik_llama.cpp weights repacked at load.
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <iostream>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "llama.h"
#include "nlohmann/json.hpp"

using Json = nlohmann::ordered_json;
using Prompts = std::vector<std::vector<llama_token>>;

namespace {

constexpr int kStepTokens = 512;
constexpr int kContextMultiple = 256;  // llama.cpp would round up itself

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

struct Peer {
  llama_context* context = nullptr;
  llama_batch batch = llama_batch_init(kStepTokens, 0, 1);

  void add(llama_token token, size_t position, size_t sequence, bool wants_logits) {
    const int i = batch.n_tokens++;
    batch.token[i] = token;
    batch.pos[i] = static_cast<llama_pos>(position);
    batch.n_seq_id[i] = 1;
    batch.seq_id[i][0] = static_cast<llama_seq_id>(sequence);
    batch.logits[i] = wants_logits ? 1 : 0;
  }

  void run() {
    if (const int status = llama_decode(context, batch); status != 0) {
      throw std::runtime_error("llama_decode: " + std::to_string(status));
    }
    batch.n_tokens = 0;
  }

  void clear() {
#ifdef IK_LLAMA
    llama_kv_cache_clear(context);
#else
    llama_memory_clear(llama_get_memory(context), true);
#endif
  }
};

/// Names of what the build uses, out of "AVX = 1 | NEON = 0 | …".
std::string features() {
  std::string names;
  std::istringstream parts(llama_print_system_info());
  for (std::string part; std::getline(parts, part, '|');) {
    const size_t equals = part.find(" = 1");
    if (equals == std::string::npos) continue;
    const size_t start = part.find_last_of(' ', equals - 1) + 1;  // npos + 1 is 0
    names += ' ' + part.substr(start, equals - start);
  }
  return names;
}

Json load(const Json& request, Peer& peer) {
  llama_model_params model_params = llama_model_default_params();
  const int threads = request["threads"];
  const int sequences = request["sequences"];
  const int tokens = request["tokensMax"];
  llama_context_params params = llama_context_default_params();
  params.n_ctx = (tokens + kContextMultiple - 1) / kContextMultiple * kContextMultiple * sequences;
  params.n_batch = params.n_ubatch = kStepTokens;
  params.n_seq_max = sequences;
  params.n_threads = params.n_threads_batch = threads;
#ifdef IK_LLAMA
  model_params.repack_tensors = true;
  model_params.use_mmap = false;
  params.flash_attn = true;
#else
  params.flash_attn_type = LLAMA_FLASH_ATTN_TYPE_ENABLED;
#endif
  const std::string path = request["modelPath"];
  llama_model* model = llama_model_load_from_file(path.c_str(), model_params);
  if (model == nullptr) throw std::runtime_error("can't load " + path);
  peer.context = llama_init_from_model(model, params);
  if (peer.context == nullptr) throw std::runtime_error("can't make a context");
  const std::string settings = "threads " + std::to_string(threads) + ", flash attention, batch 512, KV f16;";
  return {{"kind", "loaded"}, {"settings", settings + features()}};
}

/// The next tokens are those of the prompt again: the peer isn't charged for sampling.
Json measure(const Json& request, Peer& peer) {
  if (peer.context == nullptr) throw std::runtime_error("no model is loaded");
  const Prompts prompts = request["prompts"];
  const size_t generate = request["generate"];
  peer.clear();
  const double start = now();
  for (size_t sequence = 0; sequence < prompts.size(); ++sequence) {
    const auto& prompt = prompts[sequence];
    for (size_t i = 0; i < prompt.size(); ++i) {
      peer.add(prompt[i], i, sequence, i + 1 == prompt.size());
      if (peer.batch.n_tokens == kStepTokens || i + 1 == prompt.size()) peer.run();
    }
  }
  llama_synchronize(peer.context);
  const double middle = now();
  for (size_t step = 0; step < generate; ++step) {
    for (size_t sequence = 0; sequence < prompts.size(); ++sequence) {
      const auto& prompt = prompts[sequence];
      peer.add(prompt[step % prompt.size()], prompt.size() + step, sequence, true);
    }
    peer.run();
    llama_synchronize(peer.context);
  }
  return {{"kind", "ran"}, {"prefillSeconds", middle - start}, {"decodeSeconds", now() - middle}};
}

}  // namespace

int main() {
  llama_log_set([](ggml_log_level, const char*, void*) {}, nullptr);
  llama_backend_init();
  FILE* answers = fdopen(3, "w");
  if (answers == nullptr) return 1;
  Peer peer;
  std::string line;
  while (std::getline(std::cin, line)) {
    Json answer;
    try {
      const Json request = Json::parse(line);
      answer = request["kind"] == "load" ? load(request, peer) : measure(request, peer);
    } catch (const std::exception& error) {
      answer = {{"kind", "failed"}, {"message", error.what()}};
    }
    std::fprintf(answers, "%s\n", answer.dump().c_str());
    std::fflush(answers);
  }
}
