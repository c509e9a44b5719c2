#include "kernels/cuda/rule/delta_steps.h"

#include "kernels/base/check.h"
#include "kernels/cuda/rule/delta_step_team.h"

namespace deltaserve::cuda {
namespace {

constexpr int kThreads = 128;

// Padding: zeros for the rows of the segment.
template <class Tile>
DS_DEVICE void write_zeros(const RuleView& view, const Segment& segment, int head, int first_row) {
  const int end = first_row + Tile::kRows < view.size().value_dim
                      ? first_row + Tile::kRows
                      : static_cast<int>(view.size().value_dim);
  for (int i = 0; i < segment.num_rows; ++i) {
    float* out = view.out(segment.first_row + i, head);
    for (int r = first_row + simt::lane_index() % Tile::kWidth; r < end; r += Tile::kWidth) {
      out[r] = 0;
    }
  }
}

// grid [blocks of state rows, heads, decode segments]
template <class Mixer, class Tile>
DS_KERNEL void DS_BOUNDS(kThreads, 1) steps_kernel(RuleView view) {
  simt::await_launches_before();
  using Stored = typename Tile::Stored;
  const Segment segment = view.call.mixer.step.segments[simt::block_index().z];
  const int head = simt::block_index().y;
  const int team =
      simt::block_index().x * (kThreads / Tile::kWidth) + simt::thread_index() / Tile::kWidth;
  if (segment.write_slot < 0) return write_zeros<Tile>(view, segment, head, team * Tile::kRows);
  StepTeam<Mixer, Tile> state(view.size(), team * Tile::kRows);
  state.load(static_cast<const Stored*>(view.state(segment.read_slot, head)),
             segment.position == 0);
  const HeadTokens tokens = view.tokens(segment.first_row, head);
  for (int i = 0; i < segment.num_rows; ++i) {
    state.step(tokens.at(i), view.out(segment.first_row + i, head));
    state.round();
  }
  state.store(static_cast<Stored*>(view.state(segment.write_slot, head)));
}

template <class Mixer, class Tile>
void launch_tile(simt::Stream stream, const RuleView& view) {
  const auto rows = static_cast<int>(view.size().value_dim);
  const simt::Grid grid = {(rows + Tile::kBlockRows - 1) / Tile::kBlockRows, view.heads(),
                           view.call.mixer.step.num_decode};
  simt::launch(stream, grid, kThreads, 0, steps_kernel<Mixer, Tile>, view);
}

// Picks the narrowest team that covers a state row.
template <class Mixer, class Format>
void launch_format(simt::Stream stream, const RuleView& view) {
  using Stored = typename Format::Stored;
  const auto visit = [&](auto tile) { launch_tile<Mixer, decltype(tile)>(stream, view); };
  const auto runs = static_cast<int>(view.size().key_stride() * sizeof(Stored) / 16);
  if (runs <= 8) return visit(StepTile<Format, 8, 1, kThreads>{});
  if (runs <= 16) return visit(StepTile<Format, 16, 1, kThreads>{});
  if (runs <= 32) return visit(StepTile<Format, 32, 1, kThreads>{});
  if (runs <= 64) return visit(StepTile<Format, 32, 2, kThreads>{});
  if constexpr (sizeof(Stored) == sizeof(float)) return visit(StepTile<Format, 32, 4, kThreads>{});
}

}  // namespace

void launch_steps(simt::Stream stream, const RuleView& view) {
  DS_CHECK(view.size().key_dim <= kMaxKeyDim);
  dispatch_mixer(view.kind(), [&](auto mixer) {
    using Mixer = decltype(mixer);
    constexpr bool kDecays = Mixer::kDecay != Decay::kNone;
    visit_state_format_of<kDecays>(
        view.format(), [&](auto format) { launch_format<Mixer, decltype(format)>(stream, view); });
  });
}

}  // namespace deltaserve::cuda
