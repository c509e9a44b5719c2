// Some to some hundred rows: the segments of a tile of outputs are spread over the blocks of a
// cluster, each of which has at most kMostSlots of them. Weights come straight into registers, the
// activations of a block's segments into shared memory, all of them at once. Each segment's sums
// take the place of its activations, and each block adds up its share of the rows in the order of
// segments, wherever they lie.
#include <optional>

#include "kernels/cuda/matmul/matmul_end.h"
#include "kernels/cuda/matmul/tensor_kernels.h"

namespace deltaserve::cuda {
namespace {

constexpr int kMostSlots = 3;   // segments of a block
constexpr int kMostBlocks = 8;  // of a cluster, on every device that has them

template <int kRows_, int kOutWarps>
struct Wide {
  static constexpr int kRows = kRows_;
  static constexpr int kThreads = kOutWarps * simt::kWarp;
  static constexpr int kOuts = kOutWarps * kOutTile;
  static constexpr int kRowLoads = kTensorSegment / kLoad;
  static constexpr int kSlotBytes = kRows * kTensorSegment * 2;
  static_assert(kRows * kOuts * 4 <= kSlotBytes);

  // Returns where load `load` of a row stands in a slot. Neighbouring rows swap halves of 64 bytes,
  // so that the 8 lanes that read at one time, 4 of each of two rows, meet all banks.
  static DS_DEVICE int load_place(int row, int load) {
    return row * kRowLoads + (load ^ (row % 2 * 4));
  }
  // Returns the place of a sum, such that lanes that write together use different banks.
  static DS_DEVICE int sum_place(int row, int out) {
    return row * kOuts + (out ^ (row / 2 % 4 * 8));
  }
};

// A block's segments of a tile of outputs and rows.
template <class Tile, MatmulEnd kEnd>
class WideMatmul {
 public:
  DS_DEVICE WideMatmul(const MatmulCall& call, int blocks, int slots)
      : call_(call),
        blocks_(blocks),
        slots_(slots),
        segments_((static_cast<int>(call.w.stride) + kTensorSegment - 1) / kTensorSegment),
        first_segment_(simt::block_index().x * slots),
        first_out_(int64_t{simt::block_index().y} * Tile::kOuts),
        first_row_(int64_t{simt::block_index().z} * Tile::kRows),
        rows_(static_cast<int>(smaller(call.num_rows - first_row_, Tile::kRows))),
        shared_(static_cast<unsigned char*>(simt::shared_memory())),
        factors_(call, reinterpret_cast<float*>(shared_ + slots * Tile::kSlotBytes)) {}

  DS_DEVICE void run() {
    load_weights(0);
    simt::await_launches_before();
    for (int slot = 0; slot < slots_; ++slot) start_activations(slot);
    const bool of_all_rows = factors_.change_inside_segments();
    const int rank = simt::block_index().x;
    factors_.compute(first_row_, of_all_rows ? 0 : rank, of_all_rows ? 1 : blocks_, rows_);
    for (int slot = 0; slot < slots_; ++slot) multiply_slot(slot);
    meet();
    add_segments();
    if (blocks_ > 1) simt::sync_cluster();  // others may still read this block's sums
  }

 private:
  DS_DEVICE bool is_there(int slot) const {
    return slot < slots_ && first_segment_ + slot < segments_;
  }
  DS_DEVICE simt::Words4* activations(int slot) const {
    return reinterpret_cast<simt::Words4*>(shared_ + slot * Tile::kSlotBytes);
  }
  DS_DEVICE float* sums(int slot) const {
    return reinterpret_cast<float*>(shared_ + slot * Tile::kSlotBytes);
  }

  DS_DEVICE void load_weights(int slot) {
    if (!is_there(slot)) return;
    const int64_t out = first_out_ + simt::warp_index() * kOutTile;
    weights_.load(call_, out, first_segment_ + slot);
  }

