// A warp holds 16 rows of S^T (columns of S) as sums of its products, because sums of one product
// are laid out over the lanes as the left operand of the next:
//
//   P^T = value^T - S^T (e^G erase)^T,  O^T = S^T (e^G read)^T + P^T M^T,
//   S^T = e^{G_n} S^T + P^T W~.
//
// Right operands are images (prefill_images.h), which come through a ring in shared memory that all
// warps of the block share. The factors of tokens stay in float: they multiply sums. A warp has
// eight sums of each product under way at once, which hides the latency of the tensor cores.
//
// Left of the diagonal a row is combined only with earlier rows. In the block on the diagonal later
// rows are multiplied by zero, which changes nothing unless they are not finite.
#include "kernels/cuda/rule/prefill_chain.h"

#include <bit>

#include "kernels/cuda/rule/prefill_images.h"
#include "kernels/cuda/rule/prefill_tiles.h"
#include "kernels/cuda/rule/state_tile.h"

namespace deltaserve::cuda {
namespace {

using simt::Bf16Pair;
using simt::MmaA;
using simt::MmaD;
using simt::Words4;

constexpr int kChunkTiles = kChunkTokens / 8;  // of 8 tokens

// A warp's bits do not depend on how many columns its block has. Normally a block has 64 columns,
// and a multiprocessor runs two blocks, whose speed is limited by reads of shared memory. If there
// are few blocks, a block has 32 columns, and two more warps request images. If there are many, the
// cache from which images come is the limit, so 128 columns share each image. In both cases a block
// uses all of a multiprocessor's shared memory, if the device allows it.
constexpr int kFewBlocks = 66;    // of 64 columns: half of the multiprocessors of a large GPU
constexpr int kManyBlocks = 264;  // more than all of them hold

template <int kWorkers>
struct Crew {
  static constexpr int kColumns = kWorkers * kBlock;  // of a state
  static constexpr int kThreads = (kWorkers > 4 ? kWorkers : 4) * simt::kWarp;
  static constexpr int kStages = kWorkers == 4 ? 11 : 24;  // images under way and in use
  static constexpr int kFactorStages = kWorkers == 4 ? 4 : 8;
  static constexpr bool kAllCopy = kWorkers * simt::kWarp == kThreads;
  static constexpr int kCopyThreads = kAllCopy ? kThreads : kThreads - kWorkers * simt::kWarp;

  DS_DEVICE static bool works() { return kAllCopy || simt::warp_index() < kWorkers; }
  DS_DEVICE static bool copies() { return kAllCopy || !works(); }
  DS_DEVICE static int copy_index() { return simt::thread_index() - (kThreads - kCopyThreads); }
};

template <int kWorkers>
struct ChainMemory {
  alignas(16) unsigned char images[Crew<kWorkers>::kStages][Image::kBytes];
  alignas(16) ChunkFactors factors[Crew<kWorkers>::kFactorStages];
  int first_chunk;
  Segment segment;
};
static_assert(sizeof(ChainMemory<4>) <= simt::kMaxSharedBytes);
static_assert(sizeof(ChainMemory<2>) <= simt::kLargestSharedBytes);

enum class Source { kErase, kValues, kRead, kReads, kWrite };

// The images of a chunk in the order in which they are taken: erase and read vectors in turns, so
// that what is rounded of the state is used for both at once and not kept; values in front of the
// last read vectors, whose products run beside the making of P; M; W~. With 64 key channels there
// are no turns.
template <int kKeyDim, int kWorkers>
struct Order {
  static constexpr int kKeys = kKeyDim / Image::kSide;
  static constexpr int kValues = (Crew<kWorkers>::kColumns + Image::kSide - 1) / Image::kSide;
  static constexpr int kImages = 3 * kKeys + kValues + 1;
  static constexpr int kWrite = kImages - kKeys;     // position of the first
  static constexpr int kLastKeys = 2 * (kKeys - 1);  // of the last erase vectors
  // These are the numbers of images that are waited for together: from the last erase vectors to
  // W~; in a turn and at the end of a chunk.
  static constexpr int kWithValues = kValues + 3;
  static constexpr int kTurn = kKeys < 2 ? kKeys : 2;
  // Factors come with the values. The factors of a chunk are in use as long as its last image.
  static constexpr int factor_stages(int stages) { return (stages + kImages - 1) / kImages + 1; }

