// What a device does for a model: a few coarse, fused operations over opaque handles. One
// implementation for the CPU (cpu/), one for CUDA in a module that is loaded when it is there.
//
// A step is begin_step, operations, end_step. Operations are queued in order and may run later;
// wait() returns when a step's results are on the host. Nothing here allocates inside a step.
//
// Thread safety: one thread at a time. Precondition violations are programmer errors and abort.
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "kernels/ops.h"
#include "kernels/state_layout.h"

namespace deltaserve {

class ThreadPool;

struct Ticket {
  uint64_t step = 0;
};

class Backend {
 public:
  virtual ~Backend() = default;

  // For the log, for instance "cpu AVX2, 2 threads, 380 MB of int8 weights"; names instructions
  // that failed their comparison at the start and are not used.
  virtual std::string description() const = 0;

  // ---- At load. A negative handle or false: the memory is not there.

  // Stacks `num_blocks` matrices of equal `columns` by rows into one weight, packed for this
  // backend. The data is copied; the source may be released afterwards.
  [[nodiscard]] virtual MatrixHandle load_matrix(const HostMatrix* blocks, int num_blocks,
                                                 WeightFormat format) = 0;
  [[nodiscard]] virtual VectorHandle load_vector(const HostMatrix& values) = 0;
  [[nodiscard]] virtual BufferHandle allocate(int64_t rows, int64_t columns) = 0;
  // Scratch for steps of at most `max_rows` rows in `max_segments` segments and `max_head_rows`
  // rows of results, over layers of this mixer and the matrices loaded so far.
  [[nodiscard]] virtual bool reserve(const MixerShape& mixer, int64_t max_rows,
                                     int64_t max_segments, int64_t max_head_rows, int64_t hidden,
                                     int64_t vocab) = 0;
  [[nodiscard]] virtual bool allocate_states(const StateLayout& layout, int num_slots) = 0;
  // Bytes of all weights as stored by this backend, scales included.
  virtual size_t weight_bytes() const = 0;
  virtual size_t matrix_bytes(MatrixHandle matrix) const = 0;

  // ---- States, ordered with the steps.

  virtual void copy_state(int from_slot, int to_slot) = 0;
  // `host` holds StateLayout::bytes().
  virtual void export_state(int slot, void* host) = 0;
  virtual void import_state(int slot, const void* host) = 0;

  // ---- A step. Buffers hold the step's rows first.

  virtual void begin_step(const StepView& step) = 0;
  // out[r] = table[token_ids[r]]
  virtual void embed(MatrixHandle table, BufferHandle out) = 0;
  // out[r] = x[r] / sqrt(mean(x[r]^2) + eps) * weight
  virtual void rms_norm(BufferHandle x, VectorHandle weight, float eps, BufferHandle out) = 0;
  // out = x w^T
  virtual void matmul(BufferColumns x, MatrixHandle w, BufferColumns out) = 0;
  // out += x w^T
  virtual void matmul_add(BufferColumns x, MatrixHandle w, BufferColumns out) = 0;
  // out[r][c] += bias[c]
  virtual void add_bias(VectorHandle bias, BufferColumns out) = 0;
  // Short convolution, feature maps, norms, gates, the rule over decode rows and prefill segments,
  // the gated output norm. Updates the slots' states.
  virtual void mixer_layer(const MixerLayer& layer, BufferHandle projected, BufferHandle out) = 0;
  // out = silu(x[:, :n]) * x[:, n:] with n = columns(out)
  virtual void swiglu(BufferHandle x, BufferHandle out) = 0;
  // Logits of the asked rows (final norm, output matrix), then log-probabilities and draws.
  // `rows` has `num_rows` entries; results arrive in the same order with wait().
  virtual void head(BufferHandle x, VectorHandle norm, float eps, MatrixHandle output,
                    const HeadRow* rows, int num_rows) = 0;
  virtual Ticket end_step() = 0;

  // Blocks until the step is done; `results` receives one entry per row given to head().
  virtual void wait(Ticket ticket, HeadResult* results) = 0;

  // For tests and tools, outside a step: rows [0, num_rows) of a buffer.
  virtual void read_buffer(BufferHandle buffer, int64_t num_rows, float* host) = 0;
};

// `threads` must outlive the backend. Picks the widest instruction set that the processor has.
std::unique_ptr<Backend> make_cpu_backend(ThreadPool* threads);

}  // namespace deltaserve
