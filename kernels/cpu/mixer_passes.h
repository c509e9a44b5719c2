// The passes of a mixer layer on the CPU. Private to mixer_*.cc.
#pragma once
#include <cstdint>

#include "kernels/cpu/delta_rule_cpu.h"
#include "kernels/mixer_call.h"

namespace deltaserve::cpu {

// ---- mixer_layer.cc
// The rule over the rows of a segment, by the form of its kind. out row i at out + i * out_stride.
void run_segment(MixerKind kind, const HeadShape& size, const HeadTokens& tokens,
                 const Segment& segment, HeadState state, float* out, int64_t out_stride,
                 float* scratch);

// ---- mixer_features.cc: rows [begin, end) of a segment
void compute_features(const MixerCall& call, const Segment& segment, int64_t begin, int64_t end);

// ---- mixer_conditioning.cc: sequential over a segment's tokens
// The multipliers of one head of a preconditioner; updates its state.
void precondition_head(const MixerCall& call, const Segment& segment, int64_t precond_head);
// The conditioned queries of one head; updates its covariance.
void condition_queries(const MixerCall& call, const Segment& segment, int64_t head, float* scratch);
// The divisors of normalised linear attention of one head; updates its sum of keys.
void sum_keys(const MixerCall& call, const Segment& segment, int64_t head);

}  // namespace deltaserve::cpu
