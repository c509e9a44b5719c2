// A and Q of a chunk as products of bf16, both operands as high + low parts; decays and the inverse
// in float. A warp has a block of 16 rows.
#include "kernels/cuda/rule/prefill_gram.h"

#include "kernels/cuda/rule/prefill_channels.h"
#include "kernels/cuda/rule/prefill_inverse.h"
#include "kernels/cuda/rule/prefill_tiles.h"

namespace deltaserve::cuda {
namespace {

using simt::MmaD;
using simt::Words4;

constexpr int kThreads = kChunkBlocks * simt::kWarp;

struct GramMemory {
  HeadTokens tokens;          // in shared memory, because its addresses and strides would fill 40
                              // registers
  double sums[kChunkTokens];  // G of a decay per head
  float steps[kChunkTokens];
  alignas(16) float a[kSquareFloats];
  alignas(16) float inverse[kSquareFloats];  // before: the diagonal blocks of Q (channel decay)
  DecayStage decays;                         // only there for a decay per channel
};

template <class Mixer>
constexpr int memory_bytes() {
  if (Mixer::kDecay == Decay::kPerChannel) return sizeof(GramMemory);
  return sizeof(GramMemory) - sizeof(DecayStage);
}

// Two rows of a block, at the lane's channels.
struct RowPair {
  Four top, bottom;
};
DS_DEVICE Words4 rounded(const RowPair& rows) {
  return {{simt::pack_bf16(rows.top.x[0], rows.top.x[1]).bits,
           simt::pack_bf16(rows.top.x[2], rows.top.x[3]).bits,
           simt::pack_bf16(rows.bottom.x[0], rows.bottom.x[1]).bits,
           simt::pack_bf16(rows.bottom.x[2], rows.bottom.x[3]).bits}};
}
struct SplitBlock {
  Words4 high, low;
};
DS_DEVICE SplitBlock split_block(const RowPair& rows) {
  SplitBlock block;
  DS_UNROLL
  for (int i = 0; i < 4; ++i) {
    const float* x = (i < 2 ? rows.top : rows.bottom).x + i % 2 * 2;
    const SplitPair pair = split(x[0], x[1]);
    block.high.word[i] = pair.high.bits;
    block.low.word[i] = pair.low.bits;
  }
  return block;
}

// sums += rows columns^T, but for the product of the low parts.
DS_DEVICE void add_product(const Words4& rows, const Words4& columns, MmaD (&sums)[2]) {
  simt::multiply_add(as_rows(rows), left_columns(columns), sums[0]);
  simt::multiply_add(as_rows(rows), right_columns(columns), sums[1]);
}
DS_DEVICE void add_product(const SplitBlock& rows, const SplitBlock& columns, MmaD (&sums)[2]) {
  add_product(rows.high, columns.high, sums);
  add_product(rows.low, columns.high, sums);
  add_product(rows.high, columns.low, sums);
}

// One warp's rows of A and Q of one chunk and head, and its operands of the second kernel.
template <class Mixer>
class GramWarp {
 public:
  static constexpr bool kChannelDecay = Mixer::kDecay == Decay::kPerChannel;

  DS_DEVICE GramWarp(const RuleView& view, const HeadTokens& tokens, int n, GramMemory& memory)
      : view_(view),
        tokens_(tokens),
        n_(n),
        memory_(memory),
        block_(simt::warp_index()),
        group_(simt::lane_index() / 4),
        pair_(simt::lane_index() % 4) {
    DS_UNROLL
    for (int j = 0; j < kChunkBlocks; ++j) {
      a_[j][0] = a_[j][1] = reads_[j][0] = reads_[j][1] = {{0, 0, 0, 0}};
    }
  }