  struct Place {
    Source source;
    int index;
  };
  static constexpr Place place(int at) {
    if (at >= kWrite) return {Source::kWrite, at - kWrite};
    if (at == kWrite - 1) return {Source::kReads, 0};
    if (at == kWrite - 2) return {Source::kRead, kKeys - 1};
    if (at > kLastKeys) return {Source::kValues, at - kLastKeys - 1};
    return {at % 2 == 0 ? Source::kErase : Source::kRead, at / 2};
  }
};

// The images of a segment's chunks, one after the other. take<> is called with the position of its
// first image in the chunk, always in the same order, so that all but the chunk and the stage is
// known when this is compiled.
template <int kKeyDim, int kWorkers>
class Ring {
 public:
  using At = Order<kKeyDim, kWorkers>;
  using Own = Crew<kWorkers>;
  static constexpr int kStages = Own::kStages;
  static constexpr int kFactorStages = Own::kFactorStages;
  static_assert(At::factor_stages(kStages) <= kFactorStages);

  DS_DEVICE Ring(const RuleView& view, ChainMemory<kWorkers>& memory) : memory_(memory) {
    const int head = simt::block_index().y;
    const PrefillImages images(view.call);
    const ChunkOperands& layout = images.layout();
    const int chunk = memory.first_chunk;
    if (!Own::copies()) return;
    const int own = Own::copy_index() * 16;
    operands_ = images.operands(chunk, head) + own;
    factors_ = layout.factors();
    read_ = images.features(chunk, images.q_channel(head)) + own;
    erase_ = layout.own_erase ? operands_ + layout.erase()
                              : images.features(chunk, images.k_channel(head)) + own;
    values_ =
        images.features(chunk, images.v_channel(head) + simt::block_index().x * Own::kColumns) +
        own;
    feature_stride_ = static_cast<int>(PrefillImages::feature_bytes(view.call.mixer.shape()));
    operand_stride_ = static_cast<int>(PrefillImages::operand_bytes(view.call.mixer.shape()));
    erase_stride_ = layout.own_erase ? operand_stride_ : feature_stride_;
    left_ = (memory.segment.num_rows + kChunkTokens - 1) / kChunkTokens;
    issue_all<0, kStages - At::kTurn>();
  }

  // Waits for the `kCount` images from kPosition of a chunk on, releases the `kHeld` images before
  // them and requests others in their place. Returns the stage of the first. Warps that only
  // compute synchronise here with those that request images (serve_chunk).
  template <int kPosition, int kCount, int kHeld>
  DS_DEVICE int take() {
    if constexpr (Own::kAllCopy) {
      serve<kPosition, kCount, kHeld>();
    } else {
      simt::sync_block();
    }
    const int first = taken_;
    taken_ = wrap(taken_ + kCount);
    return first;
  }
  // Requests all images that WarpState::advance takes.
  DS_DEVICE void serve_chunk() {
    if constexpr (At::kKeys > 1) serve<0, 2, 2>();
    if constexpr (At::kKeys > 2) {
      serve<2, 2, 2>();
      serve<4, 2, 2>();
    }
    serve<At::kLastKeys, At::kWithValues, At::kTurn>();
    serve<At::kWrite, At::kTurn, At::kWithValues>();
    if constexpr (At::kKeys > 2) serve<At::kWrite + 2, 2, 2>();
  }
  DS_DEVICE const unsigned char* image(int stage, int further) const {
    return memory_.images[wrap(stage + further)];
  }
  DS_DEVICE static int wrap(int stage) { return stage >= kStages ? stage - kStages : stage; }

 private:
  template <int kPosition, int kCount, int kHeld>
  DS_DEVICE void serve() {
    simt::wait_copies<kStages - kHeld - kCount>();
    simt::sync_block();
    issue_all<kPosition - kHeld + kStages, kHeld>();
  }

  // Requests kCount images, from kPosition modulo kImages on, of the chunk that is requested at
  // present.
  template <int kPosition, int kCount>
  DS_DEVICE void issue_all() {
    if constexpr (kCount > 0) {
      issue<(kPosition + At::kImages) % At::kImages>();
      issue_all<kPosition + 1, kCount - 1>();
    }
  }

