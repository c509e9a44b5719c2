// One step from its plan to its commit. It owns its memory, so that the next step can be planned
// and queued meanwhile.
#pragma once
#include <algorithm>
#include <cstdint>
#include <memory>
#include <vector>

#include "engine/sequence/request.h"
#include "engine/sequence/sequence.h"
#include "engine/sequence/sequence_group.h"
#include "engine/step/step_plan.h"
#include "kernels/program/step.h"

namespace deltaserve {

// Thread safety: one thread at a time, the engine's.
struct StepInFlight {
  // A segment and its owner: a sequence that decodes a row, or a group that reads its prompt.
  struct Piece {
    Sequence* sequence = nullptr;
    int32_t row = 0;  // of `sequence`
    SequenceGroup* group = nullptr;
    SequenceGroup::Piece prompt;  // of `group`
  };

  SteadyTime began;
  StepPlan plan;
  std::vector<Piece> pieces;  // [plan.segments]
  Ticket ticket;
  std::vector<Draw> draws;          // in the order of the pieces
  std::vector<DrawResult> results;  // [draws]

  // Keeps sequences alive that have ended since the step was queued: pieces point to them, and
  // draws point to their masks and penalties. All of them were published and own no slot.
  Sequences ended;
  std::vector<std::unique_ptr<SequenceGroup>> ended_groups;

  // Prepares it for the next use; vectors keep their memory.
  void clear() {
    plan.clear();
    pieces.clear();
    draws.clear();
    ended.clear();
    ended_groups.clear();
  }
};

}  // namespace deltaserve