  // Adds the 16 channels of block `k`, the `part`-th of those that memory.decays holds.
  DS_DEVICE void add_channels(int k, int part) {
    const int channel = k * kBlock + 4 * pair_;
    RowPair erase, read, row;
    DS_UNROLL
    for (int half = 0; half < 2; ++half) {
      const int i = block_ * kBlock + 8 * half + group_;
      const TokenChannels t(tokens_, i, n_, channel);
      Four factor = splat(i < n_ ? 1.0f : 0.0f);
      if constexpr (kChannelDecay) {
        factor = memory_.decays.at(memory_.decays.from_start, i, part, pair_);
      }
      Four& e = half == 0 ? erase.top : erase.bottom;
      Four& r = half == 0 ? read.top : read.bottom;
      Four& x = half == 0 ? row.top : row.bottom;
      DS_UNROLL
      for (int c = 0; c < 4; ++c) {
        r.x[c] = i < n_ ? factor.x[c] * Mixer::read(t.token(), c) : 0.0f;
        e.x[c] = Mixer::kErases && i < n_ ? factor.x[c] * Mixer::erase(t.token(), c) : 0.0f;
        x.x[c] = e.x[c];
        if constexpr (Mixer::kOwnChunkOperands) {
          x.x[c] = i < n_ ? Mixer::chunk_row(t.token(), c) : 0.0f;
        }
      }
    }
    multiply(row, read, channel, part);
    write_rows(k, part, erase, read);
    write_columns(k, part);
  }

  // Leaves A in memory.a and Q in the scratch.
  DS_DEVICE void finish() {
    DS_UNROLL
    for (int j = 0; j < kChunkBlocks; ++j) {
      if (j > block_) continue;
      if constexpr (kChannelDecay) {
        if (Mixer::kErases && j < block_) store_square(j, a_[j]);
        take_diagonal(j, memory_.inverse, reads_[j]);
      } else {
        weigh(j, 1, reads_[j]);
        weigh(j, 0, a_[j]);
        if constexpr (Mixer::kErases) store_square(j, a_[j]);
      }
      const MmaD& left = reads_[j][0];
      const MmaD& right = reads_[j][1];
      store_split(layout().reads() + lower_block(block_, j) * kBlockBytes,
                  kLowerBlocks * kBlockBytes,
                  {{{left.d[0], left.d[1], right.d[0], right.d[1]}},
                   {{left.d[2], left.d[3], right.d[2], right.d[3]}}});
    }
  }

  DS_DEVICE void write_inverse() const {
    for (int j = 0; j <= block_; ++j) {
      RowPair rows;
      DS_UNROLL
      for (int i = 0; i < 4; ++i) {
        const int column = j * kBlock + 2 * pair_ + i / 2 * 8 + i % 2;
        const float* at = memory_.inverse + (block_ * kBlock + group_) * kSquareStride + column;
        rows.top.x[i] = at[0];
        rows.bottom.x[i] = at[8 * kSquareStride];
      }
      store_split(layout().inverse() + lower_block(block_, j) * kBlockBytes,
                  kLowerBlocks * kBlockBytes, rows);
    }
  }

 private:
  // These are computed from the view each time, so that they need no registers of their own.
  DS_DEVICE TensorChunk layout() const { return {static_cast<int>(view_.size().key_dim)}; }
  DS_DEVICE unsigned char* to() const {
    return tensor_chunk(view_, simt::block_index().x, simt::block_index().y);
  }

  DS_DEVICE void store(int offset, const Words4& block) const {
    *reinterpret_cast<Words4*>(to() + offset + simt::lane_index() * 16) = block;
  }

  // Stores the high parts, and the low parts `to_low` bytes after them.
  DS_DEVICE void store_split(int offset, int to_low, const RowPair& rows) const {
    const SplitBlock block = split_block(rows);
    store(offset, block.high);
    store(offset + to_low, block.low);
  }

  // Adds the products with the columns of the warp's own and of all earlier tokens.
  DS_DEVICE void multiply(const RowPair& row, const RowPair& read, int channel, int part) {
    const SplitBlock rows = split_block(row);
    const SplitBlock reads = split_block(read);
    Four between = splat(1.0f);  // decay of the blocks between column and row
    DS_UNROLL
    for (int j = kChunkBlocks - 1; j >= 0; --j) {
      if (j > block_ || (kChannelDecay && j == block_)) continue;
      RowPair write, column;
      DS_UNROLL
      for (int half = 0; half < 2; ++half) {
        const int i = j * kBlock + 8 * half + group_;
        const TokenChannels t(tokens_, i, n_, channel);
        Four factor = between;
        if constexpr (kChannelDecay) {
          factor *= memory_.decays.at(memory_.decays.to_end, i, part, pair_);
        }
        Four& w = half == 0 ? write.top : write.bottom;
        Four& x = half == 0 ? column.top : column.bottom;
        DS_UNROLL
        for (int c = 0; c < 4; ++c) {
          w.x[c] = i < n_ ? factor.x[c] * Mixer::write(t.token(), c) : 0.0f;
          x.x[c] = w.x[c];
          if constexpr (Mixer::kOwnChunkOperands) {
            x.x[c] = i < n_ ? Mixer::chunk_col(t.token(), c) : 0.0f;
          }
        }
      }
      const SplitBlock writes = split_block(write);
      add_product(reads, writes, reads_[j]);
      if constexpr (Mixer::kOwnChunkOperands) {
        add_product(rows, split_block(column), a_[j]);
      } else if constexpr (Mixer::kErases) {
        add_product(rows, writes, a_[j]);
      }
      if constexpr (kChannelDecay) between *= memory_.decays.of_block(j, part, pair_);
    }
  }

