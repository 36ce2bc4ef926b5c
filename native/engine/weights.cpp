#include "weights.h"

#include <algorithm>
#include <atomic>
#include <mutex>
#include <span>
#include <unordered_map>

#include "input_file.h"

namespace nibble {
namespace {

constexpr size_t kAlignment = 32;  // every tile size is a multiple, so that neighbours touch

std::string shape_text(const std::vector<uint64_t>& shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); ++i) text += (i ? ", " : "") + std::to_string(shape[i]);
  return text + "]";
}

/// Finds tensors, checks them against the file, lays matrices out in one arena and packs them.
class Loader {
 public:
  Loader(const InputFile& file, const std::vector<TensorSpec>& tensors) : file_(file) {
    for (const TensorSpec& tensor : tensors) tensors_.emplace(tensor.name, &tensor);
  }

  /// A tensor of the file with its rows in range.
  struct Source {
    const GgmlTypeInfo* type;
    GgmlType id;
    size_t offset, rows, cols, bytes;
  };

  Status find(const std::string& name, size_t rows, size_t cols, bool vector, Source& out) const {
    const auto found = tensors_.find(name);
    if (found == tensors_.end()) {
      return Status::failure(ErrorCode::model_tensor_missing, "Tensor '" + name + "' is missing.");
    }
    const TensorSpec& tensor = *found->second;
    const GgmlTypeInfo* type = ggml_type_info(tensor.type);
    if (type == nullptr) {
      return Status::failure(ErrorCode::model_tensor_type_unsupported,
                             "Tensor '" + name + "' has the unsupported type " + std::to_string(tensor.type) + ".");
    }
    const std::vector<uint64_t> wanted =
        vector ? std::vector<uint64_t>{cols} : std::vector<uint64_t>{cols, static_cast<uint64_t>(rows)};
    std::vector<uint64_t> shape = tensor.shape;
    while (shape.size() > wanted.size() && shape.back() == 1) shape.pop_back();
    const size_t bytes = ggml_bytes(*type, rows, cols);
    if (shape != wanted || bytes == 0) {
      return Status::failure(ErrorCode::model_tensor_shape,
                             "Tensor '" + name + "' has the shape " + shape_text(tensor.shape) + ", expected " +
                                 shape_text(wanted) + " in blocks of " + type->name + ".");
    }
    if (tensor.offset > file_.bytes() || bytes > file_.bytes() - tensor.offset) {
      return Status::failure(ErrorCode::model_tensor_out_of_range,
                             "Tensor '" + name + "' lies outside the file: bytes " + std::to_string(tensor.offset) +
                                 " to " + std::to_string(tensor.offset + bytes) + " of " +
                                 std::to_string(file_.bytes()) + ".");
    }
    out = {type, static_cast<GgmlType>(tensor.type), static_cast<size_t>(tensor.offset), rows, cols, bytes};
    return Status::success();
  }

  bool has(const std::string& name) const { return tensors_.contains(name); }

  /// Reads a vector (norm gain, bias) as f32.
  Status vector(const std::string& name, size_t size, std::vector<float>& out) const {
    Source source;
    if (Status status = find(name, 1, size, true, source); !status.ok()) return status;
    std::vector<uint8_t> data(source.bytes);
    if (Status status = file_.read(source.offset, data); !status.ok()) return status;
    out.resize(size);
    Status status = dequantize_rows(source.id, data.data(), 1, size, out.data());
    if (!status.ok()) status.message = "Tensor '" + name + "': " + status.message;
    return status;
  }

  /// Values of a vector that exists, 0 otherwise.
  size_t length(const std::string& name) const {
    const auto found = tensors_.find(name);
    return found == tensors_.end() || found->second->shape.size() != 1 ? 0 : found->second->shape[0];
  }

  /// Reads a vector of at most `most` 32-bit integers.
  Status integers(const std::string& name, size_t most, std::vector<int32_t>& out) const {
    constexpr uint32_t kI32 = 26;
    const auto found = tensors_.find(name);
    if (found == tensors_.end() || found->second->type != kI32 || length(name) == 0 || length(name) > most) {
      return Status::failure(ErrorCode::model_tensor_shape,
                             "Tensor '" + name + "' must be a vector of up to " + std::to_string(most) + " integers.");
    }
    out.resize(length(name));
    const size_t offset = found->second->offset;
    const size_t bytes = out.size() * sizeof(int32_t);
    if (offset > file_.bytes() || bytes > file_.bytes() - offset) {
      return Status::failure(ErrorCode::model_tensor_out_of_range, "Tensor '" + name + "' lies outside the file.");
    }
    return file_.read(offset, {reinterpret_cast<uint8_t*>(out.data()), bytes});
  }

