// The memory of a loaded program on the device: weights, buffers and the scratch of its mixers;
// also copies of its arrays on the host.
#pragma once
#include <functional>
#include <string>
#include <vector>

#include "kernels/cuda/device/buffer.h"
#include "kernels/cuda/matmul/matmul_runner.h"
#include "kernels/cuda/matmul/weights.h"
#include "kernels/cuda/program/decode_plan.h"
#include "kernels/cuda/program/step_memory.h"
#include "kernels/cuda/self_test/layer_self_test.h"
#include "kernels/program/program.h"

namespace deltaserve::cuda {

// A matrix, or a vector if the program declares one.
struct LoadedWeight {
  LoadedMatrix matrix;
  Memory<float> vector;
  bool every_step = false;  // whether every decode step reads all of it

  size_t bytes() const { return vector.empty() ? matrix.bytes() : vector.bytes(); }
};

// Working memory of mixer layers, see LayerCall: enough for the largest of them.
struct MixerScratch {
  Memory<float> features, gates, queries, covariance;
  Memory<unsigned char> prefill;

  bool reserve(Runtime& runtime, const Program& program, const StepLimits& limits);
  size_t bytes() const;
};

// A mixer layer whose vectors are pointers of the device.
struct LoadedMixer {
  MixerLayer layer;
  MixerWeights weights = {};
  int32_t variant = 0;  // of ProgramMemory::variants
};

// Returns true if norms and gates fill the buffer and only matmuls read it, by weights that take
// rows as they stand in bf16: then nobody needs its floats.
bool read_as_bf16_only(const Program& program, int32_t buffer,
                       const std::function<bool(int32_t weight)>& takes_bf16);

struct ProgramMemory {
  std::vector<LoadedWeight> weights;
  std::vector<DeviceBuffer> buffers;
  std::vector<Op> ops;
  std::vector<DecodeOp> decode_plan;  // of each of them
  std::vector<LoadedMixer> mixers;
  std::vector<MixerVariant> variants;
  MixerScratch scratch;
  int32_t draw_block = 0;  // draws whose logits exist at one time
  std::string warning;     // of the kernels' self-tests

  // Copies the program's weights and arrays and tests the kernels that its mixers take. Returns an
  // empty text, or a sentence that says for what there was not enough memory. With `matmul_ends`,
  // matmuls of decode rows may include the operations around them.
  std::string load(Runtime& runtime, MatmulRunner& matmuls, const Program& program,
                   const Limits& limits, bool matmul_ends);

  const DeviceMatrix& matrix(int32_t index) const { return weights[size(index)].matrix.matrix; }
  const Memory<float>& vector(int32_t index) const { return weights[size(index)].vector; }
  DeviceBuffer& buffer(int32_t index) { return buffers[size(index)]; }

 private:
  static size_t size(int32_t index) { return static_cast<size_t>(index); }

  std::string load_weights(Runtime& runtime, MatmulRunner& matmuls, const Program& program);
  std::string load_buffers(Runtime& runtime, const MatmulRunner& matmuls, const Program& program,
                           const Limits& limits);
  void load_mixers(Runtime& runtime, const Program& program);
  // Returns false if there is not enough memory.
  bool load_plan(Runtime& runtime, const MatmulRunner& matmuls, const Program& program,
                 const Limits& limits);
};

}  // namespace deltaserve::cuda