  // Writes -e^G erase and e^G read. A decay per channel is in them from the block's start on.
  DS_DEVICE void write_rows(int k, int part, RowPair erase, RowPair read) const {
    Four top = splat(1.0f);
    Four bottom = top;
    if constexpr (Mixer::kDecay == Decay::kPerHead) {
      top = splat(expf(static_cast<float>(memory_.sums[block_ * kBlock + group_])));
      bottom = splat(expf(static_cast<float>(memory_.sums[block_ * kBlock + group_ + 8])));
    }
    if constexpr (kChannelDecay) {
      for (int b = 0; b < block_; ++b) top *= memory_.decays.of_block(b, part, pair_);
      bottom = top;
    }
    const int at = (k % 4 * kChunkBlocks + block_) * kBlockBytes + k / 4 * TensorChunk::kRowBytes;
    read.top *= top;
    read.bottom *= bottom;
    store(layout().read() + at, rounded(read));
    if constexpr (Mixer::kErases) {
      DS_UNROLL
      for (int c = 0; c < 4; ++c) {
        erase.top.x[c] *= -top.x[c];
        erase.bottom.x[c] *= -bottom.x[c];
      }
      store(layout().erase() + at, rounded(erase));
    }
  }

  // e^{G_n - G} write of the warp's tokens, rows are channels; and e^{G_n}.
  DS_DEVICE void write_columns(int k, int part) const {
    RowPair rows;
    DS_UNROLL
    for (int half = 0; half < 2; ++half) {
      const int in_block = channel_at(group_ + 8 * half);
      float behind = 1;  // decay of later blocks
      if constexpr (kChannelDecay) {
        for (int b = block_ + 1; b < kChunkBlocks; ++b) {
          behind *= memory_.decays.block[b][part * kBlock + in_block];
        }
      }
      DS_UNROLL
      for (int c = 0; c < 4; ++c) {
        const int i = block_ * kBlock + 2 * pair_ + c / 2 * 8 + c % 2;
        float x = i < n_ ? Mixer::write(tokens_.at(i), k * kBlock + in_block) : 0.0f;
        if constexpr (Mixer::kDecay == Decay::kPerHead) {
          x *= decay_between(memory_.sums, i, kChunkTokens - 1);
        }
        if constexpr (kChannelDecay) {
          x *= behind * memory_.decays.to_end[i][part * kBlock + in_block];
        }
        (half == 0 ? rows.top : rows.bottom).x[c] = x;
      }
    }
    constexpr int kBlocks = TensorChunk::kWriteChannels / kBlock;
    const int piece = layout().write() + k / kBlocks * TensorChunk::kWriteBytes;
    store_split(piece + (block_ * kBlocks + k % kBlocks) * kBlockBytes,
                TensorChunk::kWriteDecay / 2, rows);
    const int lane = simt::lane_index();
    if (block_ > 0 || lane >= kBlock) return;
    float decay = 1;
    if constexpr (Mixer::kDecay == Decay::kPerHead) {
      decay = expf(static_cast<float>(memory_.sums[kChunkTokens - 1]));
    }
    if constexpr (kChannelDecay) {
      for (int b = 0; b < kChunkBlocks; ++b) decay *= memory_.decays.block[b][part * kBlock + lane];
    }
    reinterpret_cast<float*>(to() + piece + TensorChunk::kWriteDecay)[k % kBlocks * kBlock + lane] =
        decay;
  }

