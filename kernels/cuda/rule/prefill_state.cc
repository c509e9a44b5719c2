// A warp holds 16 rows of S^T (columns of S) as sums of its products,
//   P^T = V^T - S^T (e^G erase)^T,  U^T = P^T T^T,  O^T = S^T (e^G read)^T + U^T Q^T,
//   S^T = S^T diag(e^{G_n}) + U^T (e^{G_n - G} write),
// because sums of one product are laid out over the lanes as the left operand of the next. Right
// operands come through a ring of pieces in shared memory, which all warps of the block share.
//
// U, P, T, Q and write are taken as high + low parts: errors of U would come back through the
// state, and the terms of U and O cancel where keys repeat. Left of the diagonal a row is combined
// only with earlier rows. In the block on the diagonal later rows are multiplied by zero, which
// changes nothing unless they are not finite.
#include "kernels/cuda/rule/prefill_state.h"

#include <bit>

#include "kernels/cuda/rule/prefill_tiles.h"
#include "kernels/cuda/rule/state_tile.h"

namespace deltaserve::cuda {
namespace {

using simt::Bf16Pair;
using simt::MmaA;
using simt::MmaB;
using simt::MmaD;
using simt::Words4;

constexpr int kThreads = kTensorColumns / kBlock * simt::kWarp;
constexpr int kStages = 4;                        // pieces under way and in use
constexpr int kValueStride = kTensorColumns + 4;  // lanes of a warp use all banks
constexpr int kChunkTiles = kChunkTokens / 8;     // of 8 tokens

struct StateMemory {
  alignas(16) unsigned char pieces[kStages][TensorChunk::kLargestPiece];
  alignas(16) float values[kChunkTokens * kValueStride];
  int first_chunk;
  Segment segment;  // in shared memory, because the states leave no registers for it
};

// Returns the head that the block works on.
DS_DEVICE int block_head() {
  return simt::block_index().y;
}

// Returns how many blocks a multiprocessor runs at once, which the registers limit.
constexpr int blocks_per_processor(int key_dim) {
  return key_dim > 64 ? 2 : 3;
}

// The pieces of a segment's chunks, one after the other.
template <int kKeyDim, bool kErases>
class Ring {
 public:
  DS_DEVICE Ring(const RuleView& view, StateMemory& memory) : view_(view), memory_(memory) {
    for (int stage = 0; stage < kStages - 1; ++stage) issue(stage);
  }

  // Replaces v by the values that the mixer writes, for a chunk of n tokens, with zeros after the
  // last one. The values arrive with the first piece. A thread sees its own copies before it
  // synchronises with others.
  template <class Values>
  DS_DEVICE void make_values(const HeadTokens& tokens, int n) {
    simt::wait_copies<kStages - 2>();
    for (int at = simt::thread_index(); at < kChunkTokens * kRowCopies; at += kThreads) {
      const int i = at / kRowCopies;
      const int column = at % kRowCopies * 4;
      float* to = memory_.values + i * kValueStride + column;
      if (i >= n) {
        for (int c = 0; c < 4; ++c) to[c] = 0;
        continue;
      }
      Token token = tokens.at(i);
      token.v = to;
      if (token.write_gate != nullptr) {
        token.write_gate += simt::block_index().x * kTensorColumns + column;
      }
      DS_UNROLL
      for (int c = 0; c < 4; ++c) to[c] = Values::value(token, c);
    }
  }
  // Waits for the next piece.
  DS_DEVICE void arrive() {
    simt::wait_copies<kStages - 2>();
    simt::sync_block();
  }
  // Returns the next piece, which is valid for all threads of the block until the next call.
  DS_DEVICE const Words4* next() {
    arrive();
    const auto* piece = reinterpret_cast<const Words4*>(memory_.pieces[taken_]);
    issue((taken_ + kStages - 1) % kStages);
    taken_ = (taken_ + 1) % kStages;
    return piece;
  }

 private:
  static constexpr int kRowCopies = kTensorColumns / 4;  // of a row of values
  static constexpr int kPieces = TensorChunk{kKeyDim}.pieces(kErases);
  // With fewer pieces, a chunk's values would still be in use when those of the next are requested.
  static_assert(kPieces >= kStages);

