#include "kernels/cuda/rule/prefill_plain.h"

#include "kernels/base/check.h"
#include "kernels/cuda/rule/prefill_chunk.h"
#include "kernels/cuda/rule/prefill_inverse.h"
#include "kernels/cuda/rule/state_vector.h"

namespace deltaserve::cuda {
namespace {

constexpr int kThreads = 256;

// The result of the first kernel for one chunk of one head, which the second reads.
struct PlainChunk {
  DS_HOST_DEVICE PlainChunk(float* base, int64_t key_dim) {
    inverse = base;
    reads = inverse + kChunkTokens * kChunkTokens;
    erase = reads + kChunkTokens * kChunkTokens;
    read = erase + kChunkTokens * key_dim;
    write = read + kChunkTokens * key_dim;
    decay = write + kChunkTokens * key_dim;
  }
  static constexpr int64_t floats(int64_t key_dim) {
    return 2 * kChunkTokens * kChunkTokens + 3 * kChunkTokens * key_dim + padded_to_16(key_dim);
  }

  float* inverse;  // [64, 64]  (I + A)^-1
  float* reads;    // [64, 64]  Q
  float* erase;    // [64, K]   e^G erase
  float* read;     // [64, K]   e^G read
  float* write;    // [64, K]   e^{G_n - G} write
  float* decay;    // [K]       e^{G_n}
};

DS_DEVICE PlainChunk plain_chunk(const RuleView& view, int64_t chunk, int64_t head) {
  const int64_t key_dim = view.size().key_dim;
  auto* base = static_cast<float*>(view.call.prefill_scratch);
  return {base + (chunk * view.heads() + head) * PlainChunk::floats(key_dim), key_dim};
}

// ---- Between the tokens of a chunk

struct SquareMemory {
  double sums[kChunkTokens];  // G
  float steps[kChunkTokens];
  float a[kSquareFloats];
  float inverse[kSquareFloats];
  float reads[kSquareFloats];
};

template <class Mixer>
DS_DEVICE float row_of(const Token& t, int c) {
  if constexpr (Mixer::kOwnChunkOperands) return Mixer::chunk_row(t, c);
  return Mixer::erase(t, c);
}
template <class Mixer>
DS_DEVICE float col_of(const Token& t, int c) {
  if constexpr (Mixer::kOwnChunkOperands) return Mixer::chunk_col(t, c);
  return Mixer::write(t, c);
}

constexpr int kTeam = 8;           // lanes that share a row of A and Q
constexpr int kTeamChannels = 64;  // channels that a team takes at once
constexpr int kWarpRows = simt::kWarp / kTeam;

// Adds the products over the channels from `base` on to a row of A and Q, the rows of a warp being
// [first, first + kWarpRows). From the diagonal to the left: with a decay per channel the row
// decays by one token at a time, so that every factor is a product of numbers up to 1.
template <class Mixer>
DS_DEVICE void add_row_matmuls(const HeadTokens& tokens, int key_dim, int n, int first, int base,
                               SquareMemory& memory) {
  constexpr int kChannels = kTeamChannels / kTeam;  // of a lane
  constexpr int kRun = 8;                           // columns of one exchange
  const int i = first + simt::lane_index() / kTeam;
  const int lane = simt::lane_index() % kTeam;
  const Token own = i < n ? tokens.at(i) : Token{};
  float row[kChannels], read[kChannels];
  DS_UNROLL
  for (int m = 0; m < kChannels; ++m) {
    const int c = base + m * kTeam + lane;
    const bool inside = i < n && c < key_dim;
    row[m] = Mixer::kErases && inside ? row_of<Mixer>(own, c) : 0.0f;
    read[m] = inside ? Mixer::read(own, c) : 0.0f;
  }
  for (int begin = 0; begin < first + kWarpRows; begin += kRun) {
    float sums[2 * kRun];
    DS_UNROLL
    for (int d = 0; d < kRun; ++d) {
      sums[d] = sums[kRun + d] = 0;
      const int j = i - begin - d;
      if (i >= n || j < 0) continue;
      const Token t = tokens.at(j);
      DS_UNROLL
      for (int m = 0; m < kChannels; ++m) {
        const int c = base + m * kTeam + lane;
        if (c >= key_dim) continue;
        if constexpr (Mixer::kDecay == Decay::kPerChannel) {
          if (j < i) {
            const float decay = expf(tokens.g.at(j + 1)[c]);
            row[m] *= decay;
            read[m] *= decay;
          }
        }
        if constexpr (Mixer::kErases) sums[d] += row[m] * col_of<Mixer>(t, c);
        sums[kRun + d] += read[m] * Mixer::write(t, c);
      }
    }
    simt::lanes_sum<kTeam>(sums);
    if (i >= n || lane != 0) continue;
    for (int d = 0; d < kRun && begin + d <= i; ++d) {
      const int at = i * kSquareStride + i - begin - d;
      memory.a[at] += sums[d];
      memory.reads[at] += sums[kRun + d];
    }
  }
}

// A and Q of n tokens, zero where they have no entries.
template <class Mixer>
DS_DEVICE void make_squares(const HeadTokens& tokens, int key_dim, int n, SquareMemory& memory) {
  for (int at = simt::thread_index(); at < kSquareFloats; at += kThreads) {
    memory.a[at] = memory.reads[at] = 0;
  }
  sum_log_decays<Mixer>(tokens, n, memory.steps, memory.sums);
  for (int first = simt::warp_index() * kWarpRows; first < n;
       first += kThreads / simt::kWarp * kWarpRows) {
    for (int base = 0; base < key_dim; base += kTeamChannels) {
      add_row_matmuls<Mixer>(tokens, key_dim, n, first, base, memory);
    }
  }
  simt::sync_block();
  for (int at = simt::thread_index(); at < n * kChunkTokens; at += kThreads) {
    const int i = at / kChunkTokens;
    const int j = at % kChunkTokens;
    if (j > i) continue;
    const int here = i * kSquareStride + j;
    const float decay = Mixer::kDecay == Decay::kPerHead ? decay_between(memory.sums, j, i) : 1.0f;
    memory.a[here] = j < i ? decay * memory.a[here] : 0.0f;
    memory.reads[here] *= decay;
  }
  simt::sync_block();
}

// Computes the operands of n tokens that are multiplied with the state, channel by channel.
template <class Mixer>
DS_DEVICE void weigh_operands(const HeadTokens& tokens, int key_dim, int n, const double* sums,
                              const PlainChunk& to) {
  for (int c = simt::thread_index(); c < key_dim; c += kThreads) {
    float decay = 1;
    for (int i = 0; i < n; ++i) {
      const Token t = tokens.at(i);
      if constexpr (Mixer::kDecay == Decay::kPerHead) decay = expf(static_cast<float>(sums[i]));
      if constexpr (Mixer::kDecay == Decay::kPerChannel) decay *= expf(t.g[c]);
      if constexpr (Mixer::kErases) to.erase[i * key_dim + c] = decay * Mixer::erase(t, c);
      to.read[i * key_dim + c] = decay * Mixer::read(t, c);
    }
    to.decay[c] = decay;
    float to_end = 1;
    for (int i = n - 1; i >= 0; --i) {
      const Token t = tokens.at(i);
      if constexpr (Mixer::kDecay == Decay::kPerHead) to_end = decay_between(sums, i, n - 1);
      to.write[i * key_dim + c] = to_end * Mixer::write(t, c);
      if constexpr (Mixer::kDecay == Decay::kPerChannel) to_end *= expf(t.g[c]);
    }
  }
}

// grid [chunks, heads]
template <class Mixer>
DS_KERNEL void DS_BOUNDS(kThreads, 1) plain_chunk_kernel(RuleView view) {
  simt::await_launches_before();
  auto& memory = *static_cast<SquareMemory*>(simt::shared_memory());
  const int head = simt::block_index().y;
  const Chunk chunk = view.call.chunks[simt::block_index().x];
  if (view.call.mixer.step.segments[chunk.segment].write_slot < 0) return;
  const HeadTokens tokens = view.tokens(chunk.first_row, head);
  const auto key_dim = static_cast<int>(view.size().key_dim);
  const PlainChunk to = plain_chunk(view, simt::block_index().x, head);
  make_squares<Mixer>(tokens, key_dim, chunk.num_rows, memory);
  if constexpr (Mixer::kErases) invert_unit_lower(memory.a, memory.inverse);
  for (int at = simt::thread_index(); at < kChunkTokens * kChunkTokens; at += kThreads) {
    const int here = at / kChunkTokens * kSquareStride + at % kChunkTokens;
    if constexpr (Mixer::kErases) to.inverse[at] = memory.inverse[here];
    to.reads[at] = memory.reads[here];
  }
  weigh_operands<Mixer>(tokens, key_dim, chunk.num_rows, memory.sums, to);
}

// ---- From chunk to chunk

constexpr int kColumns = 32;  // of a state that one block carries

struct StateMemory {
  int first_chunk;
  float corrected[kChunkTokens * kColumns];  // value - e^G erase S
  float update[kChunkTokens * kColumns];     // U
  float state[1];                            // [key_dim, kColumns] of S
};

constexpr int state_bytes(int64_t key_dim) {
  return static_cast<int>(sizeof(StateMemory) + key_dim * kColumns * sizeof(float));
}

// A block's columns [first_column, first_column + kColumns) of one head in one segment; of
// neighbouring lanes each has the next column.
template <class Mixer, class Format>
class PlainState {
 public:
  DS_DEVICE PlainState(const RuleView& view, int head, StateMemory& memory)
      : view_(view),
        memory_(memory),
        head_(head),
        key_dim_(static_cast<int>(view.size().key_dim)),
        stride_(static_cast<int>(view.size().key_stride())),
        first_column_(simt::block_index().x * kColumns),
        columns_(static_cast<int>(view.size().value_dim) - first_column_) {}

