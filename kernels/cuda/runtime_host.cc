#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <vector>

#include "kernels/base/check.h"
#include "kernels/cuda/runtime.h"

namespace deltaserve::cuda {
namespace {

using Queue = std::vector<simt::host::Work>;

class HostRuntime final : public Runtime {
 public:
  std::string description() const override { return "emulated GPU"; }
  simt::Stream stream() const override {
    return {recording_ ? &recordings_.back() : &queue_, overlaps_};
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
  void set_mark(int mark) override { marks_[mark] = executed_ + queue_.size(); }
  void wait_for_mark(int mark) override {
    DS_CHECK(!recording_);
    if (marks_[mark] > executed_) run(static_cast<size_t>(marks_[mark] - executed_));
  }

  bool has_clusters() const override { return true; }
  bool can_overlap() const override { return true; }
  void set_overlap(bool overlaps) override { overlaps_ = overlaps; }
  bool can_record() const override { return true; }
  void begin_recording() override {
    DS_CHECK(!recording_);
    recordings_.emplace_back();
    recording_ = true;
  }
  uint64_t end_recording() override {
    DS_CHECK(recording_);
    recording_ = false;
    return recordings_.size();
  }
  void play(uint64_t recording) override {
    const Queue& recorded = recordings_[static_cast<size_t>(recording) - 1];
    queue_.insert(queue_.end(), recorded.begin(), recorded.end());
  }

 private:
  void run(size_t count) {
    simt::host::run(queue_, count);
    queue_.erase(queue_.begin(), queue_.begin() + static_cast<std::ptrdiff_t>(count));
    executed_ += count;
  }

  mutable Queue queue_;
  uint64_t executed_ = 0;       // works that left the queue
  uint64_t marks_[2] = {0, 0};  // as many works stand in front
  mutable std::vector<Queue> recordings_;
  bool recording_ = false;  // into the last of them
  bool overlaps_ = false;
};

}  // namespace

std::unique_ptr<Runtime> Runtime::create(std::string*) {
  return std::make_unique<HostRuntime>();
}

}  // namespace deltaserve::cuda
