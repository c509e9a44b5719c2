// A block makes the operands of one chunk of one head. Products of q and k are exact in bf16 and
// summed in float; operands that are not in bf16 already (Q, the inverse) are multiplied as high +
// low parts, because with keys that repeat the inverse's terms cancel. Only M, W~ and the erase
// vector are rounded, once.
#include "kernels/cuda/rule/prefill_operands.h"

#include <bit>

#include "kernels/cuda/rule/prefill_images.h"
#include "kernels/cuda/rule/prefill_tiles.h"

namespace deltaserve::cuda {
namespace {

using simt::MmaA;
using simt::MmaB;
using simt::MmaD;
using simt::Words4;

constexpr int kThreads = kChunkBlocks * simt::kWarp;

template <int kKeyDim>
struct OperandMemory {
  static constexpr int kKeyBytes = kKeyDim / Image::kSide * Image::kBytes;
  static constexpr int kSquares = 4 * Image::kBytes;

  // q; then four squares: T as high and low parts, e^{G_n - G} T likewise.
  alignas(16) unsigned char q[kKeyBytes > kSquares ? kKeyBytes : kSquares];
  alignas(16) unsigned char k[kKeyBytes];  // then W~
  // A; in its place, block by block, T; then M, as an image.
  alignas(16) float square[kSquareFloats];
  double sums[kChunkTokens];  // G
  float beta[kChunkTokens];
  float lambda[kChunkTokens];
  float to_end[kChunkTokens];  // e^{G_n - G}
};
static_assert(kSquareFloats * sizeof(float) >= Image::kBytes);

// Loads a float block of the square as the lane's left operand.
DS_DEVICE SplitA square_rows(const float* square, int row, int column) {
  const int group = simt::lane_index() / 4;
  const int pair = simt::lane_index() % 4;
  const float* at = square + (row * kBlock + group) * kSquareStride + column * kBlock + 2 * pair;
  const float* below = at + 8 * kSquareStride;
  const MmaD sums[2] = {{{at[0], at[1], below[0], below[1]}}, {{at[8], at[9], below[8], below[9]}}};
  return split_sums(sums[0], sums[1]);
}
// Holds a right operand whose inner index is the row: the transposed block's words.
struct SplitB {
  Words4 high, low;
};
DS_DEVICE SplitB square_columns(const float* square, int row, int column) {
  const int group = simt::lane_index() / 4;
  const int pair = simt::lane_index() % 4;
  SplitB block;
  DS_UNROLL
  for (int i = 0; i < 4; ++i) {
    const float* at = square + (row * kBlock + i % 2 * 8 + 2 * pair) * kSquareStride +
                      column * kBlock + i / 2 * 8 + group;
    const SplitPair x = split(at[0], at[kSquareStride]);
    block.high.word[i] = x.high.bits;
    block.low.word[i] = x.low.bits;
  }
  return block;
}

// Stores sums in the square, times `sign`.
DS_DEVICE void store_square(float* square, int row, int column, float sign, const MmaD (&sums)[2]) {
  const int group = simt::lane_index() / 4;
  const int pair = simt::lane_index() % 4;
  DS_UNROLL
  for (int at = 0; at < 8; ++at) {
    const int r = row * kBlock + group + at % 4 / 2 * 8;
    const int c = column * kBlock + at / 4 * 8 + 2 * pair + at % 2;
    square[r * kSquareStride + c] = sign * sums[at / 4].d[at % 4];
  }
}
// Stores sums, rounded, in an image.
DS_DEVICE void store_image(unsigned char* image, int row, int number, const MmaD (&sums)[2]) {
  const int group = simt::lane_index() / 4;
  const int pair = simt::lane_index() % 4;
  DS_UNROLL
  for (int at = 0; at < 4; ++at) {
    const float* d = sums[at / 2].d + at % 2 * 2;
    const int place =
        Image::place(row * kBlock + group + at % 2 * 8, number * kBlock + at / 2 * 8 + 2 * pair);
    *reinterpret_cast<uint32_t*>(image + place) = simt::pack_bf16(d[0], d[1]).bits;
  }
}

// G of the chunk's n tokens, inclusive sums in double; two tokens a lane, of one warp.
template <class Mixer>
DS_DEVICE void scan_log_decays(const HeadTokens& tokens, int n, double* sums) {
  const int lane = simt::lane_index();
  double own[2] = {0, 0};
  if constexpr (Mixer::kDecay == Decay::kPerHead) {
    for (int i = 0; i < 2; ++i) {
      if (2 * lane + i < n) own[i] = static_cast<double>(*tokens.g.at(2 * lane + i));
    }
  }
  double sum = own[0] + own[1];
  for (int distance = 1; distance < simt::kWarp; distance *= 2) {
    const double before = simt::from_lane(sum, lane < distance ? lane : lane - distance);
    if (lane >= distance) sum += before;
  }
  // The first of the two is summed by itself, not as a difference.
  const double before = simt::from_lane(sum, lane == 0 ? 0 : lane - 1);
  const double first = lane == 0 ? own[0] : before + own[0];
  sums[2 * lane] = first;
  sums[2 * lane + 1] = lane == 0 ? sum : first + own[1];
}

// T = (I + A)^-1 in the place of A. Diagonal blocks by forward substitution, a thread a column;
// then two merges, T_21 = -(T_22 A_21) T_11, of blocks and of pairs of blocks: the sums of the
// first product are laid out as the left operand of the second. Powers of A would reach 1e9 and
// cancel. The caller has passed a barrier, and this ends with one.
DS_DEVICE void invert_in_place(float* square) {
  const int thread = simt::thread_index();
  const int block = thread / kBlock % kChunkBlocks;
  const int column = thread % kBlock;
  float* diagonal = square + block * kBlock * (kSquareStride + 1);
  float x[kBlock];
  if (thread < kChunkTokens) {
    DS_UNROLL
    for (int i = 0; i < kBlock; ++i) {
      float sum = 0;
      DS_UNROLL
      for (int m = 0; m < i; ++m) sum += diagonal[i * kSquareStride + m] * x[m];
      x[i] = i < column ? 0.0f : i == column ? 1.0f : -sum;
    }
  }
  simt::sync_block();
  if (thread < kChunkTokens) {
    DS_UNROLL
    for (int i = 0; i < kBlock; ++i) diagonal[i * kSquareStride + column] = x[i];
  }
  simt::sync_block();
  const int warp = simt::warp_index();
  MmaD result[2][2] = {};
  if (warp < 2) {
    const int r = 2 * warp + 1;
    MmaD left[2] = {};
    const SplitB a = square_columns(square, r, r - 1);
    add_product(square_rows(square, r, r), a.high, a.low, left);
    const SplitB first = square_columns(square, r - 1, r - 1);
    add_product(split_sums(left[0], left[1]), first.high, first.low, result[0]);
  }
  simt::sync_block();
  if (warp < 2) store_square(square, 2 * warp + 1, 2 * warp, -1, result[0]);
  simt::sync_block();
  if (warp >= 2) {
    const int r = warp;
    MmaD left[2][2] = {};
    DS_UNROLL
    for (int m = 2; m < 4; ++m) {
      if (m > r) continue;
      const SplitA rows = square_rows(square, r, m);
      DS_UNROLL
      for (int c = 0; c < 2; ++c) {
        const SplitB a = square_columns(square, m, c);
        add_product(rows, a.high, a.low, left[c]);
      }
    }
    DS_UNROLL
    for (int c = 0; c < 2; ++c) result[c][0] = result[c][1] = {{0, 0, 0, 0}};
    DS_UNROLL
    for (int m = 0; m < 2; ++m) {
      const SplitA rows = split_sums(left[m][0], left[m][1]);
      DS_UNROLL
      for (int c = 0; c <= m; ++c) {
        const SplitB first = square_columns(square, m, c);
        add_product(rows, first.high, first.low, result[c]);
      }
    }
  }
  simt::sync_block();
  if (warp >= 2) {
    store_square(square, warp, 0, -1, result[0]);
    store_square(square, warp, 1, -1, result[1]);
  }
  simt::sync_block();
}

template <class Mixer, int kKeyDim>
class OperandWarp {
 public:
  using Memory = OperandMemory<kKeyDim>;