  using Stored = typename Format::Stored;

  DS_DEVICE void load(const void* state, bool from_zero) {
    each(key_dim_, [&](int c, int v) {
      float x = 0;
      if (!from_zero && v < columns_) {
        x = Format::load(static_cast<const Stored*>(state)[element(c, v)]);
      }
      memory_.state[c * kColumns + v] = x;
    });
    simt::sync_block();
  }
  DS_DEVICE void store(void* state) const {
    auto* to = static_cast<Stored*>(state);
    each(key_dim_, [&](int c, int v) {
      if (v < columns_) to[element(c, v)] = Format::store(memory_.state[c * kColumns + v]);
    });
    // The padding of each state row becomes zero.
    for (int v = simt::thread_index(); v < kColumns && v < columns_; v += kThreads) {
      for (int c = key_dim_; c < stride_; ++c) to[element(c, v)] = 0;
    }
  }

  // Advances the state by n tokens, the first of which is row `row` of the step.
  DS_DEVICE void advance(const PlainChunk& from, int64_t row, int n) {
    const HeadTokens tokens = view_.tokens(row, head_);
    each(n, [&](int i, int v) {
      float x = v < columns_ ? Mixer::value(tokens.at(i), first_column_ + v) : 0.0f;
      if constexpr (Mixer::kErases) x -= seen_by(from.erase + i * key_dim_, v);
      memory_.corrected[i * kColumns + v] = x;
    });
    simt::sync_block();
    each(n, [&](int i, int v) {
      float u = memory_.corrected[i * kColumns + v];
      if constexpr (Mixer::kErases) u = lower_times(from.inverse, memory_.corrected, i, v);
      memory_.update[i * kColumns + v] = u;
    });
    simt::sync_block();
    each(n, [&](int i, int v) {
      if (v >= columns_) return;
      view_.out(row + i, head_)[first_column_ + v] =
          seen_by(from.read + i * key_dim_, v) + lower_times(from.reads, memory_.update, i, v);
    });
    simt::sync_block();
    each(key_dim_, [&](int c, int v) {
      float x = from.decay[c] * memory_.state[c * kColumns + v];
      for (int i = 0; i < n; ++i) {
        x += from.write[i * key_dim_ + c] * memory_.update[i * kColumns + v];
      }
      memory_.state[c * kColumns + v] = rounded(Format{}, x);
    });
    simt::sync_block();
  }

