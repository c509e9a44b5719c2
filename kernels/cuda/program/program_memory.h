// A loaded program has this in the device's memory: weights, buffers, the scratch of its mixers;
// and copies of what its arrays say.
#pragma once
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

// A matrix, or a vector where the program says so.
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

  // Copies the program's weights and arrays and tests the kernels that its mixers take. Empty:
  // done; else a sentence that says what there was not enough memory for. `matmul_ends`: matmuls of
  // decode rows may do what surrounds them.
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
  // False: there was not enough memory.
  bool load_plan(Runtime& runtime, const MatmulRunner& matmuls, const Program& program,
                 const Limits& limits);
};

}  // namespace deltaserve::cuda