  DS_DEVICE explicit OperandWarp(Memory& memory) : memory_(memory), block_(simt::warp_index()) {}

  // Rows of K K^T and Q K^T in blocks up to the diagonal; leaves A in the square.
  DS_DEVICE void multiply(float scale) {
    MmaD keys[kChunkBlocks][2] = {};
    DS_UNROLL
    for (int j = 0; j < kChunkBlocks; ++j) reads_[j][0] = reads_[j][1] = {{0, 0, 0, 0}};
    DS_UNROLL
    for (int k = 0; k < kKeyDim / kBlock; ++k) {
      const int image = k / Image::kBlocks * Image::kBytes;
      const int number = k % Image::kBlocks;
      const MmaA key = as_rows(lane_.block(memory_.k + image, block_, number));
      const MmaA query = as_rows(lane_.block(memory_.q + image, block_, number));
      DS_UNROLL
      for (int j = 0; j < kChunkBlocks; ++j) {
        if (j > block_) continue;
        const Words4 columns = lane_.block(memory_.k + image, j, number);
        add_product(key, columns, keys[j]);
        add_product(query, columns, reads_[j]);
      }
    }
    const int group = simt::lane_index() / 4;
    const int pair = simt::lane_index() % 4;
    DS_UNROLL
    for (int j = 0; j < kChunkBlocks; ++j) {
      if (j > block_) continue;
      DS_UNROLL
      for (int at = 0; at < 8; ++at) {
        const int row = block_ * kBlock + group + at % 4 / 2 * 8;
        const int column = j * kBlock + at / 4 * 8 + 2 * pair + at % 2;
        float& a = keys[j][at / 4].d[at % 4];
        float& q = reads_[j][at / 4].d[at % 4];
        float decay = 1;
        if constexpr (Mixer::kDecay == Decay::kPerHead) {
          // Right of the diagonal the exponent would be positive, and the entries are not used.
          decay = column > row ? 0.0f : decay_between(memory_.sums, column, row);
        }
        if constexpr (kOwnErase) a += memory_.lambda[row] * q;
        a = column < row ? memory_.beta[row] * decay * a : 0.0f;
        q = column <= row ? scale * decay * q : 0.0f;
      }
      store_square(memory_.square, block_, j, 1, keys[j]);
    }
  }