  // Multiplies the block of column block `j` with e^{G_i - G_j}; zero from j = i + inclusive on.
  DS_DEVICE void weigh(int j, int inclusive, MmaD (&sums)[2]) const {
    DS_UNROLL
    for (int at = 0; at < 8; ++at) {
      const int row = block_ * kBlock + group_ + at % 4 / 2 * 8;
      const int column = j * kBlock + at / 4 * 8 + 2 * pair_ + at % 2;
      float& x = sums[at / 4].d[at % 4];
      if (column >= row + inclusive) {
        x = 0;
      } else if constexpr (Mixer::kDecay == Decay::kPerHead) {
        x *= decay_between(memory_.sums, column, row);
      }
    }
  }
  DS_DEVICE void store_square(int j, const MmaD (&sums)[2]) const {
    DS_UNROLL
    for (int at = 0; at < 8; ++at) {
      const int row = block_ * kBlock + group_ + at % 4 / 2 * 8;
      const int column = j * kBlock + at / 4 * 8 + 2 * pair_ + at % 2;
      memory_.a[row * kSquareStride + column] = sums[at / 4].d[at % 4];
    }
  }
  // Takes the sums of column block `j` from `square`, if it is the warp's own. It does not branch:
  // after a branch some compilers no longer know which sums these are, and keep them in memory.
  DS_DEVICE void take_diagonal(int j, const float* square, MmaD (&sums)[2]) const {
    DS_UNROLL
    for (int at = 0; at < 8; ++at) {
      const int row = block_ * kBlock + group_ + at % 4 / 2 * 8;
      const int column = j * kBlock + at / 4 * 8 + 2 * pair_ + at % 2;
      float& x = sums[at / 4].d[at % 4];
      x = j == block_ ? square[row * kSquareStride + column] : x;
    }
  }

  const RuleView& view_;
  const HeadTokens& tokens_;
  int n_;
  GramMemory& memory_;
  int block_;  // of rows
  int group_;  // of the lane, as in simt.h
  int pair_;
  MmaD a_[kChunkBlocks][2];
  MmaD reads_[kChunkBlocks][2];
};

// grid [chunks, heads]
template <class Mixer>
DS_KERNEL void DS_BOUNDS(kThreads, 1) tensor_gram_kernel(RuleView view) {
  simt::await_launches_before();
  auto& memory = *static_cast<GramMemory*>(simt::shared_memory());
  const int head = simt::block_index().y;
  const Chunk chunk = view.call.chunks[simt::block_index().x];
  if (view.call.mixer.step.segments[chunk.segment].write_slot < 0) return;
  if (simt::thread_index() == 0) memory.tokens = view.tokens(chunk.first_row, head);
  simt::sync_block();
  const HeadTokens& tokens = memory.tokens;
  const int n = chunk.num_rows;
  for (int at = simt::thread_index(); at < kSquareFloats; at += kThreads) {
    memory.a[at] = memory.inverse[at] = 0;
  }
  sum_log_decays<Mixer>(tokens, n, memory.steps, memory.sums);
  GramWarp<Mixer> warp(view, tokens, n, memory);
  const auto stages = static_cast<int>(view.size().key_dim / kStageChannels);
  for (int stage = 0; stage < stages; ++stage) {
    if constexpr (Mixer::kDecay == Decay::kPerChannel) {
      memory.decays.fill(tokens, n, stage);
      simt::sync_block();
      add_diagonal_blocks<Mixer>(tokens, n, stage, memory.decays, memory.a, memory.inverse);
    }
    for (int part = 0; part < kStageChannels / kBlock; ++part) {
      warp.add_channels(stage * (kStageChannels / kBlock) + part, part);
    }
    if constexpr (Mixer::kDecay == Decay::kPerChannel) simt::sync_block();
  }
  warp.finish();
  if constexpr (Mixer::kErases) {
    simt::sync_block();
    invert_unit_lower(memory.a, memory.inverse);
    warp.write_inverse();
  }
}

}  // namespace

void launch_tensor_gram(simt::Stream stream, const RuleView& view) {
  dispatch_mixer(view.kind(), [&](auto mixer) {
    using Mixer = decltype(mixer);
    simt::launch(stream, {view.call.num_chunks, view.heads(), 1}, kThreads, memory_bytes<Mixer>(),
                 tensor_gram_kernel<Mixer>, view);
  });
}

}  // namespace deltaserve::cuda
