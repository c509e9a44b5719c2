// Which operations of a program the matmuls of decode rows take in: the norm in front of a matmul,
// the gate behind it, the norm behind one that adds to its output. What the plan does not name runs
// for decode rows as the program says. Prefill rows always do.
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
  int32_t norm = -1;       // the norm whose factor the matmul finds, an index into Program::ops
  int32_t next_norm = -1;  // of MatmulEnd::kNextNorm
  int32_t result = -1;     // the buffer that kNextNorm and kGate fill in bf16
};

// Returns an entry for each operation. `takes_ends`: says of an index into Program::weights whether
// matmuls by it can do more than multiply.
std::vector<DecodeOp> plan_decode(const Program& program,
                                  const std::function<bool(int32_t weight)>& takes_ends);

}  // namespace deltaserve::cuda