  template <int kAt>
  DS_DEVICE void issue() {
    if (left_ > 0) {
      constexpr auto kPlace = At::place(kAt);
      constexpr int kOffset = kPlace.index * Image::kBytes;
      const unsigned char* from;
      switch (kPlace.source) {
        case Source::kErase: from = erase_ + kOffset; break;
        case Source::kValues: from = values_ + kOffset; break;
        case Source::kRead: from = read_ + kOffset; break;
        case Source::kReads: from = operands_ + ChunkOperands{kKeyDim, false}.reads(); break;
        case Source::kWrite: from = operands_ + ChunkOperands{kKeyDim, false}.write() + kOffset;
      }
      const int own = Own::copy_index() * 16;
      unsigned char* to = memory_.images[asked_] + own;
      DS_UNROLL
      for (int i = 0; i < Image::kBytes; i += Own::kCopyThreads * 16) {
        simt::copy_async(to + i, from + i);
      }
      if constexpr (kPlace.source == Source::kValues && kPlace.index == 0) {
        static_assert(sizeof(ChunkFactors) <= Own::kCopyThreads * 16);
        if (own < static_cast<int>(sizeof(ChunkFactors))) {
          simt::copy_async(reinterpret_cast<unsigned char*>(memory_.factors + asked_factors_) + own,
                           operands_ + factors_);
        }
        asked_factors_ = (asked_factors_ + 1) % kFactorStages;
      }
      if constexpr (kAt == At::kImages - 1) {
        --left_;
        operands_ += operand_stride_;
        erase_ += erase_stride_;
        read_ += feature_stride_;
        values_ += feature_stride_;
      }
    }
    asked_ = wrap(asked_ + 1);
    simt::commit_copies();
  }

  ChainMemory<kWorkers>& memory_;
  // These point into the chunk that is requested at present, at the thread's 16 bytes.
  const unsigned char* operands_ = nullptr;
  const unsigned char* erase_ = nullptr;
  const unsigned char* read_ = nullptr;
  const unsigned char* values_ = nullptr;
  int factors_ = 0;  // offset in the operands
  int operand_stride_ = 0;
  int feature_stride_ = 0;
  int erase_stride_ = 0;
  int left_ = 0;   // chunks to be asked for
  int asked_ = 0;  // stage
  int taken_ = 0;
  int asked_factors_ = 0;
};

struct alignas(8) TwoTokens {
  float x[2];
};

// A warp's 16 rows of S^T of one head in one segment.
template <int kKeyDim, class Format, int kWorkers>
class WarpState {
 public:
  using Images = Ring<kKeyDim, kWorkers>;
  using At = Order<kKeyDim, kWorkers>;
  using Own = Crew<kWorkers>;
  using Tile = StateTile<Format>;
  using Stored = typename Format::Stored;

  DS_DEVICE WarpState(const RuleView& view, ChainMemory<kWorkers>& memory)
      : view_(view), memory_(memory) {}

  // Loads the rows of S^T. `state` points to the block's first row.
  DS_DEVICE void load(const Stored* state, bool from_zero) {
    if (from_zero) return;
    each_pair([&](int tile, int half) { state_[tile].load(state + element(tile, half), half); });
  }
  DS_DEVICE void store(Stored* state) const {
    each_pair([&](int tile, int half) { state_[tile].store(half, state + element(tile, half)); });
  }

