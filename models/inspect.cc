#include "models/inspect.h"

#include <algorithm>
#include <map>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "models/model.h"
#include "models/safetensors.h"
#include "models/text.h"
#include "models/weights.h"

namespace deltaserve {
namespace {

constexpr const char* kParts[] = {"embeddings", "mixers", "mlps", "norms", "head"};

// 1234567 -> "1,234,567"
std::string with_commas(uint64_t number) {
  std::string digits = str_cat(number);
  for (int64_t at = static_cast<int64_t>(digits.size()) - 3; at > 0; at -= 3) {
    digits.insert(static_cast<size_t>(at), 1, ',');
  }
  return digits;
}

// "9.39 MB", or kB or GB.
std::string rounded(uint64_t bytes) {
  const auto number = static_cast<double>(bytes);
  if (bytes < 100'000) return absl::StrFormat("%.2f kB", number / 1e3);
  if (bytes < 10'000'000'000) return absl::StrFormat("%.2f MB", number / 1e6);
  return absl::StrFormat("%.2f GB", number / 1e9);
}

void add_line(std::string* out, std::string_view label, std::string_view text) {
  absl::StrAppendFormat(out, "%-14s%s\n", label, text);
}

void add_amount(std::string* out, std::string_view label, uint64_t amount, std::string_view note) {
  absl::StrAppendFormat(out, "  %-12s%15s%s\n", label, with_commas(amount), note);
}

void add_bytes_line(std::string* out, std::string_view label, uint64_t bytes) {
  add_amount(out, label, bytes, absl::StrFormat("%12s", rounded(bytes)));
}

std::string heads_text(const ModelConfig& config) {
  return str_cat(config.heads, " query/key of ", config.key_dim, ", ", config.value_heads,
                 " value of ", config.value_dim);
}

std::string tokenizer_text(const ModelFolder& folder) {
  if (folder.tokenizer == nullptr) return "none: token-id prompts only";
  return str_cat("sentencepiece, ", folder.tokenizer->size(), " pieces");
}

void add_model(const ModelFolder& folder, std::string* out) {
  const ModelConfig& config = folder.config;
  add_line(out, "model", folder.path);
  add_line(out, "type", config.model_type);
  add_line(out, "mixer", mixer_name(config.mixer));
  add_line(out, "rule", mixer_rule(config.mixer));
  add_line(out, "layers", str_cat(config.num_layers));
  add_line(out, "hidden size", str_cat(config.hidden_size));
  add_line(out, "mlp size", str_cat(config.intermediate_size));
  add_line(out, "heads", heads_text(config));
  add_line(out, "convolution",
           config.conv_width > 0 ? str_cat(config.conv_width, " taps") : "none");
  add_line(out, "output gate", config.output_gate ? "yes" : "no");
  if (config.mixer != MixerKind::kGatedDeltaNet) {
    add_line(out, "lambda bias", str_cat(config.lambda_bias));
  }
  add_line(out, "vocabulary",
           str_cat(config.vocab_size, " tokens, output matrix ",
                   config.tie_word_embeddings ? "tied to the embeddings" : "of its own"));
  add_line(out, "tokenizer", tokenizer_text(folder));
  add_line(out, "end tokens",
           config.eos_token_ids.empty() ? "none" : absl::StrJoin(config.eos_token_ids, ", "));
  for (const std::string& warning : config.warnings) add_line(out, "warning", warning);
}

void add_parameters(const ModelConfig& config, std::string* out) {
  std::map<std::string, uint64_t> count;
  uint64_t total = 0;
  for (const TensorSpec& spec : tensor_specs(config)) {
    uint64_t elements = 1;
    for (const int64_t size : spec.shape) elements *= static_cast<uint64_t>(size);
    count[spec.part] += elements;
    total += elements;
  }
  absl::StrAppend(out, "\nparameters\n");
  for (const char* const part : kParts) {
    const double share = 100 * static_cast<double>(count[part]) / static_cast<double>(total);
    add_amount(out, part, count[part],
               count[part] == 0 ? "     tied" : absl::StrFormat("  %5.1f %%", share));
  }
  add_amount(out, "total", total, "");
}

void add_bytes(const ModelConfig& config, const Checkpoint& checkpoint, std::string* out) {
  std::map<std::string, uint64_t> by_dtype;
  uint64_t stored = 0;
  for (const auto& [name, tensor] : checkpoint.tensors()) {
    by_dtype[dtype_name(tensor.info.dtype)] += tensor.info.end - tensor.info.begin;
    stored += tensor.info.end - tensor.info.begin;
  }
  absl::StrAppend(out, "\nbytes of the weights\n");
  for (const auto& [dtype, bytes] : by_dtype) add_bytes_line(out, dtype, bytes);
  add_bytes_line(out, "total", stored);

  const StateLayout layout = state_layout(config);
  uint64_t matrices = 0;
  uint64_t tails = 0;
  for (const LayerStateLayout& layer : layout.layers) {
    matrices += static_cast<uint64_t>(layer.state_floats) * sizeof(float);
    tails += static_cast<uint64_t>(layer.conv_floats) * sizeof(float);
  }
  absl::StrAppend(out, "\nbytes of one sequence, at any length\n");
  add_bytes_line(out, "state", matrices);
  add_bytes_line(out, "conv tail", tails);
  add_bytes_line(out, "total", layout.bytes());
}

}  // namespace

absl::StatusOr<std::string> describe_model(const std::string& folder) {
  absl::StatusOr<ModelFolder> model = open_model_folder(folder);
  if (!model.ok()) return model.status();
  const absl::StatusOr<Checkpoint> checkpoint = Checkpoint::open(folder);
  if (!checkpoint.ok()) return checkpoint.status();
  absl::StatusOr<Weights> weights = bind_weights(model->config, *checkpoint);
  if (!weights.ok()) {
    return prefixed(folder, weights.status());
  }
  std::string text;
  add_model(*model, &text);
  add_parameters(model->config, &text);
  add_bytes(model->config, *checkpoint, &text);
  return text;
}

}  // namespace deltaserve
