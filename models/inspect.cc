#include "models/inspect.h"

#include <algorithm>
#include <map>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "kernels/base/human_bytes.h"
#include "models/base/text.h"
#include "models/checkpoint/safetensors.h"
#include "models/mapping/weights.h"
#include "models/model.h"

namespace deltaserve {
namespace {

constexpr const char* kMlps = "mlps";
constexpr const char* kParts[] = {"embeddings", "mixers", kMlps, "norms", "logits head"};

// Formats 1234567 as "1,234,567".
std::string with_commas(uint64_t number) {
  std::string digits = str_cat(number);
  for (int64_t at = static_cast<int64_t>(digits.size()) - 3; at > 0; at -= 3) {
    digits.insert(static_cast<size_t>(at), 1, ',');
  }
  return digits;
}

void add_line(std::string* out, std::string_view label, std::string_view text) {
  absl::StrAppendFormat(out, "%-14s%s\n", label, text);
}

void add_amount(std::string* out, std::string_view label, uint64_t amount, std::string_view note) {
  absl::StrAppendFormat(out, "  %-12s%15s%s\n", label, with_commas(amount), note);
}

void add_bytes_line(std::string* out, std::string_view label, uint64_t bytes) {
  add_amount(out, label, bytes, absl::StrFormat("%12s", human_bytes(bytes)));
}

std::string heads_text(const MixerShape& mixer) {
  const std::string keys = mixer.q_heads == mixer.k_heads
                               ? str_cat(mixer.k_heads, " query/key of ")
                               : str_cat(mixer.q_heads, " query, ", mixer.k_heads, " key of ");
  const std::string states =
      mixer.heads == mixer.v_heads ? "" : str_cat(", ", mixer.heads, " states");
  return str_cat(keys, mixer.key_dim, ", ", mixer.v_heads, " value of ", mixer.value_dim, states);
}

std::string conditioning_text(const QueryConditioning& ccq) {
  using Normaliser = QueryConditioning::Normaliser;
  using Gate = QueryConditioning::GateInput;
  const char* norm = "sum";
  if (ccq.normaliser == Normaliser::kMean) norm = ccq.centered ? "centered mean" : "mean";
  if (ccq.normaliser == Normaliser::kEma) norm = "moving average";
  const char* gate = "shared";
  if (ccq.gate_input == Gate::kPerHead) gate = "per head";
  if (ccq.gate_input == Gate::kFull) gate = "over all heads";
  return str_cat("q = q - l C q, C the ", norm, " of k k'",
                 ccq.backbone_decay ? " with the decay of S" : " without decay",
                 ccq.l2_keys ? ", unit keys" : "", ccq.renormalise ? ", unit q" : "", ", gate ",
                 gate);
}

std::string tokenizer_text(const ModelFolder& folder) {
  if (folder.tokenizer == nullptr) return "none: token-id prompts only";
  const int32_t pieces = folder.tokenizer->num_pieces();
  const int32_t added = folder.tokenizer->size() - pieces;
  return str_cat(folder.tokenizer->kind(), ", ", pieces, " pieces",
                 added > 0 ? str_cat(", ", added, " ids of added tokens") : "");
}

void add_mixer(const LayerConfig& layer, std::string* out) {
  const MixerShape& mixer = layer.mixer;
  add_line(out, "mixer", mixer_name(mixer.kind));
  add_line(out, "rule", mixer_rule(mixer.kind));
  if (mixer.conditioning.on) add_line(out, "query", conditioning_text(mixer.conditioning));
  add_line(out, "heads", heads_text(mixer));
  add_line(out, "convolution", mixer.conv_width > 0 ? str_cat(mixer.conv_width, " taps") : "none");
  add_line(out, "output gate", layer.tensors.output_gate ? "yes" : "no");
  if (erases_query(mixer.kind)) add_line(out, "lambda bias", str_cat(mixer.lambda_bias));
}

// Adds one block of lines for all layers, or one for each run of layers that are alike.
void add_layers(const ModelConfig& config, std::string* out) {
  for (size_t first = 0, end = 0; first < config.layers.size(); first = end) {
    const LayerConfig& layer = config.layers[first];
    while (end < config.layers.size() && config.layers[end] == layer) ++end;
    if (!layers_are_alike(config)) {
      add_line(out, end - first == 1 ? "layer" : "layers",
               end - first == 1 ? str_cat(first) : str_cat(first, " to ", end - 1));
    }
    if (layer.has_mixer) {
      add_mixer(layer, out);
    } else {
      add_line(out, "mixer", "none");
    }
    add_line(out, "mlp size",
             layer.intermediate_size > 0 ? str_cat(layer.intermediate_size) : "none");
  }
}

void add_model(const ModelFolder& folder, const ModelConfig& config, std::string* out) {
  add_line(out, "model", folder.path);
  add_line(out, "type", config.model_type);
  add_line(out, "layers", str_cat(config.num_layers()));
  add_line(out, "hidden size", str_cat(config.hidden_size));
  add_layers(config, out);
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
    if (count[part] == 0 && part == kMlps) continue;  // the model has no MLP
    add_amount(out, part, count[part],
               count[part] == 0 ? "     tied" : absl::StrFormat("  %5.1f %%", share));
  }
  add_amount(out, "total", total, "");
}

// The total of parts with the same name and shape over all layers.
struct PartSum {
  StatePart part;
  int64_t layers = 0;
};

bool same_shape(const StatePart& a, const StatePart& b) {
  return std::string_view(a.name) == b.name && a.per == b.per && a.format == b.format &&
         a.heads == b.heads && a.rows == b.rows && a.columns == b.columns;
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

  absl::StrAppend(out, describe_state(state_layout(config)));
}

}  // namespace