  DS_DEVICE void issue(int stage) {
    if (chunk_ * kChunkTokens < memory_.segment.num_rows) {
      if (piece_ == 0) issue_values();
      const unsigned char* from = tensor_chunk(view_, memory_.first_chunk + chunk_, block_head());
      const TensorChunk::Piece piece = TensorChunk{kKeyDim}.piece(piece_, kErases);
      for (int at = simt::thread_index() * 16; at < piece.bytes; at += kThreads * 16) {
        simt::copy_async(memory_.pieces[stage] + at, from + piece.offset + at);
      }
      if (++piece_ == kPieces) {
        piece_ = 0;
        ++chunk_;
      }
    }
    simt::commit_copies();
  }
  // Starts copies of the values in the block's columns.
  DS_DEVICE void issue_values() const {
    const int row = chunk_ * kChunkTokens;
    const TokenRows values = view_.tokens(memory_.segment.first_row + row, block_head()).v;
    const int first_column = simt::block_index().x * kTensorColumns;
    for (int at = simt::thread_index(); at < kChunkTokens * kRowCopies; at += kThreads) {
      const int i = at / kRowCopies;
      const int column = at % kRowCopies * 4;
      if (row + i >= memory_.segment.num_rows) break;
      simt::copy_async(memory_.values + i * kValueStride + column,
                       values.at(i) + first_column + column);
    }
  }

  // Pointers are computed from these when they are needed, because the states leave no registers
  // for them.
  const RuleView& view_;
  StateMemory& memory_;
  int chunk_ = 0;  // of the segment, to be asked for next
  int piece_ = 0;  // of it
  int taken_ = 0;  // stage of the next piece that arrives
};

// A warp's 16 rows of S^T of one head in one segment.
template <class Values, int kKeyDim, class Format>
class WarpState {
 public:
  using PieceRing = Ring<kKeyDim, Values::kErases>;
  using Tile = StateTile<Format>;
  using Stored = typename Format::Stored;

  DS_DEVICE WarpState(const RuleView& view, StateMemory& memory) : view_(view), memory_(memory) {}

  // Loads the rows of S^T. `state` points to the block's first row.
  DS_DEVICE void load(const Stored* state, bool from_zero) {
    if (from_zero) return;
    each_four([&](int block, int half) {
      Tile::load(state + element(block, half), half, state_[2 * block], state_[2 * block + 1]);
    });
  }
  DS_DEVICE void store(Stored* state) const {
    each_four([&](int block, int half) {
      Tile::store(state_[2 * block], state_[2 * block + 1], half, state + element(block, half));
    });
  }

  // Advances the state by n tokens, the first of which is row `row` of the step.
  DS_DEVICE void advance(PieceRing& ring, int row, int n) {
    SplitA update[kChunkBlocks];
    make_update(ring, row, n, update);
    write_out(ring, update, row, n);
    DS_UNROLL
    for (int piece = 0; piece < kWritePieces; ++piece) write_piece(ring.next(), piece, update);
  }

 private:
  static constexpr int kKeyBlocks = kKeyDim / kBlock;
  static constexpr int kRowPieces = kKeyDim / TensorChunk::kRowChannels;
  static constexpr int kRowBlocks = TensorChunk::kRowChannels / kBlock;
  static constexpr int kWritePieces = kKeyDim / TensorChunk::kWriteChannels;
  static constexpr int kWriteBlocks = TensorChunk::kWriteChannels / kBlock;
  // Is true if the update leaves its registers while the state is read, because there are not
  // enough for it and the sums of the outputs. It is back before the values of the next chunk are
  // asked for.
  static constexpr bool kParks = kKeyDim > 128;
  static_assert(kWritePieces >= kStages || !kParks);

  // Returns the lane's pair, as simt.h defines it.
  DS_DEVICE static int pair() { return simt::lane_index() % 4; }
  // Returns the lane's row of S^T in the block; its other row is 8 further.
  DS_DEVICE static int column() { return simt::warp_index() * kBlock + simt::lane_index() / 4; }

  // Returns the place of the lane's four channels in a block, in row `group` or `group + 8`.
  DS_DEVICE int64_t element(int block, int half) const {
    return static_cast<int64_t>(column() + 8 * half) * kKeyDim + block * kBlock + 4 * pair();
  }
  // visit(block of channels, half)
  template <class Visit>
  DS_DEVICE static void each_four(const Visit& visit) {
    DS_UNROLL
    for (int block = 0; block < kKeyBlocks; ++block) {
      DS_UNROLL
      for (int half = 0; half < 2; ++half) visit(block, half);
    }
  }

  DS_DEVICE static void clear(MmaD (&sums)[kChunkTiles]) {
    DS_UNROLL
    for (int i = 0; i < kChunkTiles; ++i) sums[i] = {{0, 0, 0, 0}};
  }