  // Advances the state by n tokens, the first of which is row `row` of the step.
  DS_DEVICE void advance(Images& ring, int row, int n) {
    MmaD erased[kChunkTiles], sums[kChunkTiles];
    clear(erased);
    clear(sums);
    if constexpr (At::kKeys > 1) take_turn<0>(ring, erased, sums);
    if constexpr (At::kKeys > 2) {
      take_turn<1>(ring, erased, sums);
      take_turn<2>(ring, erased, sums);
    }
    int stage = ring.template take<At::kLastKeys, At::kWithValues, At::kTurn>();
    const ChunkFactors& factors = memory_.factors[factors_at_];
    factors_at_ = (factors_at_ + 1) % Own::kFactorStages;
    add_seen(ring.image(stage, 0), At::kKeys - 1, erased);
    MmaA update[kChunkBlocks];
    make_update(ring.image(stage, 1 + value_block() / Image::kBlocks), factors, erased, update);
    add_seen(ring.image(stage, 1 + At::kValues), At::kKeys - 1, sums);
    add_reads(ring.image(stage, 2 + At::kValues), factors, update, sums);
    if constexpr (At::kKeys > 2) write_out(sums, row, n);  // otherwise beside products
    stage = ring.template take<At::kWrite, At::kTurn, At::kWithValues>();
    DS_UNROLL
    for (int i = 0; i < At::kTurn; ++i) {
      write(ring.image(stage, i), i, factors.decay, update);
      if (At::kKeys <= 2 && i == 0) write_out(sums, row, n);
    }
    if constexpr (At::kKeys > 2) {
      stage = ring.template take<At::kWrite + 2, 2, 2>();
      write(ring.image(stage, 0), 2, factors.decay, update);
      write(ring.image(stage, 1), 3, factors.decay, update);
    }
  }

 private:
  template <int kImage>
  DS_DEVICE void take_turn(Images& ring, MmaD (&erased)[kChunkTiles],
                           MmaD (&sums)[kChunkTiles]) const {
    const int stage = ring.template take<2 * kImage, 2, 2>();
    add_seen(ring.image(stage, 0), ring.image(stage, 1), kImage, erased, sums);
  }

  static constexpr int kTiles = kKeyDim / 8;

  // Returns the lane's pair, as simt.h defines it.
  DS_DEVICE static int pair() { return simt::lane_index() % 4; }
  // Returns the lane's row of S^T in the block; its other row is 8 further.
  DS_DEVICE static int column() { return simt::warp_index() * kBlock + simt::lane_index() / 4; }

  // Returns the block of the image's values that has the warp's columns.
  DS_DEVICE static int value_block() {
    return simt::block_index().x * Own::kColumns % Image::kSide / kBlock + simt::warp_index();
  }

  // Returns the place of the lane's two channels of a tile.
  DS_DEVICE static int64_t element(int tile, int half) {
    return static_cast<int64_t>(column() + 8 * half) * kKeyDim + tile * 8 + 2 * pair();
  }
  template <class Visit>
  DS_DEVICE static void each_pair(const Visit& visit) {
    DS_UNROLL
    for (int tile = 0; tile < kTiles; ++tile) {
      DS_UNROLL
      for (int half = 0; half < 2; ++half) visit(tile, half);
    }
  }
  DS_DEVICE static void clear(MmaD (&sums)[kChunkTiles]) {
    DS_UNROLL
    for (int i = 0; i < kChunkTiles; ++i) sums[i] = {{0, 0, 0, 0}};
  }

  // sums += S^T rows^T, `rows` the image of 64 channels of all tokens.
  DS_DEVICE void add_seen(const unsigned char* rows, int image, MmaD (&sums)[kChunkTiles]) const {
    DS_UNROLL
    for (int b = 0; b < Image::kBlocks; ++b) {
      const MmaA a = operand(2 * (image * Image::kBlocks + b));
      DS_UNROLL
      for (int t = 0; t < kChunkBlocks; ++t) {
        add_product(a, lane_.block(rows, t, b), sums[2 * t], sums[2 * t + 1]);
      }
    }
  }

  // Does the same with two images at once.
  DS_DEVICE void add_seen(const unsigned char* erase, const unsigned char* read, int image,
                          MmaD (&erased)[kChunkTiles], MmaD (&sums)[kChunkTiles]) const {
    DS_UNROLL
    for (int b = 0; b < Image::kBlocks; ++b) {
      const MmaA a = operand(2 * (image * Image::kBlocks + b));
      DS_UNROLL
      for (int t = 0; t < kChunkBlocks; ++t) {
        add_product(a, lane_.block(erase, t, b), erased[2 * t], erased[2 * t + 1]);
        add_product(a, lane_.block(read, t, b), sums[2 * t], sums[2 * t + 1]);
      }
    }
  }
  // Returns 16 channels of the state as a left operand.
  DS_DEVICE MmaA operand(int tile) const {
    const Tile& left = state_[tile];
    const Tile& right = state_[tile + 1];
    return {{left.operand(0), left.operand(1), right.operand(0), right.operand(1)}};
  }

