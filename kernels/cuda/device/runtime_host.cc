#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <vector>

#include "kernels/base/check.h"
#include "kernels/cuda/device/runtime.h"

namespace deltaserve::cuda {
namespace {

using Queue = std::vector<simt::host::Work>;

class HostRuntime final : public Runtime {
 public:
  std::string description() const override { return "emulated GPU"; }
  simt::Stream stream() const override {
    return {recording_ ? &graphs_.back() : &queue_, overlaps_};
  }

  void* allocate(size_t bytes) override {
    const size_t padded = (bytes + 255) / 256 * 256;
    if (padded < bytes) return nullptr;
    void* memory = std::aligned_alloc(256, padded == 0 ? 256 : padded);
    if (memory != nullptr) std::memset(memory, 0xff, bytes);  // NaN, as float and as bf16
    return memory;
  }
  void release(void* memory) override {
    synchronize();
    std::free(memory);
  }
  void* allocate_host(size_t bytes) override { return allocate(bytes); }
  void release_host(void* memory) override { release(memory); }

  void copy_in(void* device, const void* host, size_t bytes) override { copy(device, host, bytes); }
  void copy_out(void* host, const void* device, size_t bytes) override {
    copy(host, device, bytes);
  }
  void copy(void* to, const void* from, size_t bytes) override {
    stream().queue->push_back({{}, [=] { std::memcpy(to, from, bytes); }});
  }
  void fill_zero(void* device, size_t bytes) override {
    stream().queue->push_back({{}, [=] { std::memset(device, 0, bytes); }});
  }

  bool launches_succeeded() override { return true; }
  void synchronize() override {
    DS_CHECK(!recording_);
    run(queue_.size());
  }
  void record_event(int event) override {
    DS_CHECK(event >= 0 && event < kEvents && !recording_);
    events_[event] = executed_ + queue_.size();
  }
  void wait_for_event(int event) override {
    DS_CHECK(!recording_);
    if (events_[event] > executed_) run(static_cast<size_t>(events_[event] - executed_));
  }

  bool has_clusters() const override { return true; }
  bool can_overlap() const override { return true; }
  void set_overlap(bool overlaps) override { overlaps_ = overlaps; }
  bool has_graphs() const override { return true; }
  void begin_graph() override {
    DS_CHECK(!recording_);
    graphs_.emplace_back();
    recording_ = true;
  }
  uint64_t end_graph() override {
    DS_CHECK(recording_);
    recording_ = false;
    return graphs_.size();
  }
  void launch_graph(uint64_t graph) override {
    const Queue& works = graphs_[static_cast<size_t>(graph) - 1];
    queue_.insert(queue_.end(), works.begin(), works.end());
  }

 private:
  void run(size_t count) {
    simt::host::run(queue_, count);
    queue_.erase(queue_.begin(), queue_.begin() + static_cast<std::ptrdiff_t>(count));
    executed_ += count;
  }

  mutable Queue queue_;
  uint64_t executed_ = 0;          // works that left the queue
  uint64_t events_[kEvents] = {};  // as many works stand in front
  mutable std::vector<Queue> graphs_;
  bool recording_ = false;  // into the last of them
  bool overlaps_ = false;
};

}  // namespace

std::unique_ptr<Runtime> Runtime::create(std::string*) {
  return std::make_unique<HostRuntime>();
}

}  // namespace deltaserve::cuda
