// One step from its plan to its commit. What it holds is its own, so that the next one can be
// planned and queued meanwhile.
#pragma once
#include <algorithm>
#include <cstdint>
#include <memory>
#include <vector>

#include "engine/request.h"
#include "engine/sequence.h"
#include "engine/sequence_group.h"
#include "engine/step_plan.h"
#include "kernels/program/step.h"

namespace deltaserve {

// Thread safety: one thread at a time, the engine's.
struct StepInFlight {
  // A segment and whose it is: a sequence's that decodes a row, or a group's that reads its prompt.
  struct Piece {
    Sequence* sequence = nullptr;
    int32_t row = 0;  // of the sequence
    SequenceGroup* group = nullptr;
    SequenceGroup::Piece prompt;  // of the group
  };

  SteadyTime began;
  StepPlan plan;
  std::vector<Piece> pieces;  // [plan.segments]
  Ticket ticket;
  std::vector<Draw> draws;          // in the order of the pieces
  std::vector<DrawResult> results;  // [draws]

  // What has ended since the step was queued lives on here: pieces point to it, and draws to its
  // masks and penalties. All of it was published and owns no slot any more.
  Sequences ended;
  std::vector<std::unique_ptr<SequenceGroup>> ended_groups;

  // For the next use; vectors keep their memory.
  void clear() {
    plan.clear();
    pieces.clear();
    draws.clear();
    ended.clear();
    ended_groups.clear();
  }
};

}  // namespace deltaserve