  // Writes the inverse and e^{G_n - G} times the inverse, both split, as images in the place of q.
  DS_DEVICE void split_inverse() const {
    for (int at = simt::thread_index(); at < kChunkTokens * kChunkTokens / 2; at += kThreads) {
      const int row = at / (kChunkTokens / 2);
      const int column = at % (kChunkTokens / 2) * 2;
      if (column / kBlock > row / kBlock) continue;
      const float* from = memory_.square + row * kSquareStride + column;
      const float factor = memory_.to_end[row];
      const SplitPair plain = split(from[0], from[1]);
      const SplitPair decayed = split(factor * from[0], factor * from[1]);
      unsigned char* to = memory_.q + Image::place(row, column);
      *reinterpret_cast<uint32_t*>(to) = plain.high.bits;
      *reinterpret_cast<uint32_t*>(to + Image::kBytes) = plain.low.bits;
      *reinterpret_cast<uint32_t*>(to + 2 * Image::kBytes) = decayed.high.bits;
      *reinterpret_cast<uint32_t*>(to + 3 * Image::kBytes) = decayed.low.bits;
    }
  }

  // Writes the warp's rows of M = Q T in the place of the square.
  DS_DEVICE void multiply_reads() const {
    MmaD sums[kChunkBlocks][2] = {};
    DS_UNROLL
    for (int m = 0; m < kChunkBlocks; ++m) {
      if (m > block_) continue;
      const SplitA rows = split_sums(reads_[m][0], reads_[m][1]);
      DS_UNROLL
      for (int j = 0; j <= m; ++j) {
        add_product(rows, lane_.transposed_block(memory_.q, m, j),
                    lane_.transposed_block(memory_.q + Image::kBytes, m, j), sums[j]);
      }
    }
    DS_UNROLL
    for (int j = 0; j < kChunkBlocks; ++j) {
      store_image(reads_image(), block_, j, sums[j]);
    }
  }

