// Multiplies rows of activations by packed weights.
#pragma once
#include <cstdint>

#include "kernels/base/thread_pool.h"
#include "kernels/cpu/packed_matrix.h"
#include "kernels/cpu/quantize.h"

namespace deltaserve::cpu {

// out[r][:] (= | +=) sum over columns of x[r][:] w[:][:], for `num_rows` rows. A row's bits are the
// same for any number of rows and threads.
//
// f32 and bf16: an output is summed over blocks of 256 input features, each block one chain of
// multiply-adds in order, blocks added in order. Paired bf16: the same, with activations rounded to
// bf16 and chains that add two products at a time. int8 and int4: activations are converted to
// integers first; a block of 128 input features (with int4, each of its groups) is summed in
// integers, hence exactly, and the blocks are added in order, with the same bits on every
// instruction set. `scratch` must have room for the activations in the form that the weights need.
// `path` is ignored for f32 and bf16.
void matmul(const float* x, int64_t x_stride, const PackedMatrix& w, int64_t num_rows,
            bool accumulate, float* out, int64_t out_stride, IntegerPath path,
            ActivationRows& scratch, ThreadPool& threads);

}  // namespace deltaserve::cpu
