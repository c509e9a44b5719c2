#include "kernels/cuda/program/program_memory.h"

#include <algorithm>
#include <set>

#include "kernels/base/check.h"
#include "kernels/cuda/rule/delta_prefill.h"

namespace deltaserve::cuda {
namespace {

constexpr int64_t kLogitBytes = int64_t{64} << 20;  // of the draws whose logits exist at one time

std::string not_enough_for(const std::string& what) {
  return "not enough memory " + what;
}

}  // namespace

bool read_as_bf16_only(const Program& program, int32_t buffer,
                       const std::function<bool(int32_t weight)>& takes_bf16) {
  if (buffer == program.last_hidden || buffer == program.drawn_hidden) return false;
  bool is_read = false;
  for (const Op& op : program.ops) {
    if (op.out == buffer && op.kind != OpKind::kNorm && op.kind != OpKind::kGate) return false;
    if (op.in != buffer) continue;
    // Rows begin on 16 bytes.
    if (op.kind != OpKind::kMatmul || op.in_column % 8 != 0 || !takes_bf16(op.weight)) return false;
    is_read = true;
  }
  return is_read;
}

bool MixerScratch::reserve(Runtime& runtime, const Program& program, const StepLimits& limits) {
  int64_t channels = 0;
  int64_t gate_floats = 0;
  int64_t conditioned = 0;
  int64_t prefill_bytes = 0;
  for (const MixerLayer& layer : program.mixers) {
    const MixerShape& shape = layer.shape;
    channels = std::max<int64_t>(channels, shape.channels());
    gate_floats = std::max(gate_floats, GateLayout(shape).floats);
    if (shape.conditioning.on) {
      conditioned = std::max(conditioned, int64_t{shape.heads} * shape.key_dim);
    }
    prefill_bytes = std::max(prefill_bytes,
                             static_cast<int64_t>(prefill_scratch_bytes(shape, limits.chunks())));
  }
  const auto take = [&]<class T>(int64_t count, Memory<T>* memory) {
    if (count > 0) *memory = Memory<T>(runtime, count);
    return count == 0 || !memory->empty();
  };
  return take(limits.rows * channels, &features) && take(limits.rows * gate_floats, &gates) &&
         take(limits.rows * conditioned, &queries) &&
         take(limits.rows * 4 * conditioned, &covariance) && take(prefill_bytes, &prefill);
}

size_t MixerScratch::bytes() const {
  return features.bytes() + gates.bytes() + queries.bytes() + covariance.bytes() + prefill.bytes();
}

std::string ProgramMemory::load_weights(Runtime& runtime, MatmulRunner& matmuls,
                                        const Program& program) {
  WeightLoader loader(runtime);
  weights.resize(static_cast<size_t>(program.weights.count));
  for (int32_t i = 0; i < program.weights.count; ++i) {
    const Weight& from = program.weights[i];
    LoadedWeight& to = weights[size(i)];
    bool loaded = false;
    if (from.kind == WeightKind::kMatrix) {
      to.matrix =
          loader.load_matrix(from.blocks.data, static_cast<int>(from.blocks.count), from.format);
      loaded = !to.matrix.memory.empty();
    } else {
      to.vector = loader.load_vector(from.blocks[0]);
      loaded = !to.vector.empty();
    }
    if (!loaded) return not_enough_for(std::string("to load the ") + from.role);
  }
  std::vector<bool> of_steps(weights.size());
  for (const Op& op : program.ops) {
    if (op.kind == OpKind::kMatmul) of_steps[size(op.weight)] = true;
  }
  for (size_t i = 0; i < weights.size(); ++i) {
    const auto index = static_cast<int32_t>(i);
    weights[i].every_step = !reads_only_rows(program, index);
    const bool of_draws = index == program.output;
    if (of_steps[i] || of_draws) matmuls.add_weight(weights[i].matrix.matrix, of_steps[i]);
  }
  return "";
}

std::string ProgramMemory::load_buffers(Runtime& runtime, const MatmulRunner& matmuls,
                                        const Program& program, const Limits& limits) {
  // A matmul reads these as bf16, if their rows can be loaded as they stand.
  std::set<int32_t> rounded;
  if (matmuls.rounds_rows()) {
    rounded.insert(program.drawn_hidden);
    for (const Op& op : program.ops) {
      if (op.kind == OpKind::kMatmul) rounded.insert(op.in);
    }
  }
  const auto takes_bf16 = [&](int32_t weight) { return matmuls.takes_bf16(matrix(weight)); };
  const int64_t fitting = kLogitBytes / (program.vocab * static_cast<int64_t>(sizeof(float)));
  draw_block =
      static_cast<int32_t>(std::clamp(fitting, int64_t{1}, std::max<int64_t>(limits.draws, 1)));
  for (int32_t i = 0; i < program.buffers.count; ++i) {
    const Buffer& from = program.buffers[i];
    const bool with_bf16 = rounded.contains(i) && from.columns % 8 == 0;
    const int64_t rows = from.rows == RowsOf::kDraws ? draw_block : limits.rows;
    const bool with_floats = !with_bf16 || !read_as_bf16_only(program, i, takes_bf16);
    buffers.emplace_back(runtime, rows, from.columns, with_floats, with_bf16);
    if (!buffers.back().complete()) {
      return not_enough_for("for steps of " + std::to_string(limits.rows) + " rows");
    }
  }
  return "";
}

void ProgramMemory::load_mixers(Runtime& runtime, const Program& program) {
  for (const MixerLayer& layer : program.mixers) {
    LoadedMixer mixer;
    mixer.layer = layer;
    mixer.weights = map_vectors<const float*>(layer.vectors, [&](int32_t index) -> const float* {
      return index < 0 ? nullptr : vector(index).get();
    });
    const auto found =
        std::find_if(variants.begin(), variants.end(), [&](const MixerVariant& variant) {
          return variant.shape == layer.shape && variant.format == layer.state.format;
        });
    mixer.variant = static_cast<int32_t>(found - variants.begin());
    if (found == variants.end()) {
      const LayerPaths paths = self_test_paths(runtime, layer.shape, layer.state.format, &warning);
      variants.push_back({layer.shape, layer.state.format, paths});
    }
    mixers.push_back(mixer);
  }
}

bool ProgramMemory::load_plan(Runtime& runtime, const MatmulRunner& matmuls, const Program& program,
                              const Limits& limits) {
  const auto takes_ends = [&](int32_t weight) { return matmuls.takes_ends(matrix(weight)); };
  const auto leaves_factors = [&](int32_t mixer) {
    return variants[size(mixers[size(mixer)].variant)].paths.leaves_norm;
  };
  decode_plan = plan_decode(program, {takes_ends, leaves_factors});
  for (size_t i = 0; i < ops.size(); ++i) {
    const bool leaves_factor =
        decode_plan[i].leaves_factors ||
        (ops[i].kind == OpKind::kNorm && decode_plan[i].action != DecodeAction::kAsProgram);
    DeviceBuffer& out = buffer(ops[i].out);
    if (!leaves_factor || !out.squares.empty()) continue;
    out.squares = Memory<float>(runtime, int64_t{limits.rows} * square_groups(out.columns));
    if (out.squares.empty()) return false;
  }
  return true;
}

std::string ProgramMemory::load(Runtime& runtime, MatmulRunner& matmuls, const Program& program,
                                const Limits& limits, bool matmul_ends) {
  if (std::string failure = load_weights(runtime, matmuls, program); !failure.empty()) {
    return failure;
  }
  if (std::string failure = load_buffers(runtime, matmuls, program, limits); !failure.empty()) {
    return failure;
  }
  if (!scratch.reserve(runtime, program, {limits.rows, limits.segments})) {
    return not_enough_for("for the working buffers of steps of " + std::to_string(limits.rows) +
                          " rows");
  }
  load_mixers(runtime, program);
  ops.assign(program.ops.begin(), program.ops.end());
  decode_plan.resize(ops.size());
  if (matmul_ends && !load_plan(runtime, matmuls, program, limits)) {
    return not_enough_for("for steps of " + std::to_string(limits.rows) + " rows");
  }
  return "";
}

}  // namespace deltaserve::cuda