  // sums += S^T rows^T, `rows` a piece of erase or read.
  DS_DEVICE void add_seen(const Words4* rows, int piece, MmaD (&sums)[kChunkTiles]) const {
    DS_UNROLL
    for (int b = 0; b < kRowBlocks; ++b) {
      const int tile = 2 * (piece * kRowBlocks + b);
      const Tile& left = state_[tile];
      const Tile& right = state_[tile + 1];
      const MmaA a = {{left.operand(0), left.operand(1), right.operand(0), right.operand(1)}};
      DS_UNROLL
      for (int t = 0; t < kChunkBlocks; ++t) {
        add_product(a, rows[(b * kChunkBlocks + t) * kBlockWords + simt::lane_index()], sums[2 * t],
                    sums[2 * t + 1]);
      }
    }
  }

  // Reads the values of tokens 8 tile + 2 pair .. and rows group and group + 8.
  DS_DEVICE void read_values(MmaD (&sums)[kChunkTiles]) const {
    DS_UNROLL
    for (int i = 0; i < 4 * kChunkTiles; ++i) {
      const int token = i / 4 * 8 + 2 * pair() + i % 2;
      sums[i / 4].d[i % 4] = memory_.values[token * kValueStride + column() + i % 4 / 2 * 8];
    }
  }

  // Makes U^T, laid out as a left operand.
  DS_DEVICE void make_update(PieceRing& ring, int row, int n,
                             SplitA (&update)[kChunkBlocks]) const {
    MmaD sums[kChunkTiles];
    ring.template make_values<Values>(view_.tokens(row, block_head()), n);
    if constexpr (!Values::kErases) {
      ring.arrive();
      read_values(sums);
    } else {
      DS_UNROLL
      for (int piece = 0; piece < kRowPieces; ++piece) {
        const Words4* rows = ring.next();
        if (piece == 0) read_values(sums);
        add_seen(rows, piece, sums);
      }
    }
    DS_UNROLL
    for (int t = 0; t < kChunkBlocks; ++t) update[t] = split_sums(sums[2 * t], sums[2 * t + 1]);
    if constexpr (Values::kErases) solve(ring.next(), update);
  }

  // update = update T^T, from the last block of tokens to the first: a block needs earlier ones.
  DS_DEVICE static void solve(const Words4* inverse, SplitA (&update)[kChunkBlocks]) {
    DS_UNROLL
    for (int i = kChunkBlocks - 1; i >= 0; --i) {
      MmaD left = {{0, 0, 0, 0}};
      MmaD right = {{0, 0, 0, 0}};
      DS_UNROLL
      for (int j = 0; j <= i; ++j) {
        const Words4* at = inverse + lower_block(i, j) * kBlockWords + simt::lane_index();
        add_product(update[j], at[0], at[kLowerBlocks * kBlockWords], left, right);
      }
      update[i] = split_sums(left, right);
    }
  }

  DS_DEVICE void write_out(PieceRing& ring, SplitA (&update)[kChunkBlocks], int first_row,
                           int n) const {
    MmaD sums[kChunkTiles];
    clear(sums);
    DS_UNROLL
    for (int piece = 0; piece < kRowPieces; ++piece) {
      const Words4* rows = ring.next();
      DS_UNROLL
      for (int j = 0; kParks && piece == 0 && j < kChunkBlocks; ++j) {
        move_update<true>(j, update[j]);
      }
      add_seen(rows, piece, sums);
    }
    const Words4* reads = ring.next();
    DS_UNROLL
    for (int j = 0; j < kChunkBlocks; ++j) {
      SplitA block = update[j];
      if constexpr (kParks) move_update<false>(j, block);
      DS_UNROLL
      for (int i = j; i < kChunkBlocks; ++i) {
        const Words4* at = reads + lower_block(i, j) * kBlockWords + simt::lane_index();
        add_product(block, at[0], at[kLowerBlocks * kBlockWords], sums[2 * i], sums[2 * i + 1]);
      }
    }
    DS_UNROLL
    for (int i = 0; i < 2 * kChunkTiles; ++i) {
      const int token = i / 2 * 8 + 2 * pair() + i % 2;
      if (token >= n) continue;
      float* to =
          view_.out(first_row + token, block_head()) + simt::block_index().x * kTensorColumns;
      to[column()] = sums[i / 2].d[i % 2];
      to[column() + 8] = sums[i / 2].d[2 + i % 2];
    }
    DS_UNROLL
    for (int j = 0; kParks && j < kChunkBlocks; ++j) move_update<false>(j, update[j]);
  }

