// A runtime of the emulation or the GPU with faults that tests set, and a log of what was asked of
// it.
#pragma once
#include <memory>
#include <string>

#include "kernels/cuda/device/runtime.h"

namespace deltaserve::cuda {

struct RuntimeLog {
  bool has_graphs = true;
  bool graphs_fail = false;
  bool can_overlap = true;
  bool overlaps = false;
  int wrong_copy = 0;  // the copy to the host that arrives as zeros, counted from 1
  int copies = 0;
  int failed_launches = 0;  // the question for them that is answered with no, counted from 1
  int asked = 0;
  int synchronized = 0;
  int graphs_made = 0;
  int graphs_launched = 0;
  int waited = 0;              // for events
  int transfers_awaited = 0;   // events that the first stream runs after
  Runtime* runtime = nullptr;  // the one behind the log
  int refused_allocation = 0;  // of the device or the host, counted from 1
  int allocations = 0;
};
class LoggedRuntime final : public Runtime {
 public:
  explicit LoggedRuntime(RuntimeLog* log) : log_(*log) { log_.runtime = inner_.get(); }
  std::string description() const override { return inner_->description(); }
  simt::Stream stream() const override { return inner_->stream(); }
  size_t free_bytes() const override { return inner_->free_bytes(); }
  void* allocate(size_t bytes) override {
    return ++log_.allocations == log_.refused_allocation ? nullptr : inner_->allocate(bytes);
  }
  void release(void* memory) override { inner_->release(memory); }
  void* allocate_host(size_t bytes) override {
    return ++log_.allocations == log_.refused_allocation ? nullptr : inner_->allocate_host(bytes);
  }
  void release_host(void* memory) override { inner_->release_host(memory); }
  void copy_in(void* device, const void* host, size_t bytes) override {
    inner_->copy_in(device, host, bytes);
  }
  void copy_out(void* host, const void* device, size_t bytes) override {
    inner_->copy_out(host, device, bytes);
    if (++log_.copies == log_.wrong_copy) inner_->fill_zero(host, bytes);
  }
  void copy(void* to, const void* from, size_t bytes) override { inner_->copy(to, from, bytes); }
  void fill_zero(void* device, size_t bytes) override { inner_->fill_zero(device, bytes); }
  bool launches_succeeded() override {
    const bool succeeded = inner_->launches_succeeded();
    return ++log_.asked != log_.failed_launches && succeeded;
  }
  void synchronize() override {
    ++log_.synchronized;
    inner_->synchronize();
  }
  void transfer_in(void* device, const void* host, size_t bytes) override {
    inner_->transfer_in(device, host, bytes);
  }
  void transfer_out(void* host, const void* device, size_t bytes) override {
    inner_->transfer_out(host, device, bytes);
  }
  void record_transfer_event(int event) override { inner_->record_transfer_event(event); }
  void run_after_transfers(int event) override {
    ++log_.transfers_awaited;
    inner_->run_after_transfers(event);
  }
  bool transfers_are_done(int event) override { return inner_->transfers_are_done(event); }
  void record_event(int event) override { inner_->record_event(event); }
  void wait_for_event(int event) override {
    ++log_.waited;
    inner_->wait_for_event(event);
  }
  bool has_clusters() const override { return true; }
  bool can_overlap() const override { return log_.can_overlap && inner_->can_overlap(); }
  void set_overlap(bool overlaps) override {
    log_.overlaps = overlaps;
    inner_->set_overlap(overlaps);
  }
  bool has_graphs() const override { return log_.has_graphs; }
  void begin_graph() override { inner_->begin_graph(); }
  uint64_t end_graph() override {
    ++log_.graphs_made;
    const uint64_t graph = inner_->end_graph();
    return log_.graphs_fail ? 0 : graph;
  }
  void launch_graph(uint64_t graph) override {
    ++log_.graphs_launched;
    inner_->launch_graph(graph);
  }

 private:
  RuntimeLog& log_;
  std::string error_;
  std::unique_ptr<Runtime> inner_ = Runtime::create(&error_);
};

}  // namespace deltaserve::cuda
