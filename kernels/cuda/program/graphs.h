// The graphs of decode steps, one for each padded number of rows, which decides all launches of a
// step.
#pragma once
#include <cstdint>
#include <vector>

#include "kernels/cuda/device/runtime.h"

namespace deltaserve::cuda {

class Graphs {
 public:
  // `runtime` must outlive the object.
  explicit Graphs(Runtime& runtime) : runtime_(runtime) {}

  // Allows graphs for steps of at most `max_rows` rows. Without this call no graphs are made.
  void reserve(int64_t max_rows) { entries_.resize(static_cast<size_t>(max_rows) + 1); }

  // Does the work of launch(), which must be the same for equal `rows`. The first time launches it
  // directly, because one use is not worth a graph, and a kernel's first launch may load it, which
  // no graph allows. The second time makes the graph, which is launched from then on.
  template <class Launch>
  void run(int32_t rows, const Launch& launch) {
    if (entries_.empty() || !runtime_.has_graphs()) return launch();
    Entry& entry = entries_[static_cast<size_t>(rows)];
    if (entry.state == State::kUnseen) {
      entry.state = State::kSeen;
      return launch();
    }
    if (entry.state == State::kSeen) {
      runtime_.begin_graph();
      launch();
      entry.graph = runtime_.end_graph();
      entry.state = State::kTried;
    }
    if (entry.graph == 0) return launch();
    runtime_.launch_graph(entry.graph);
  }

 private:
  enum class State : uint8_t { kUnseen, kSeen, kTried };
  struct Entry {
    uint64_t graph = 0;  // 0 = none
    State state = State::kUnseen;
  };

  Runtime& runtime_;
  std::vector<Entry> entries_;
};

}  // namespace deltaserve::cuda