  /// Plans one matrix behind the last; returns its place in `view` after `bind`.
  Status plan(const std::string& name, size_t rows, size_t cols, PackedView& view) {
    Source source;
    if (Status status = find(name, rows, cols, false, source); !status.ok()) return status;
    if (cols % kTileInputs != 0) {
      return Status::failure(ErrorCode::model_tensor_shape, "Tensor '" + name + "' has " + std::to_string(cols) +
                                                                " inputs; a multiple of 32 is needed.");
    }
    view = {nullptr, source.type->home, rows, cols};
    pieces_.push_back({name, source, &view, arena_bytes_});
    arena_bytes_ += (view.bytes() + kAlignment - 1) / kAlignment * kAlignment;
    return Status::success();
  }

  /// Plans a matrix as the next part of a Linear. `linear` must not move until `bind`.
  Status plan_part(const std::string& name, size_t rows, Linear& linear) {
    linear.segments.push_back({{}, linear.outputs});
    linear.outputs += rows;
    return plan(name, rows, linear.inputs, linear.segments.back().weights);
  }

  size_t arena_bytes() const { return arena_bytes_; }

  /// All that the packed bytes depend on beside the file's content: what lies where, from which tensor, in which
  /// format.
  std::string layout() const {
    std::string text;
    for (const Piece& piece : pieces_) {
      const Source& source = piece.source;
      text += piece.name + " " + source.type->name + " " + std::string(info(piece.view->format).name);
      for (const size_t value : {source.rows, source.cols, source.offset, piece.offset}) {
        text += " " + std::to_string(value);
      }
      text += "\n";
    }
    return text;
  }

  /// Points the views into `arena`.
  void bind(const uint8_t* arena) {
    for (Piece& piece : pieces_) piece.view->tiles = arena + piece.offset;
  }

  /// Reads everything and packs it into `arena`.
  Status pack(uint8_t* arena, Team& team, const std::function<void(float)>& progress) {
    struct Item {
      const Piece* piece;
      size_t first_tile, tiles;
    };
    constexpr size_t kTilesPerItem = 16;
    std::vector<Item> items;
    size_t item_bytes_max = 0;
    for (const Piece& piece : pieces_) {
      const size_t tiles = row_tiles(piece.view->rows);
      for (size_t t = 0; t < tiles; t += kTilesPerItem)
        items.push_back({&piece, t, std::min(kTilesPerItem, tiles - t)});
      const size_t rows = std::min(piece.source.rows, kTilesPerItem * kTileRows);
      item_bytes_max = std::max(item_bytes_max, rows * (piece.source.bytes / piece.source.rows));
    }
    // Made here, since the threads can't report that there is no memory.
    std::vector<std::vector<uint8_t>> buffers(team.size(), std::vector<uint8_t>(item_bytes_max));
    std::atomic<size_t> done{0};
    std::atomic<bool> failed{false};
    std::mutex mutex;
    Status result;
    const auto body = [&](size_t thread) noexcept {
      size_t i;
      while (!failed.load(std::memory_order_relaxed) && (i = team.claim(thread, items.size(), 1)) < items.size()) {
        const Item& item = items[i];
        const Source& source = item.piece->source;
        uint8_t* out = arena + item.piece->offset + item.first_tile * item.piece->view->row_tile_bytes();
        const size_t first_row = item.first_tile * kTileRows;
        const size_t row_bytes = source.bytes / source.rows;
        const size_t rows = std::min(source.rows - first_row, item.tiles * kTileRows);
        const std::span<uint8_t> data(buffers[thread].data(), rows * row_bytes);
        Status status = file_.read(source.offset + first_row * row_bytes, data);
        if (status.ok()) {
          status = pack_row_tiles(source.id, data.data(), source.rows, source.cols, item.first_tile, item.tiles, out);
        }
        const size_t count = done.fetch_add(1, std::memory_order_relaxed) + 1;
        if (!status.ok()) {
          const std::lock_guard lock(mutex);
          status.message = "Tensor '" + item.piece->name + "': " + status.message;
          if (result.ok()) result = std::move(status);
          failed.store(true, std::memory_order_relaxed);
        } else if (thread == 0 && progress) {
          progress(static_cast<float>(count) / static_cast<float>(items.size()));
        }
      }
    };
    team.run(body);
    return result;
  }

  size_t file_bytes() const {
    size_t bytes = 0;
    for (const Piece& piece : pieces_) bytes += piece.source.bytes;
    return bytes;
  }

