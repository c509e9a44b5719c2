#include "models/fingerprint.h"

#include <xxhash.h>

#include <algorithm>
#include <memory>
#include <string_view>
#include <vector>

#include "absl/strings/escaping.h"
#include "models/base/limits.h"
#include "models/base/text.h"
#include "models/checkpoint/file.h"
#include "models/checkpoint/safetensors.h"

namespace deltaserve {
namespace {

constexpr int kPromptTokens = 130;  // two whole chunks of the grid, and a tail

class Hasher {
 public:
  Hasher() : state_(XXH3_createState(), XXH3_freeState) { XXH3_128bits_reset(state_.get()); }

  void add_bytes(const void* data, size_t size) { XXH3_128bits_update(state_.get(), data, size); }
  void add_number(int64_t number) { add_bytes(&number, sizeof(number)); }
  // The size in front keeps two neighbours apart.
  void add_text(std::string_view text) {
    add_number(static_cast<int64_t>(text.size()));
    add_bytes(text.data(), text.size());
  }

  NumericFingerprint finish() const {
    XXH128_canonical_t bytes;
    XXH128_canonicalFromHash(&bytes, XXH3_128bits_digest(state_.get()));
    NumericFingerprint fingerprint;
    std::copy_n(std::begin(bytes.digest), fingerprint.size(), fingerprint.begin());
    return fingerprint;
  }

 private:
  std::unique_ptr<XXH3_state_t, XXH_errorcode (*)(XXH3_state_t*)> state_;
};

absl::Status add_tensors(const std::string& folder, Hasher* hasher) {
  const absl::StatusOr<Checkpoint> checkpoint = Checkpoint::open(folder);
  if (!checkpoint.ok()) return checkpoint.status();
  for (const auto& [name, tensor] : checkpoint->tensors()) {
    hasher->add_text(name);
    hasher->add_text(dtype_name(tensor.info.dtype));
    for (const int64_t size : tensor.info.shape) hasher->add_number(size);
    hasher->add_text({static_cast<const char*>(tensor.data),
                      static_cast<size_t>(tensor.info.end - tensor.info.begin)});
  }
  return absl::OkStatus();
}

// Adds the files that say what a tensor means and which ids a text has. A file that is absent is
// another content than an empty one.
absl::Status add_files(const ModelFolder& folder, Hasher* hasher) {
  std::vector<std::string> paths;
  for (const char* name : {"config.json", "params.json", "tokenizer_config.json",
                           "special_tokens_map.json", "added_tokens.json"}) {
    paths.push_back(str_cat(folder.path, "/", name));
  }
  if (folder.tokenizer_file.empty()) {
    for (const char* name : {"tokenizer.json", "tokenizer.model"}) {
      paths.push_back(str_cat(folder.path, "/", name));
    }
  } else {
    paths.push_back(folder.tokenizer_file);
  }
  for (const std::string& path : paths) {
    const absl::StatusOr<std::string> text = read_file(path, limits::kTokenizerBytes);
    if (!text.ok() && !absl::IsNotFound(text.status())) return text.status();
    hasher->add_number(text.ok() ? 1 : 0);
    if (text.ok()) hasher->add_text(*text);
  }
  return absl::OkStatus();
}

// A description begins with the backend and its target, up to the first comma. What follows (the
// number of threads) changes no bit.
std::string_view backend_and_target(std::string_view description) {
  return description.substr(0, description.find(','));
}

void add_layout(const StateLayout& layout, Hasher* hasher) {
  hasher->add_number(kStateLayoutVersion);
  for (const StatePart& part : layout.parts) {
    hasher->add_text(part.name);
    for (const int64_t number :
         {int64_t{part.layer}, static_cast<int64_t>(part.per), static_cast<int64_t>(part.format),
          int64_t{part.heads}, int64_t{part.rows}, int64_t{part.columns}, int64_t{part.stride}}) {
      hasher->add_number(number);
    }
  }
}

// Runs tokens of one sequence in slot 0 and keeps the logits after the last of them.
class FixedTokens {
 public:
  explicit FixedTokens(Model* model)
      : model_(*model), logits_(static_cast<size_t>(model->config().vocab_size)) {}

  void run(RowKind kind, int count, Hasher* hasher) {
    std::vector<int32_t> tokens;
    for (int i = 0; i < count; ++i) tokens.push_back(token_at(position_ + i));
    const Segment segment{.kind = kind, .num_rows = count, .position = position_};
    const Ticket ticket = model_.forward({{tokens.data(), count}, {&segment, 1}});
    Draw draw;
    draw.row = count - 1;
    draw.logits = logits_.data();
    model_.draw(ticket, {&draw, 1});
    DrawResult result;
    model_.wait(ticket, &result);
    position_ += count;
    hasher->add_bytes(logits_.data(), logits_.size() * sizeof(float));
  }

  void add_state(Hasher* hasher) {
    std::vector<char> slot(model_.layout().bytes());
    model_.wait(model_.backend().export_slot(0, slot.data()), nullptr);
    // The bytes between two parts have no meaning and may differ.
    for (const StatePart& part : model_.layout().parts) {
      if (part.per == Per::kToken) continue;  // no part of the slot
      hasher->add_bytes(slot.data() + part.offset, static_cast<size_t>(part.bytes()));
    }
  }

 private:
  int32_t token_at(int64_t position) const {
    constexpr uint64_t kSpread = 0x9E3779B97F4A7C15;  // 2^64 over the golden ratio
    const uint64_t number = (static_cast<uint64_t>(position) + 1) * kSpread >> 32;
    return static_cast<int32_t>(number % static_cast<uint64_t>(model_.config().vocab_size));
  }

  Model& model_;
  std::vector<float> logits_;
  int64_t position_ = 0;
};

void add_computed_bits(Model* model, Hasher* hasher) {
  FixedTokens tokens(model);
  for (int left = kPromptTokens; left > 0; left -= kChunkTokens) {
    tokens.run(RowKind::kPrefill, std::min(left, int{kChunkTokens}), hasher);
  }
  tokens.add_state(hasher);
  tokens.run(RowKind::kDecode, 1, hasher);
  tokens.add_state(hasher);
}

}  // namespace

absl::StatusOr<NumericFingerprint> numeric_fingerprint(const ModelFolder& folder, Model* model) {
  Hasher hasher;
  absl::Status status = add_tensors(folder.path, &hasher);
  if (status.ok()) status = add_files(folder, &hasher);
  if (!status.ok()) return status;
  add_layout(model->layout(), &hasher);
  hasher.add_text(backend_and_target(model->backend().description()));
  hasher.add_number(static_cast<int64_t>(model->weight_format()));
  add_computed_bits(model, &hasher);
  return hasher.finish();
}

std::string to_hex(const NumericFingerprint& fingerprint) {
  return absl::BytesToHexString(
      {reinterpret_cast<const char*>(fingerprint.data()), fingerprint.size()});
}

}  // namespace deltaserve