  // W~^T = k^T (e^{G_n - G} T), rows are channels, in the place of k. All warps.
  DS_DEVICE void multiply_write() const {
    MmaA keys[kBlocks][kChunkBlocks];
    DS_UNROLL
    for (int b = 0; b < kBlocks; ++b) {
      const int block = block_ * kBlocks + b;
      DS_UNROLL
      for (int j = 0; j < kChunkBlocks; ++j) {
        keys[b][j] = as_rows(lane_.transposed_block(
            memory_.k + block / Image::kBlocks * Image::kBytes, j, block % Image::kBlocks));
      }
    }
    simt::sync_block();
    constexpr int kTogether = kBlocks < 2 ? kBlocks : 2;
    DS_UNROLL
    for (int first = 0; first < kBlocks; first += kTogether) {
      MmaD sums[kTogether][kChunkBlocks][2] = {};
      DS_UNROLL
      for (int j = 0; j < kChunkBlocks; ++j) {
        DS_UNROLL
        for (int i = 0; i <= j; ++i) {
          const Words4 high = lane_.transposed_block(memory_.q + 2 * Image::kBytes, j, i);
          const Words4 low = lane_.transposed_block(memory_.q + 3 * Image::kBytes, j, i);
          DS_UNROLL
          for (int b = 0; b < kTogether; ++b) {
            add_product(keys[first + b][j], high, sums[b][i]);
            add_product(keys[first + b][j], low, sums[b][i]);
          }
        }
      }
      DS_UNROLL
      for (int b = 0; b < kTogether; ++b) {
        const int block = block_ * kBlocks + first + b;
        DS_UNROLL
        for (int i = 0; i < kChunkBlocks; ++i) {
          store_image(memory_.k + block / Image::kBlocks * Image::kBytes, block % Image::kBlocks, i,
                      sums[b][i]);
        }
      }
    }
  }

  DS_DEVICE unsigned char* reads_image() const {
    return reinterpret_cast<unsigned char*>(memory_.square);
  }

  static constexpr bool kOwnErase = Mixer::kErasesQuery;

 private:
  static constexpr int kBlocks = kKeyDim / kBlock / kChunkBlocks;  // of channels, a warp

