// One operation of a step, as the backend keeps it until the step ends.
#pragma once
#include <cstdint>
#include <vector>

#include "kernels/cuda/recordings.h"
#include "kernels/ops.h"

namespace deltaserve::cuda {

struct Operation {
  enum class Kind : int32_t {
    kEmbed,
    kRmsNorm,
    kMatmul,
    kMatmulAdd,
    kAddBias,
    kMixerLayer,
    kSwiglu,
    kHead,
  };
  Kind kind;
  MatrixHandle matrix;
  VectorHandle vector;
  BufferColumns from, to;
  float eps = 0;
  int32_t layer = -1;  // of OperationList::layers
};

struct OperationList {
  std::vector<Operation> operations;
  std::vector<MixerLayer> layers;

  void clear() {
    operations.clear();
    layers.clear();
  }
  void add_to(Fingerprint& fingerprint) const {
    fingerprint.add_bytes(operations.data(), operations.size() * sizeof(Operation));
    fingerprint.add_bytes(layers.data(), layers.size() * sizeof(MixerLayer));
  }
};
// No padding whose bytes would differ from step to step.
static_assert(sizeof(Operation) == 9 * sizeof(int32_t));

}  // namespace deltaserve::cuda