 private:
  struct Piece {
    std::string name;
    Source source;
    PackedView* view;
    size_t offset;
  };
  const InputFile& file_;
  std::unordered_map<std::string_view, const TensorSpec*> tensors_;
  std::vector<Piece> pieces_;
  size_t arena_bytes_ = 0;
};

/// Joins neighbours in memory that have one format, so that a step sweeps them as one matrix.
void merge_segments(Linear& linear) {
  std::vector<Linear::Segment> merged;
  for (const Linear::Segment& segment : linear.segments) {
    if (!merged.empty()) {
      PackedView& last = merged.back().weights;
      if (last.format == segment.weights.format && last.rows % kTileRows == 0 &&
          last.tiles + last.bytes() == segment.weights.tiles) {
        last.rows += segment.weights.rows;
        continue;
      }
    }
    merged.push_back(segment);
  }
  linear.segments = std::move(merged);
}

/// Biases of q, k, v side by side, if the file has them (or must have).
Status read_bias(const Loader& loader, const std::string& prefix, const ArchitectureSpec& a, Linear& qkv) {
  const std::pair<const char*, size_t> parts[] = {{"attn_q.bias", a.heads * a.head_dim},
                                                  {"attn_k.bias", a.kv_heads * a.head_dim},
                                                  {"attn_v.bias", a.kv_heads * a.head_dim}};
  if (!a.qkv_bias && !loader.has(prefix + parts[0].first)) return Status::success();
  for (const auto& [name, size] : parts) {
    std::vector<float> bias;
    if (Status status = loader.vector(prefix + name, size, bias); !status.ok()) return status;
    qkv.bias.insert(qkv.bias.end(), bias.begin(), bias.end());
  }
  return Status::success();
}

/// Order, groups and steps of a layer's input that is in Tender's groups; nothing if the file has none.
Status read_tender(const Loader& loader, const std::string& prefix, Linear& linear) {
  if (!loader.has(prefix + "order")) return Status::success();
  TenderTensors t;
  Status status = loader.integers(prefix + "order", linear.inputs, t.order);
  if (status.ok()) status = loader.integers(prefix + "sizes", kTenderGroupsMax, t.sizes);
  if (status.ok() && loader.has(prefix + "scales"))
    status = loader.vector(prefix + "scales", loader.length(prefix + "scales"), t.scales);
  if (status.ok() && loader.has(prefix + "bias")) status = loader.vector(prefix + "bias", linear.inputs, t.bias);
  if (status.ok()) status = linear.tender.build(prefix, t, linear.inputs);
  if (!status.ok() || !loader.has(prefix + "offset")) return status;
  std::vector<float> offset;
  if (status = loader.vector(prefix + "offset", linear.outputs, offset); !status.ok()) return status;
  linear.bias.resize(linear.outputs);
  for (size_t n = 0; n < offset.size(); ++n) linear.bias[n] += offset[n];
  return status;
}

Status plan_layer(Loader& loader, const ArchitectureSpec& a, size_t index, LayerWeights& layer) {
  const std::string prefix = "blk." + std::to_string(index) + ".";
  const size_t q = a.heads * a.head_dim;
  const size_t kv = a.kv_heads * a.head_dim;
  layer.qkv.inputs = layer.gate_up.inputs = a.hidden;
  layer.output.inputs = q;
  layer.down.inputs = a.ffn;
  size_t id = 4 * index;
  for (Linear* linear : {&layer.qkv, &layer.output, &layer.gate_up, &layer.down}) linear->id = id++;
  layer.qkv.segments.reserve(3);
  layer.gate_up.segments.reserve(2);
  layer.output.segments.reserve(1);
  layer.down.segments.reserve(1);

  Status status = loader.vector(prefix + "attn_norm.weight", a.hidden, layer.attention_norm);
  if (status.ok()) status = loader.vector(prefix + "ffn_norm.weight", a.hidden, layer.ffn_norm);
  if (status.ok()) status = read_bias(loader, prefix, a, layer.qkv);
  if (status.ok() && a.qk_norm) status = loader.vector(prefix + "attn_q_norm.weight", a.head_dim, layer.q_norm);
  if (status.ok() && a.qk_norm) status = loader.vector(prefix + "attn_k_norm.weight", a.head_dim, layer.k_norm);
  if (status.ok()) status = loader.plan_part(prefix + "attn_q.weight", q, layer.qkv);
  if (status.ok()) status = loader.plan_part(prefix + "attn_k.weight", kv, layer.qkv);
  if (status.ok()) status = loader.plan_part(prefix + "attn_v.weight", kv, layer.qkv);
  if (status.ok()) status = loader.plan_part(prefix + "attn_output.weight", a.hidden, layer.output);
  if (status.ok()) status = loader.plan_part(prefix + "ffn_gate.weight", a.ffn, layer.gate_up);
  if (status.ok()) status = loader.plan_part(prefix + "ffn_up.weight", a.ffn, layer.gate_up);
  if (status.ok()) status = loader.plan_part(prefix + "ffn_down.weight", a.hidden, layer.down);
  if (status.ok()) status = read_tender(loader, prefix + "qkv.tender_", layer.qkv);
  if (status.ok()) status = read_tender(loader, prefix + "output.tender_", layer.output);
  if (status.ok()) status = read_tender(loader, prefix + "gateUp.tender_", layer.gate_up);
  if (status.ok()) status = read_tender(loader, prefix + "down.tender_", layer.down);
  return status;
}

}  // namespace