  // Starts the copies of a slot, as one group.
  DS_DEVICE void start_activations(int slot) const {
    const int64_t first_k = int64_t{first_segment_ + slot} * kTensorSegment;
    const int loads = is_there(slot) ? rows_ * Tile::kRowLoads : 0;
    for (int i = simt::thread_index(); i < loads; i += Tile::kThreads) {
      const int row = i / Tile::kRowLoads;
      const int64_t k = first_k + i % Tile::kRowLoads * kLoad;
      simt::Words4* place = activations(slot) + Tile::load_place(row, i % Tile::kRowLoads);
      if (k < call_.w.stride) {
        simt::copy_async(place, call_.x_bf16 + (first_row_ + row) * call_.x_bf16_stride + k);
      } else {
        *place = simt::Words4{};
      }
    }
    simt::commit_copies();
  }

  DS_DEVICE void wait_for(int slot) const {
    switch (slots_ - 1 - slot) {
      case 0: simt::wait_copies<0>(); break;
      case 1: simt::wait_copies<1>(); break;
      default: simt::wait_copies<2>(); break;
    }
    simt::sync_block();
  }

  DS_DEVICE void multiply_slot(int slot) {
    const int group = simt::lane_index() / 4;
    const int pair = simt::lane_index() % 4;
    simt::MmaD of_tiles[Tile::kRows / kRowTile] = {};
    wait_for(slot);
    if (is_there(slot)) {
      // The lane has two places, of even and of odd loads; all others are constants apart from
      // them.
      const simt::Words4* row = activations(slot) + group * Tile::kRowLoads + pair;
      const simt::Words4* even = row + group % 2 * 4;
      const simt::Words4* odd = row - group % 2 * 4;
      const auto x = [&](int i, int tile, int64_t) {
        return simt::load_in_order(i % 2 == 0 ? even : odd,
                                   tile * kRowTile * Tile::kRowLoads + i * 4);
      };
      const auto before = [&](int64_t k, simt::MmaD(&at)[Tile::kRows / kRowTile]) {
        factors_.change_sums(static_cast<int>(k), 0, at);
      };
      weights_.multiply(x, before, of_tiles);
    }
    simt::sync_block();  // everyone has read the activations
    // In front of the barrier the compiler would ask for them before the products, into registers
    // that it does not have.
    load_weights(slot + 1);
    if (!is_there(slot)) return;
    const int out = simt::warp_index() * kOutTile + group;
    DS_UNROLL
    for (int tile = 0; tile < Tile::kRows / kRowTile; ++tile) {
      DS_UNROLL
      for (int i = 0; i < 4; ++i) {
        const int row = tile * kRowTile + 2 * pair + i % 2;
        sums(slot)[Tile::sum_place(row, out + i / 2 * 8)] = of_tiles[tile].d[i];
      }
    }
  }

  DS_DEVICE void meet() const {
    if (blocks_ > 1) {
      simt::sync_cluster();
    } else {
      simt::sync_block();
    }
  }

  // Ends rows rank, rank + blocks and on.
  DS_DEVICE void add_segments() const {
    const int rank = simt::block_index().x;
    const int share = rows_ > rank ? (rows_ - rank + blocks_ - 1) / blocks_ : 0;
    for (int i = simt::thread_index(); i < share * Tile::kOuts; i += Tile::kThreads) {
      const int row = rank + i / Tile::kOuts * blocks_;
      const int out = i % Tile::kOuts;
      const OutputEnd<kEnd> end(call_, first_row_ + row, first_out_ + out, true);
      const int place = Tile::sum_place(row, out);
      float total = 0;
      for (int block = 0; block < blocks_; ++block) {
        float parts[kMostSlots];
        DS_UNROLL
        for (int slot = 0; slot < kMostSlots; ++slot) {
          const bool counts = slot < slots_ && block * slots_ + slot < segments_;
          parts[slot] = counts ? sum_of(block, slot, place) : 0.0f;
        }
        DS_UNROLL
        for (int slot = 0; slot < kMostSlots; ++slot) {
          const int segment = block * slots_ + slot;
          if (slot >= slots_ || segment >= segments_) continue;
          total = fmaf(factors_.of_segment(row, segment), parts[slot], total);
        }
      }
      end.store(total);
    }
  }
  DS_DEVICE float sum_of(int block, int slot, int place) const {
    return blocks_ > 1 ? simt::load_of_cluster(sums(slot) + place, block) : sums(slot)[place];
  }

