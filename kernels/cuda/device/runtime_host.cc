#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <vector>

#include "kernels/base/check.h"
#include "kernels/cuda/device/runtime.h"

namespace deltaserve::cuda {
namespace {

using Queue = std::vector<simt::host::Work>;

constexpr size_t kFreeBytes = size_t{64} << 20;  // tests depend on this number

class HostRuntime final : public Runtime {
 public:
  std::string description() const override { return "emulated GPU"; }
  simt::Stream stream() const override {
    return {building_graph_ ? &graphs_.back() : &queue_, overlaps_};
  }

  size_t free_bytes() const override { return kFreeBytes; }
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
    DS_CHECK(!building_graph_);
    run(queue_.size());
    run_transfers(transferred_ + transfers_.size());
  }
  void record_event(int event) override {
    DS_CHECK(event >= 0 && event < kEvents && !building_graph_);
    events_[event] = executed_ + queue_.size();
  }
  void wait_for_event(int event) override {
    DS_CHECK(!building_graph_);
    if (events_[event] > executed_) run(static_cast<size_t>(events_[event] - executed_));
  }

  void transfer_in(void* device, const void* host, size_t bytes) override {
    transfer(device, host, bytes);
  }
  void transfer_out(void* host, const void* device, size_t bytes) override {
    transfer(host, device, bytes);
  }
  void record_transfer_event(int event) override {
    DS_CHECK(event >= 0 && event < kTransferEvents);
    transfer_events_[event] = transferred_ + transfers_.size();
  }
  void run_after_transfers(int event) override {
    DS_CHECK(event >= 0 && event < kTransferEvents && !building_graph_);
    queue_.push_back({{}, [this, count = transfer_events_[event]] { run_transfers(count); }});
  }
  // Runs the transfers if nothing that they wait for is left, so that a caller that polls makes
  // progress.
  bool transfers_are_done(int event) override {
    DS_CHECK(event >= 0 && event < kTransferEvents);
    while (transferred_ < transfer_events_[event] && transfers_.front().after <= executed_) {
      run_transfers(transferred_ + 1);
    }
    return transferred_ >= transfer_events_[event];
  }

  bool has_clusters() const override { return true; }
  bool can_overlap() const override { return true; }
  void set_overlap(bool overlaps) override { overlaps_ = overlaps; }
  bool has_graphs() const override { return true; }
  void begin_graph() override {
    DS_CHECK(!building_graph_);
    graphs_.emplace_back();
    building_graph_ = true;
  }
  uint64_t end_graph() override {
    DS_CHECK(building_graph_);
    building_graph_ = false;
    return graphs_.size();
  }
  void launch_graph(uint64_t graph) override {
    const Queue& works = graphs_[static_cast<size_t>(graph) - 1];
    queue_.insert(queue_.end(), works.begin(), works.end());
  }

 private:
  struct Transfer {
    uint64_t after = 0;  // this many works of the first stream must have run before
    void* to = nullptr;
    const void* from = nullptr;
    size_t bytes = 0;
  };

  void transfer(void* to, const void* from, size_t bytes) {
    DS_CHECK(!building_graph_);
    transfers_.push_back({executed_ + queue_.size(), to, from, bytes});
  }
  // Runs transfers until `count` have run since the beginning.
  void run_transfers(uint64_t count) {
    for (; transferred_ < count; ++transferred_) {
      const Transfer& transfer = transfers_.front();
      std::memcpy(transfer.to, transfer.from, transfer.bytes);
      transfers_.pop_front();
    }
  }
  void run(size_t count) {
    simt::host::run(queue_, count);
    queue_.erase(queue_.begin(), queue_.begin() + static_cast<std::ptrdiff_t>(count));
    executed_ += count;
  }

  mutable Queue queue_;
  uint64_t executed_ = 0;          // works that left the queue
  uint64_t events_[kEvents] = {};  // the number of works before the event
  std::deque<Transfer> transfers_;
  uint64_t transferred_ = 0;                        // transfers that have run
  uint64_t transfer_events_[kTransferEvents] = {};  // the number of transfers before the event
  mutable std::vector<Queue> graphs_;
  bool building_graph_ = false;  // launches go into the last graph
  bool overlaps_ = false;
};

}  // namespace

std::unique_ptr<Runtime> Runtime::create(std::string*) {
  return std::make_unique<HostRuntime>();
}

}  // namespace deltaserve::cuda
