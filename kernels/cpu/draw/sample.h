// Computes a drawn token and log-probabilities from one row of logits.
#pragma once
#include <cstdint>

#include "kernels/program/step.h"

namespace deltaserve::cpu {

// Working memory of one thread for one vocabulary.
struct SampleScratch {
  float* weights;    // [vocab]
  int32_t* indices;  // [vocab]
};

// Computes the results of one row. Ties between logits go to the smaller id; NaN counts as
// -infinity. `logits` is not changed. A row that samples must allow a token; it is a programmer
// error if it allows none.
DrawResult evaluate_row(const Draw& row, const float* logits, int64_t vocab,
                        const SampleScratch& scratch);

}  // namespace deltaserve::cpu