 private:
  template <class Visit>
  DS_DEVICE void each(int rows, const Visit& visit) const {
    for (int at = simt::thread_index(); at < rows * kColumns; at += kThreads) {
      visit(at / kColumns, at % kColumns);
    }
  }
  DS_DEVICE int64_t element(int c, int v) const {
    return static_cast<int64_t>(first_column_ + v) * stride_ + c;
  }
  // S^T x
  DS_DEVICE float seen_by(const float* x, int v) const {
    float sum = 0;
    for (int c = 0; c < key_dim_; ++c) sum += x[c] * memory_.state[c * kColumns + v];
    return sum;
  }
  // Returns element (i, v) of m x. m is lower triangular, so no later row of x is read.
  DS_DEVICE float lower_times(const float* m, const float* x, int i, int v) const {
    float sum = 0;
    for (int j = 0; j <= i; ++j) sum += m[i * kChunkTokens + j] * x[j * kColumns + v];
    return sum;
  }

  const RuleView& view_;
  StateMemory& memory_;
  int head_;
  int key_dim_;
  int stride_;  // of a state row in its slot
  int first_column_;
  int columns_;  // of the head from first_column_ on
};

// grid [blocks of columns, heads, prefill segments]
template <class Mixer, class Format>
DS_KERNEL void DS_BOUNDS(kThreads, 1) plain_state_kernel(RuleView view) {
  simt::await_launches_before();
  auto& memory = *static_cast<StateMemory*>(simt::shared_memory());
  const StepView& step = view.call.mixer.step;
  const int index = step.num_decode + simt::block_index().z;
  const Segment segment = step.segments[index];
  const int head = simt::block_index().y;
  if (segment.write_slot < 0) return write_zeros(view, segment, head, kColumns);
  const int first = first_chunk(view.call, index, &memory.first_chunk);
  PlainState<Mixer, Format> state(view, head, memory);
  state.load(view.state(segment.read_slot, head), segment.position == 0);
  for (int row = 0; row < segment.num_rows; row += kChunkTokens) {
    const int left = segment.num_rows - row;
    state.advance(plain_chunk(view, first + row / kChunkTokens, head), segment.first_row + row,
                  left < kChunkTokens ? left : kChunkTokens);
    if (keeps_behind_chunk(segment, left)) state.store(view.state(segment.keep_slot, head));
  }
  state.store(view.state(segment.write_slot, head));
}

}  // namespace

size_t plain_chunk_bytes(int64_t key_dim) {
  return static_cast<size_t>(PlainChunk::floats(key_dim)) * sizeof(float);
}

void launch_plain_prefill(simt::Stream stream, const RuleView& view) {
  const HeadShape size = view.size();
  DS_CHECK(size.key_dim <= kMaxKeyDim);
  dispatch_mixer(view.kind(), [&](auto mixer) {
    using Mixer = decltype(mixer);
    simt::launch(stream, {view.call.num_chunks, view.heads(), 1}, kThreads, sizeof(SquareMemory),
                 plain_chunk_kernel<Mixer>, view);
    const auto columns = static_cast<int>((size.value_dim + kColumns - 1) / kColumns);
    constexpr bool kDecays = Mixer::kDecay != Decay::kNone;
    visit_state_format_of<kDecays>(view.format(), [&](auto format) {
      simt::launch(stream, {columns, view.heads(), view.call.num_prefill()}, kThreads,
                   state_bytes(size.key_dim), plain_state_kernel<Mixer, decltype(format)>, view);
    });
  });
}

}  // namespace deltaserve::cuda
