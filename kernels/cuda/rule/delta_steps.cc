#include "kernels/cuda/rule/delta_steps.h"

#include "kernels/base/check.h"
#include "kernels/cuda/rule/delta_step_team.h"

namespace deltaserve::cuda {
namespace {

// grid [parts of the state's rows, heads, decode segments]
template <class Mixer, class Tile>
DS_KERNEL void DS_BOUNDS(Tile::kThreads, Tile::kBlocks) steps_kernel(RuleView view, int part_rows) {
  using Stored = typename Tile::Stored;
  const Segment& segment = view.call.mixer.step.segments[simt::block_index().z];
  if (segment.write_slot < 0) return simt::await_launches_before();
  const HeadShape size = view.size();
  const int head = simt::block_index().y;
  const int first = simt::block_index().x * part_rows;
  const int left = static_cast<int>(size.value_dim) - first;
  const int rows = left < part_rows ? left : part_rows;
  const auto state = [&](int slot) {
    return static_cast<Stored*>(view.state(slot, head)) + first * size.key_stride();
  };
  StepWalk<Mixer, Tile> walk(static_cast<int>(size.key_dim), rows);
  walk.begin(segment.position == 0 ? nullptr : state(segment.read_slot));
  simt::await_launches_before();
  const StepOperands<Mixer, Tile> operands(static_cast<float*>(simt::shared_memory()), part_rows);
  for (int i = 0; i < segment.num_rows; ++i) {
    if (i > 0) walk.begin(state(segment.write_slot));
    Token token = view.tokens(segment.first_row + i, head).at(0);
    token.v += first;
    if constexpr (Mixer::kChannelGates) token.write_gate += first;
    operands.prepare(token, static_cast<int>(size.key_dim), rows);
    simt::sync_block();
    walk.run(operands, state(segment.write_slot));
    simt::sync_block();
    float* out = view.out(segment.first_row + i, head) + first;
    for (int j = simt::thread_index(); j < rows; j += Tile::kThreads) out[j] = operands.out()[j];
  }
}

template <class Mixer, class Tile>
void launch_tile(simt::Stream stream, const RuleView& view) {
  const int segments = view.call.mixer.step.num_decode;
  const StepParts parts =
      step_parts(static_cast<int>(view.size().value_dim), Tile::kTurnRows,
                 int64_t{view.heads()} * segments, view.call.paths.decode_parts);
  simt::launch(stream, {parts.count, view.heads(), segments}, Tile::kThreads,
               StepOperands<Mixer, Tile>::floats(parts.rows) * static_cast<int>(sizeof(float)),
               steps_kernel<Mixer, Tile>, view, parts.rows);
}

}  // namespace

void launch_steps(simt::Stream stream, const RuleView& view) {
  DS_CHECK(view.size().key_dim <= kMaxKeyDim);
  dispatch_mixer(view.kind(), [&](auto mixer) {
    using Mixer = decltype(mixer);
    constexpr bool kDecays = Mixer::kDecay != Decay::kNone;
    visit_state_format_of<kDecays>(view.format(), [&](auto format) {
      visit_step_tile<decltype(format)>(view.size().key_stride(), [&](auto tile) {
        launch_tile<Mixer, decltype(tile)>(stream, view);
      });
    });
  });
}

}  // namespace deltaserve::cuda