  // Moves a block of the update between registers and the place of the chunk's values, which all
  // warps have already read.
  template <bool kOut>
  DS_DEVICE void move_update(int block, SplitA& update) const {
    static_assert(sizeof(SplitA) * kChunkBlocks * kThreads <= sizeof(StateMemory::values));
    auto* place = reinterpret_cast<MmaA*>(memory_.values) + simt::thread_index();
    MmaA& high = place[2 * block * kThreads];
    MmaA& low = place[(2 * block + 1) * kThreads];
    if constexpr (kOut) {
      high = update.high;
      low = update.low;
    } else {
      update = {high, low};
    }
  }

  // Decays the channels of a piece of write and adds the update to them.
  DS_DEVICE void write_piece(const Words4* piece, int index, const SplitA (&update)[kChunkBlocks]) {
    constexpr int kLow = kChunkBlocks * kWriteBlocks * kBlockWords;
    const auto* decay = reinterpret_cast<const simt::Float4*>(
        reinterpret_cast<const unsigned char*>(piece) + TensorChunk::kWriteDecay);
    DS_UNROLL
    for (int b = 0; b < kWriteBlocks; ++b) {
      const int tile = 2 * (index * kWriteBlocks + b);
      MmaD left = state_[tile].sums();
      MmaD right = state_[tile + 1].sums();
      const simt::Float4 factor = decay[b * (kBlock / 4) + pair()];
      DS_UNROLL
      for (int i = 0; i < 4; ++i) {
        left.d[i] *= factor.x[i % 2];
        right.d[i] *= factor.x[2 + i % 2];
      }
      DS_UNROLL
      for (int t = 0; t < kChunkBlocks; ++t) {
        const Words4* at = piece + (t * kWriteBlocks + b) * kBlockWords + simt::lane_index();
        add_product(update[t], at[0], at[kLow], left, right);
      }
      state_[tile].set(left);
      state_[tile + 1].set(right);
    }
  }

  const RuleView& view_;
  StateMemory& memory_;
  Tile state_[2 * kKeyBlocks];
};

// grid [blocks of columns, heads, prefill segments]
template <class Values, int kKeyDim, class Format>
DS_KERNEL void DS_BOUNDS(kThreads, blocks_per_processor(kKeyDim))
    tensor_state_kernel(RuleView view) {
  simt::await_launches_before();
  auto& memory = *static_cast<StateMemory*>(simt::shared_memory());
  const StepView& step = view.call.mixer.step;
  const int index = step.num_decode + simt::block_index().z;
  if (step.segments[index].write_slot < 0) {
    return write_zeros(view, step.segments[index], block_head(), kTensorColumns);
  }
  const int first_column = simt::block_index().x * kTensorColumns;
  if (simt::thread_index() == 0) memory.segment = step.segments[index];
  const Segment& segment = memory.segment;  // valid after first_chunk(), which synchronises all
                                            // threads
  first_chunk(view.call, index, &memory.first_chunk);
  Ring<kKeyDim, Values::kErases> ring(view, memory);
  WarpState<Values, kKeyDim, Format> state(view, memory);
  const auto stored = [&](int slot) {
    return static_cast<typename Format::Stored*>(view.state(slot, block_head())) +
           first_column * kKeyDim;
  };
  state.load(stored(segment.read_slot), segment.position == 0);
  for (int row = 0; row < segment.num_rows; row += kChunkTokens) {
    const int left = segment.num_rows - row;
    state.advance(ring, segment.first_row + row, left < kChunkTokens ? left : kChunkTokens);
    if (keeps_behind_chunk(segment, left)) state.store(stored(segment.keep_slot));
  }
  state.store(stored(segment.write_slot));
}

template <class Values, int kKeyDim, class Format>
void launch_kernel(simt::Stream stream, const RuleView& view) {
  const auto columns = static_cast<int>(view.size().value_dim / kTensorColumns);
  simt::launch(stream, {columns, view.heads(), view.call.num_prefill()}, kThreads,
               sizeof(StateMemory), tensor_state_kernel<Values, kKeyDim, Format>, view);
}

template <class Values, class Format>
void launch_format(simt::Stream stream, const RuleView& view) {
  switch (view.size().key_dim) {
    case 64: return launch_kernel<Values, 64, Format>(stream, view);
    case 128: return launch_kernel<Values, 128, Format>(stream, view);
    case 256: return launch_kernel<Values, 256, Format>(stream, view);
  }
}

}  // namespace

void launch_tensor_state(simt::Stream stream, const RuleView& view) {
  dispatch_mixer(view.kind(), [&](auto mixer) {
    // The kernel depends only on this part of a mixer, so that few kernels are compiled.
    using Values = FirstWithValuesOf<decltype(mixer)>;
    visit_state_format(view.format(),
                       [&](auto format) { launch_format<Values, decltype(format)>(stream, view); });
  });
}

}  // namespace deltaserve::cuda
