// The counters that the engine shows to metrics and tests.
#pragma once
#include <cstdint>

namespace deltaserve {

// Counters of the engine. A choice is one answer; a request has n of them. Rows computed for a
// choice that ended in the meantime are not counted, and neither are steps that have only such
// rows.
struct EngineStats {
  int64_t waiting = 0;  // choices without a slot at present
  int64_t running = 0;  // slots that are in use at present, for choices or a read-ahead
  int64_t slots = 0;
  int64_t steps = 0;          // since the start, like all below
  double busy_seconds = 0;    // with a step in flight
  int64_t prompt_tokens = 0;  // prefill rows of all steps; a prompt with n choices counts once
  int64_t decode_rows = 0;    // decode rows of all steps
  int64_t generated_tokens = 0;
  // The number of choices that ended, in total and by finish reason.
  int64_t finished = 0;
  int64_t finished_stop = 0;
  int64_t finished_length = 0;
  int64_t cancelled = 0;
  int64_t deadline_exceeded = 0;
  int64_t errors = 0;
  int64_t unread = 0;
  int64_t not_finite = 0;

  // ---- Reuse of prompts

  int64_t snapshots = 0;  // states that are kept at present, wherever they are
  // Slots for these states on the device and the host, and how many of each hold a state. A state
  // can be in one of each.
  int64_t snapshot_slots = 0;
  int64_t snapshot_slots_in_use = 0;
  int64_t host_snapshot_slots = 0;
  int64_t host_snapshots = 0;
  int64_t snapshots_stored = 0;  // copies to the host's slots
  int64_t snapshots_loaded = 0;  // copies from there
  // Prompts that continued from a kept state, then those that did not, by reason: no earlier prompt
  // began with the same 64 tokens; its states were not kept; the request asks for log-probabilities
  // of the prompt.
  int64_t prefix_hits = 0;
  int64_t prefix_misses_new = 0;
  int64_t prefix_misses_not_kept = 0;
  int64_t prefix_misses_bypassed = 0;
  int64_t prefix_reused_tokens = 0;    // prompt tokens that were not computed
  int64_t prefix_replayed_tokens = 0;  // computed although an earlier prompt began with them
  int64_t prefix_evictions = 0;        // states given up for others
  int64_t read_ahead_tokens = 0;       // prefill rows of read-aheads; not in prompt_tokens
  int64_t read_aheads_dropped = 0;     // read-aheads that lost their slot: to a request, to drain,
                                       // or because their owner's states were forgotten

  int64_t prefix_misses() const {
    return prefix_misses_new + prefix_misses_not_kept + prefix_misses_bypassed;
  }
};

}  // namespace deltaserve
