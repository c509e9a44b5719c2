// The kernels of launch_tensor_matmul. All give the same bits.
#pragma once
#include "kernels/cuda/matmul/matmul.h"

namespace deltaserve::cuda {

inline constexpr int64_t kMultiprocessors = 132;  // of the device that times are of: an H200

bool takes_few_rows(const MatmulCall& call);
void launch_few_rows(simt::Stream stream, const MatmulCall& call);

// `outs` of 32, 64 or 128 is the number of outputs and of rows of a block's tile.
bool takes_tile(const MatmulCall& call, int outs);
void launch_tile(simt::Stream stream, const MatmulCall& call, int outs);
// Returns the tiles of a matmul.
int64_t tiles_of(const MatmulCall& call, int outs);

// Needs clusters.
bool takes_wide(const MatmulCall& call);
void launch_wide(simt::Stream stream, const MatmulCall& call);

// Calls visit.template operator()<end>() with the call's.
template <class Visit>
void visit_end(const MatmulCall& call, const Visit& visit) {
  switch (call.end) {
    case MatmulEnd::kStore: return visit.template operator()<MatmulEnd::kStore>();
    case MatmulEnd::kNextNorm: return visit.template operator()<MatmulEnd::kNextNorm>();
    case MatmulEnd::kGate: return visit.template operator()<MatmulEnd::kGate>();
  }
}

}  // namespace deltaserve::cuda