size_t Linear::bytes() const noexcept {
  size_t bytes = 0;
  for (const Segment& segment : segments) bytes += segment.weights.bytes();
  return bytes;
}

Status Weights::load(const std::string& path, const ArchitectureSpec& a, const std::vector<TensorSpec>& tensors,
                     const std::string& pack_folder, Team& team, const std::function<void(float)>& progress) {
  InputFile file;
  if (Status status = file.open(path); !status.ok()) return status;
  Loader loader(file, tensors);

  layers.resize(a.layers);
  for (size_t i = 0; i < a.layers; ++i) {
    if (Status status = plan_layer(loader, a, i, layers[i]); !status.ok()) return status;
  }
  const size_t layer_file_bytes = loader.file_bytes();
  if (Status status = loader.vector("output_norm.weight", a.hidden, output_norm); !status.ok()) return status;
  if (Status status = loader.plan("token_embd.weight", a.vocab, a.hidden, embedding); !status.ok()) return status;
  const bool tied = !loader.has("output.weight");
  head.inputs = a.hidden;
  head.segments.reserve(1);
  if (tied) {
    head.outputs = a.vocab;
  } else if (Status status = loader.plan_part("output.weight", a.vocab, head); !status.ok()) {
    return status;
  }
  if (loader.has("rope_freqs.weight")) {
    if (Status status = loader.vector("rope_freqs.weight", a.rope.dimensions / 2, rope_factors); !status.ok()) {
      return status;
    }
  }

  arena_ = Pages(loader.arena_bytes());
  if (arena_.data() == nullptr) {
    return Status::failure(ErrorCode::native_out_of_memory,
                           "No memory for " + std::to_string(loader.arena_bytes()) + " bytes of packed weights.");
  }
  arena_.advise_huge();
  // Taken before anything is read: what is changed later has another identity.
  file_identity_ = file.identity();
  if (!pack_folder.empty() && !file_identity_.empty()) {
    pack_file_ = PackFile(pack_folder, file_identity_ + loader.layout(), loader.arena_bytes());
  }
  loader.bind(arena_.data());
  if (pack_file_.read(arena_.data(), team)) {
    pack_origin_ = PackOrigin::stored;
    if (progress) progress(1);
  } else {
    pack_origin_ = pack_file_.enabled() ? PackOrigin::made : PackOrigin::unsettled;
    if (Status status = loader.pack(arena_.data(), team, progress); !status.ok()) return status;
  }

  if (tied) head.segments.push_back({embedding, 0});
  for (LayerWeights& layer : layers) {
    for (Linear* linear : {&layer.qkv, &layer.output, &layer.gate_up, &layer.down}) merge_segments(*linear);
  }
  Loader::Source head_source;
  Status status = loader.find(tied ? "token_embd.weight" : "output.weight", a.vocab, a.hidden, false, head_source);
  file_bytes_per_token_ = layer_file_bytes + head_source.bytes;
  return status;
}

Status Weights::store(const std::atomic<bool>& stop) const {
  if (!pack_file_.enabled()) return Status::failure(ErrorCode::pack_not_stored, "There is no folder to store it in.");
  return pack_file_.write(arena_.data(), stop);
}

size_t Weights::bytes_per_token() const noexcept {
  size_t bytes = head.bytes();
  for (const LayerWeights& layer : layers) {
    bytes += layer.qkv.bytes() + layer.output.bytes() + layer.gate_up.bytes() + layer.down.bytes();
  }
  return bytes;
}

size_t Weights::linear_macs_per_token() const noexcept {
  size_t macs = 0;
  for (const LayerWeights& layer : layers) {
    macs += layer.qkv.macs() + layer.output.macs() + layer.gate_up.macs() + layer.down.macs();
  }
  return macs;
}

}  // namespace nibble
