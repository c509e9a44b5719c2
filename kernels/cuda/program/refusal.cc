#include "kernels/cuda/program/refusal.h"

#include <algorithm>

#include "kernels/cuda/device/simt.h"
#include "kernels/cuda/rule/layer_call.h"

namespace deltaserve::cuda {
namespace {

constexpr int64_t kMaxVocab = int64_t{1} << 30;

// Returns the layer of the first operation that runs mixer `index`.
int layer_of(const Program& program, int32_t index) {
  const Op* op = std::find_if(program.ops.begin(), program.ops.end(), [&](const Op& candidate) {
    return candidate.kind == OpKind::kMixer && candidate.mixer == index;
  });
  return op == program.ops.end() ? -1 : op->layer;
}

}  // namespace

std::string refusal_of(const Program& program, const Limits& limits) {
  if (std::string growth = complaint_about_growth(program); !growth.empty()) return growth;
  for (const WeightFormat format : {WeightFormat::kInt4, WeightFormat::kInt8}) {
    const bool wanted =
        std::any_of(program.weights.begin(), program.weights.end(), [format](const Weight& weight) {
          return weight.kind == WeightKind::kMatrix && weight.format == format;
        });
    if (!wanted) continue;
    return std::string("weights in ") + weight_format_name(format) +
           " are for the CPU; on CUDA they are auto, f32 or bf16";
  }
  for (int32_t i = 0; i < program.mixers.count; ++i) {
    const int32_t key_dim = program.mixers[i].shape.key_dim;
    if (key_dim <= kMaxKeyDim) continue;
    return "heads of " + std::to_string(key_dim) + " key channels, as layer " +
           std::to_string(layer_of(program, i)) +
           " has them, are for the CPU; CUDA's kernels take " + std::to_string(kMaxKeyDim);
  }
  if (program.vocab > kMaxVocab) {
    return "a vocabulary of " + std::to_string(program.vocab) +
           " tokens is for the CPU; CUDA's kernels take " + std::to_string(kMaxVocab);
  }
  if (limits.segments > simt::kMaxGridYZ) {
    return "steps of " + std::to_string(limits.segments) +
           " sequences are for the CPU; CUDA's kernels take " + std::to_string(simt::kMaxGridYZ);
  }
  return "";
}

}  // namespace deltaserve::cuda
