// The passes of a mixer layer on the CPU, private to mixer_*.cc.
#pragma once
#include <cstdint>

#include "kernels/cpu/rule/delta_rule_cpu.h"
#include "kernels/program/mixer_call.h"

namespace deltaserve::cpu {

// ---- mixer_layer.cc
// One head's state for a segment: in its write slot, and in its keep slot (without data if there is
// none).
struct SegmentState {
  HeadState state, kept;
};

// Runs the rule over the rows of a segment, in the form of its kind. Output row i is at out + i *
// out_stride.
void run_segment(MixerKind kind, const HeadShape& size, const HeadTokens& tokens,
                 const Segment& segment, const SegmentState& states, float* out, int64_t out_stride,
                 float* scratch);

// ---- mixer_features.cc: rows [begin, end) of a segment
void compute_features(const MixerCall& call, const Segment& segment, int64_t begin, int64_t end);

// ---- mixer_conditioning.cc: sequential over a segment's tokens
// Computes the multipliers of one head of a preconditioner and updates its state.
void precondition_head(const MixerCall& call, const Segment& segment, int64_t precond_head);
// Computes the conditioned queries of one head and updates its covariance.
void condition_queries(const MixerCall& call, const Segment& segment, int64_t head, float* scratch);
// Computes one head's divisors of normalised linear attention and updates its sum of keys.
void sum_keys(const MixerCall& call, const Segment& segment, int64_t head);

}  // namespace deltaserve::cpu