std::string describe_state(const StateLayout& layout) {
  std::string out;
  std::vector<PartSum> sums;
  for (const StatePart& part : layout.parts) {
    const auto found = std::find_if(sums.begin(), sums.end(),
                                    [&](const PartSum& sum) { return same_shape(sum.part, part); });
    if (found == sums.end()) {
      sums.push_back({part, 1});
    } else {
      ++found->layers;
    }
  }
  const bool grows = layout.bytes_per_token() > 0;
  absl::StrAppend(&out, "\nbytes of one sequence", grows ? "" : ", at any length", "\n");
  for (const auto& [part, layers] : sums) {
    const auto bytes = static_cast<uint64_t>(layers * part.bytes());
    add_amount(&out, part.name, bytes,
               absl::StrFormat("%12s  %d x %s [%d, %d, %d]%s", human_bytes(bytes), layers,
                               state_format_name(part.format), part.heads, part.rows, part.columns,
                               part.per == Per::kToken ? " for each token" : ""));
  }
  add_bytes_line(&out, grows ? "at its start" : "total", layout.bytes());
  add_bytes_line(&out, "each token", static_cast<uint64_t>(layout.bytes_per_token()));
  return out;
}

absl::StatusOr<std::string> describe_model(const std::string& folder,
                                           const ModelFolderOptions& options) {
  absl::StatusOr<ModelFolder> model = open_model_folder(folder, options);
  if (!model.ok()) return model.status();
  const absl::StatusOr<Checkpoint> checkpoint = Checkpoint::open(folder);
  if (!checkpoint.ok()) return checkpoint.status();
  const ModelConfig config = settled_config(model->config, *checkpoint);
  absl::StatusOr<Weights> weights = bind_weights(config, *checkpoint);
  if (!weights.ok()) {
    return prefixed(folder, weights.status());
  }
  std::string text;
  add_model(*model, config, &text);
  add_parameters(config, &text);
  add_bytes(config, *checkpoint, &text);
  return text;
}

}  // namespace deltaserve