  Memory& memory_;
  int block_;  // of rows
  ImageLane lane_;
  MmaD reads_[kChunkBlocks][2];  // the warp's rows of Q
};

DS_DEVICE void copy_out(unsigned char* to, const unsigned char* from, int bytes) {
  for (int at = simt::thread_index() * 16; at < bytes; at += kThreads * 16) {
    *reinterpret_cast<Words4*>(to + at) = *reinterpret_cast<const Words4*>(from + at);
  }
}

// x = k + lambda q, rounded, from images to one.
DS_DEVICE void write_erase(const unsigned char* q, const unsigned char* k, const float* lambda,
                           int bytes, unsigned char* to) {
  for (int at = simt::thread_index() * 16; at < bytes; at += kThreads * 16) {
    const float l = lambda[at % Image::kBytes / Image::kRowBytes];
    const Words4 a = *reinterpret_cast<const Words4*>(q + at);
    const Words4 b = *reinterpret_cast<const Words4*>(k + at);
    Words4 x;
    DS_UNROLL
    for (int i = 0; i < 4; ++i) {
      const float low =
          std::bit_cast<float>(b.word[i] << 16) + l * std::bit_cast<float>(a.word[i] << 16);
      const float high = std::bit_cast<float>(b.word[i] & 0xffff0000u) +
                         l * std::bit_cast<float>(a.word[i] & 0xffff0000u);
      x.word[i] = simt::pack_bf16(low, high).bits;
    }
    *reinterpret_cast<Words4*>(to + at) = x;
  }
}

// grid [chunks, heads]
template <class Mixer, int kKeyDim>
DS_KERNEL void DS_BOUNDS(kThreads, kKeyDim > 128 ? 2 : 3) prefill_operands_kernel(RuleView view) {
  simt::await_launches_before();
  auto& memory = *static_cast<OperandMemory<kKeyDim>*>(simt::shared_memory());
  const int head = simt::block_index().y;
  const Chunk chunk = view.call.chunks[simt::block_index().x];
  if (view.call.mixer.step.segments[chunk.segment].write_slot < 0) return;
  using Warp = OperandWarp<Mixer, kKeyDim>;
  constexpr int kKeyBytes = OperandMemory<kKeyDim>::kKeyBytes;
  const PrefillImages images(view.call);
  const unsigned char* q = images.features(simt::block_index().x, images.q_channel(head));
  const unsigned char* k = images.features(simt::block_index().x, images.k_channel(head));
  const int thread = simt::thread_index();
  for (int at = thread * 16; at < kKeyBytes; at += kThreads * 16) {
    simt::copy_async(memory.k + at, k + at);
    simt::copy_async(memory.q + at, q + at);
  }
  simt::commit_copies();
  const HeadTokens tokens = view.tokens(chunk.first_row, head);
  const int n = chunk.num_rows;
  if (simt::warp_index() == 0) scan_log_decays<Mixer>(tokens, n, memory.sums);
  if (thread >= kThreads - kChunkTokens) {
    const int i = thread - (kThreads - kChunkTokens);
    const bool used = i < n;
    memory.beta[i] = !used ? 0.0f : tokens.beta.data == nullptr ? 1.0f : *tokens.beta.at(i);
    memory.lambda[i] = !used || !Warp::kOwnErase ? 0.0f : *tokens.lambda.at(i);
  }
  simt::wait_copies<0>();
  simt::sync_block();
  const ChunkOperands layout = images.layout();
  unsigned char* to = images.operands(simt::block_index().x, head);
  if (thread < kChunkTokens) {
    auto& factors = *reinterpret_cast<ChunkFactors*>(to + layout.factors());
    const float decay = expf(static_cast<float>(memory.sums[thread]));
    memory.to_end[thread] = decay_between(memory.sums, thread, kChunkTokens - 1);
    factors.erase[thread] = -(memory.beta[thread] * decay);
    factors.value[thread] = memory.beta[thread];
    factors.read[thread] = tokens.scale * decay;
    if (thread == kChunkTokens - 1) factors.decay = decay;
  }
  if constexpr (Warp::kOwnErase) {
    write_erase(memory.q, memory.k, memory.lambda, kKeyBytes, to + layout.erase());
  }
  Warp warp(memory);
  warp.multiply(tokens.scale);
  simt::sync_block();
  invert_in_place(memory.square);
  warp.split_inverse();
  simt::sync_block();
  warp.multiply_reads();
  warp.multiply_write();
  simt::sync_block();
  copy_out(to + layout.reads(), warp.reads_image(), Image::kBytes);
  copy_out(to + layout.write(), memory.k, kKeyBytes);
}

template <class Mixer, int kKeyDim>
void launch_kernel(simt::Stream stream, const RuleView& view) {
  simt::launch(stream, {view.call.num_chunks, view.heads(), 1}, kThreads,
               sizeof(OperandMemory<kKeyDim>), prefill_operands_kernel<Mixer, kKeyDim>, view);
}

template <class Mixer>
void launch_mixer(simt::Stream stream, const RuleView& view) {
  switch (view.size().key_dim) {
    case 64: return launch_kernel<Mixer, 64>(stream, view);
    case 128: return launch_kernel<Mixer, 128>(stream, view);
    case 256: return launch_kernel<Mixer, 256>(stream, view);
  }
}

}  // namespace

void launch_prefill_operands(simt::Stream stream, const RuleView& view) {
  dispatch_mixer(view.kind(), [&](auto mixer) {
    if constexpr (is_delta_of_keys<decltype(mixer)>()) launch_mixer<decltype(mixer)>(stream, view);
  });
}

}  // namespace deltaserve::cuda