  // P^T as a left operand: two sums and values of a token and a token after it.
  DS_DEVICE static Bf16Pair update_pair(const float* sums, uint32_t values, const TwoTokens& erase,
                                        const TwoTokens& value) {
    return simt::pack_bf16(
        fmaf(erase.x[0], sums[0], value.x[0] * std::bit_cast<float>(values << 16)),
        fmaf(erase.x[1], sums[1], value.x[1] * std::bit_cast<float>(values & 0xffff0000u)));
  }
  DS_DEVICE static TwoTokens two_of(const float* factors, int tile) {
    return *reinterpret_cast<const TwoTokens*>(factors + 8 * tile + 2 * pair());
  }
  DS_DEVICE void make_update(const unsigned char* values, const ChunkFactors& factors,
                             const MmaD (&sums)[kChunkTiles], MmaA (&update)[kChunkBlocks]) const {
    DS_UNROLL
    for (int t = 0; t < kChunkBlocks; ++t) {
      const Words4 v = lane_.transposed_block(values, t, value_block() % Image::kBlocks);
      DS_UNROLL
      for (int i = 0; i < 2; ++i) {
        const TwoTokens erase = two_of(factors.erase, 2 * t + i);
        const TwoTokens value = two_of(factors.value, 2 * t + i);
        const float* d = sums[2 * t + i].d;
        update[t].a[2 * i] = update_pair(d, v.word[i], erase, value);
        update[t].a[2 * i + 1] = update_pair(d + 2, v.word[2 + i], erase, value);
      }
    }
  }

  // sums = e^G scale sums + P^T M^T
  DS_DEVICE void add_reads(const unsigned char* reads, const ChunkFactors& factors,
                           const MmaA (&update)[kChunkBlocks], MmaD (&sums)[kChunkTiles]) const {
    DS_UNROLL
    for (int tile = 0; tile < kChunkTiles; ++tile) {
      const TwoTokens read = two_of(factors.read, tile);
      DS_UNROLL
      for (int i = 0; i < 4; ++i) sums[tile].d[i] *= read.x[i % 2];
    }
    DS_UNROLL
    for (int j = 0; j < kChunkBlocks; ++j) {
      DS_UNROLL
      for (int i = j; i < kChunkBlocks; ++i) {
        add_product(update[j], lane_.block(reads, i, j), sums[2 * i], sums[2 * i + 1]);
      }
    }
  }

  DS_DEVICE void write_out(const MmaD (&sums)[kChunkTiles], int first_row, int n) const {
    const int64_t stride = view_.call.out_row(1);
    float* to = view_.call.mixer.out + (first_row + 2 * pair()) * stride +
                simt::block_index().y * view_.call.mixer.shape().value_dim +
                simt::block_index().x * Own::kColumns + column();
    DS_UNROLL
    for (int tile = 0; tile < kChunkTiles; ++tile) {
      DS_UNROLL
      for (int i = 0; i < 2; ++i) {
        if (8 * tile + 2 * pair() + i < n) {
          to[i * stride] = sums[tile].d[i];
          to[i * stride + 8] = sums[tile].d[2 + i];
        }
      }
      to += 8 * stride;
    }
  }

  // Decays the 64 channels of an image of W~ and adds the update to them.
  DS_DEVICE void write(const unsigned char* image, int index, float decay,
                       const MmaA (&update)[kChunkBlocks]) {
    constexpr int kImageTiles = 2 * Image::kBlocks;
    Tile* tiles = state_ + index * kImageTiles;
    MmaD sums[kImageTiles];
    DS_UNROLL
    for (int i = 0; i < kImageTiles; ++i) {
      sums[i] = tiles[i].sums();
      DS_UNROLL
      for (int d = 0; d < 4; ++d) sums[i].d[d] *= decay;
    }
    DS_UNROLL
    for (int t = 0; t < kChunkBlocks; ++t) {
      DS_UNROLL
      for (int b = 0; b < Image::kBlocks; ++b) {
        add_product(update[t], lane_.block(image, b, t), sums[2 * b], sums[2 * b + 1]);
      }
    }
    DS_UNROLL
    for (int i = 0; i < kImageTiles; ++i) tiles[i].set(sums[i]);
  }