  const MatmulCall& call_;
  const int blocks_, slots_, segments_, first_segment_;
  const int64_t first_out_, first_row_;
  const int rows_;  // of the tile
  unsigned char* shared_;
  BlockFactors factors_;
  SegmentWeights<kEnd> weights_;  // of one slot: registers are for two only where rows are few
};

// grid [blocks of a cluster, tiles of outputs, tiles of rows]; shared memory: the slots, factors
template <class Tile, MatmulEnd kEnd>
DS_KERNEL void DS_BOUNDS(Tile::kThreads, 1) wide_kernel(MatmulCall call, int blocks, int slots) {
  WideMatmul<Tile, kEnd>(call, blocks, slots).run();
}

// Spread says how a matmul is cut into tiles and blocks.
struct Spread {
  int rows = 0;  // of a tile
  int outs = 0;
  int blocks = 0, slots = 0;
  int shared_bytes = 0;
  simt::Grid grid;
};

std::optional<Spread> spread_of(const MatmulCall& call) {
  int64_t outs = 0;
  visit_end(call, [&]<MatmulEnd kEnd>() { outs = tiled_outs<kEnd>(call); });
  const int segments = segments_of(call);
  Spread spread;
  spread.slots = (segments + kMostBlocks - 1) / kMostBlocks;
  spread.blocks = (segments + spread.slots - 1) / spread.slots;
  if (spread.slots > kMostSlots) return std::nullopt;
  // The largest tile that is not mostly empty and has room.
  for (spread.rows = call.num_rows <= 32   ? 32
                     : call.num_rows <= 64 ? 64
                                           : 128;
       spread.rows >= 32; spread.rows /= 2) {
    spread.shared_bytes =
        spread.slots * spread.rows * kTensorSegment * 2 + factor_bytes(call, spread.rows);
    if (spread.shared_bytes <= simt::most_shared_bytes()) break;
  }
  if (spread.rows < 32) return std::nullopt;
  const auto grid = [&](int of_block) {
    return simt::Grid{spread.blocks, static_cast<int>((outs + of_block - 1) / of_block),
                      (call.num_rows + spread.rows - 1) / spread.rows};
  };
  // More outputs to a block load activations less often, as long as half of the multiprocessors
  // have a block.
  spread.outs = 128;
  spread.grid = grid(128);
  const int64_t count = int64_t{spread.grid.x} * spread.grid.y * spread.grid.z;
  if (spread.rows < 128 || count < kMultiprocessors / 2) {
    spread.outs = 64;
    spread.grid = grid(64);
  }
  if (spread.grid.y > simt::kMaxGridYZ || spread.grid.z > simt::kMaxGridYZ) return std::nullopt;
  return spread;
}

template <class Tile>
void launch(simt::Stream stream, const MatmulCall& call, const Spread& spread) {
  visit_end(call, [&]<MatmulEnd kEnd>() {
    simt::launch_clusters(stream, spread.grid, spread.blocks, Tile::kThreads, spread.shared_bytes,
                          wide_kernel<Tile, kEnd>, call, spread.blocks, spread.slots);
  });
}

}  // namespace

bool takes_wide(const MatmulCall& call) {
  return spread_of(call).has_value();
}

void launch_wide(simt::Stream stream, const MatmulCall& call) {
  const Spread spread = *spread_of(call);
  switch (spread.rows) {
    case 32: return launch<Wide<32, 4>>(stream, call, spread);
    case 64: return launch<Wide<64, 4>>(stream, call, spread);
    default: break;
  }
  if (spread.outs == 64) return launch<Wide<128, 4>>(stream, call, spread);
  launch<Wide<128, 8>>(stream, call, spread);
}

}  // namespace deltaserve::cuda
