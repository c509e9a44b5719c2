// Computes log-probabilities and draws from logits on the device, so that only token ids and the
// requested log-probabilities go back to the host. The definition is that of the CPU
// (kernels/cpu/draw/sample.h).
#pragma once
#include "kernels/cuda/device/simt.h"
#include "kernels/program/step.h"

namespace deltaserve::cuda {

// A Draw in the form of the device's memory. The host has checked that the tokens of the
// adjustments are distinct and inside the vocabulary, and that a mask allows a token; if it allowed
// none, the draw would give -1.
struct DeviceDraw {
  int32_t slot = -1;
  int32_t target = -1;
  int32_t num_top = 0;
  int32_t num_adjustments = 0;
  int32_t top_k = 0;
  float temperature = 1;
  float top_p = 1;
  float min_p = 0;
  bool sample = false;
  double uniform = 0;  // of the row's seed, position and choice: uniform(philox(..)), by the host
  int64_t adjustments = 0;  // index of the first in EvaluateCall::adjustments
  int64_t allowed = -1;     // index of the first word in EvaluateCall::allowed; -1: all may
};

// These are the sums of 64 neighbouring tokens of a row, relative to the most likely of them.
struct LogitsPart {
  uint64_t leader = 0;  // its place, see place_of() of block.h
  double mass = 0;      // of e^{logit - leader's logit}
  double weight = 0;    // of e^{(logit - leader's) / temperature}, where the row draws from it
};
inline constexpr int kPartTokens = 64;
DS_HOST_DEVICE constexpr int64_t num_parts(int64_t vocab) {
  return (vocab + kPartTokens - 1) / kPartTokens;
}

struct EvaluateCall {
  const float* logits = nullptr;  // [num_rows, vocab]
  int64_t logits_stride = 0;      // from row to row
  int64_t vocab = 0;
  int num_rows = 0;
  const DeviceDraw* rows = nullptr;
  const LogitAdjustment* adjustments = nullptr;
  const uint32_t* allowed = nullptr;
  float* scratch = nullptr;     // [num_rows, vocab], only rows with adjustments use theirs
  LogitsPart* parts = nullptr;  // [num_rows, num_parts(vocab)], of the call's own use
  DrawResult* results = nullptr;
  // last_tokens[DeviceDraw::slot] becomes the drawn token; null where no row names a slot.
  int32_t* last_tokens = nullptr;
  // The weights that the next launches read first. They are prefetched, because memory is idle
  // while few blocks draw. 16-byte aligned, a multiple of 16 bytes; may be null.
  const void* next_weights = nullptr;
  int64_t next_bytes = 0;
};

// Makes two launches. The first reads all logits once. The second, with one block per row, reads
// the parts and the 64 logits among which it draws. Rows with a top-k, top-p, min-p, adjustments, a
// mask or top log-probabilities read all logits a few more times. Sums are double, in an order that
// depends only on `vocab`, so a row's result does not depend on the others. Only the exponential's
// rounding may differ from the CPU's.
void launch_evaluate(simt::Stream stream, const EvaluateCall& call);

}  // namespace deltaserve::cuda