  const RuleView& view_;
  ChainMemory<kWorkers>& memory_;
  ImageLane lane_;
  int factors_at_ = 0;
  Tile state_[kTiles];
};

// grid [blocks of columns, heads, prefill segments]
template <int kKeyDim, class Format, int kWorkers>
DS_KERNEL void DS_BOUNDS(Crew<kWorkers>::kThreads, kKeyDim > 128 || kWorkers != 4 ? 1 : 2)
    prefill_chain_kernel(RuleView view) {
  simt::await_launches_before();
  using Own = Crew<kWorkers>;
  auto& memory = *static_cast<ChainMemory<kWorkers>*>(simt::shared_memory());
  const StepView& step = view.call.mixer.step;
  const int index = step.num_decode + simt::block_index().z;
  const int head = simt::block_index().y;
  if (step.segments[index].write_slot < 0) {
    return write_zeros(view, step.segments[index], head, Own::kColumns);
  }
  if (simt::thread_index() == 0) memory.segment = step.segments[index];
  const Segment& segment = memory.segment;  // valid after first_chunk(), which synchronises all
                                            // threads
  first_chunk(view.call, index, &memory.first_chunk);
  Ring<kKeyDim, kWorkers> ring(view, memory);
  if (!Own::works()) {
    for (int row = 0; row < segment.num_rows; row += kChunkTokens) ring.serve_chunk();
    return;
  }
  WarpState<kKeyDim, Format, kWorkers> state(view, memory);
  const int first_column = simt::block_index().x * Own::kColumns;
  const auto stored = [&](int slot) {
    return static_cast<typename Format::Stored*>(view.state(slot, head)) + first_column * kKeyDim;
  };
  state.load(stored(segment.read_slot), segment.position == 0);
  for (int row = 0; row < segment.num_rows; row += kChunkTokens) {
    const int left = segment.num_rows - row;
    state.advance(ring, segment.first_row + row, left < kChunkTokens ? left : kChunkTokens);
    // One store serves both slots, because a second one after the loop would take registers that
    // the loop needs. A last chunk that is whole goes to both.
    const bool is_last = left <= kChunkTokens;
    const bool keeps = keeps_behind_chunk(segment, left);
    if (is_last || keeps) state.store(stored(is_last ? segment.write_slot : segment.keep_slot));
    if (is_last && keeps) state.store(stored(segment.keep_slot));
  }
}

template <int kKeyDim, class Format, int kWorkers>
void launch_crew(simt::Stream stream, const RuleView& view) {
  const auto columns = static_cast<int>(view.size().value_dim / Crew<kWorkers>::kColumns);
  simt::launch(stream, {columns, view.heads(), view.call.num_prefill()}, Crew<kWorkers>::kThreads,
               sizeof(ChainMemory<kWorkers>), prefill_chain_kernel<kKeyDim, Format, kWorkers>,
               view);
}

template <int kKeyDim, class Format>
void launch_kernel(simt::Stream stream, const RuleView& view) {
  const int64_t blocks =
      view.size().value_dim / Crew<4>::kColumns * view.heads() * view.call.num_prefill();
  const bool large = sizeof(ChainMemory<2>) <= static_cast<size_t>(simt::most_shared_bytes());
  const bool even = view.size().value_dim % Crew<8>::kColumns == 0;
  int columns = chain_columns_for_benchmarks;
  if (columns == 0) columns = blocks <= kFewBlocks ? 32 : blocks > kManyBlocks ? 128 : 64;
  if (large && columns == 32) return launch_crew<kKeyDim, Format, 2>(stream, view);
  if (large && even && columns == 128) return launch_crew<kKeyDim, Format, 8>(stream, view);
  launch_crew<kKeyDim, Format, 4>(stream, view);
}

template <class Format>
void launch_format(simt::Stream stream, const RuleView& view) {
  switch (view.size().key_dim) {
    case 64: return launch_kernel<64, Format>(stream, view);
    case 128: return launch_kernel<128, Format>(stream, view);
    case 256: return launch_kernel<256, Format>(stream, view);
  }
}

}  // namespace

void launch_prefill_chain(simt::Stream stream, const RuleView& view) {
  visit_state_format(view.format(),
                     [&](auto format) { launch_format<decltype(format)>(stream, view); });
}

}  // namespace deltaserve::cuda
