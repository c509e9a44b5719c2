// Decides which operations of a program the matmuls of decode rows take in: the norm in front of a
// matmul, be it of its own or a mixer's, the gate after it, the norm after one that adds to its
// output. Decode rows run every other operation as the program says, and prefill rows run all of
// them so.
#pragma once
#include <cstdint>
#include <functional>
#include <vector>

#include "kernels/cuda/matmul/matmul.h"
#include "kernels/program/program.h"

namespace deltaserve::cuda {

enum class DecodeAction : uint8_t {
  kAsProgram,
  kNothing,    // a matmul does it
  kScaleRows,  // a norm leaves its factor to the matmuls that read its rows: launch_scale_rows
  kMatmul,     // a matmul with what follows
};

struct DecodeOp {
  DecodeAction action = DecodeAction::kAsProgram;
  MatmulEnd end = MatmulEnd::kStore;
  // The norm or mixer whose factors the matmul finds, an index into Program::ops.
  int32_t norm = -1;
  int32_t next_norm = -1;       // of MatmulEnd::kNextNorm
  int32_t result = -1;          // the buffer that kNextNorm and kGate fill in bf16
  bool leaves_factors = false;  // of a mixer: LayerCall::head_squares
};

// Says what kernels can do.
struct DecodeSupport {
  // Returns whether a matmul by this weight, an index into Program::weights, can also do what
  // follows it.
  std::function<bool(int32_t weight)> takes_ends;
  // Returns whether this mixer, an index into Program::mixers, can leave the factors of its heads'
  // norms to a matmul.
  std::function<bool(int32_t mixer)> leaves_factors;
};

// Returns an entry for each operation.
std::vector<DecodeOp> plan_decode(const Program& program, const DecodeSupport& support);

}  // namespace deltaserve::cuda
