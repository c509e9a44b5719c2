// One device: its memory, a stream of kernels and copies, and a second stream of transfers that run
// beside them. runtime_device.cc implements it with CUDA, runtime_host.cc as an emulation. There
// the device's memory is the host's and begins as NaN, and nothing runs before it is waited for, so
// that tests detect reads and writes that come too early.
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "kernels/cuda/device/simt.h"

namespace deltaserve::cuda {

class Runtime {
 public:
  // Opens the device. Returns null and sets `error` if none is usable.
  static std::unique_ptr<Runtime> create(std::string* error);
  virtual ~Runtime() = default;

  // Returns name, compute capability and memory, for the log.
  virtual std::string description() const = 0;
  virtual simt::Stream stream() const = 0;
  // Returns true if blocks can share a cluster (compute capability 9.0, of device and code).
  virtual bool has_clusters() const = 0;
  // Returns true if launches can overlap (simt.h), which is so on the same devices. set_overlap()
  // says whether later launches do.
  virtual bool can_overlap() const = 0;
  virtual void set_overlap(bool overlaps) = 0;

  // Returns the bytes that allocate() can give at present.
  virtual size_t free_bytes() const = 0;
  // Both return 256-byte aligned memory. They return null if there is not enough, or if too little
  // would be left for CUDA itself: for graphs, and for kernels that are loaded at their first
  // launch. The host's memory can be copied while kernels run.
  virtual void* allocate(size_t bytes) = 0;
  virtual void release(void* memory) = 0;
  virtual void* allocate_host(size_t bytes) = 0;
  virtual void release_host(void* memory) = 0;

  // These run in the order of the stream. Host memory must not change until the stream has reached
  // the copy.
  virtual void copy_in(void* device, const void* host, size_t bytes) = 0;
  virtual void copy_out(void* host, const void* device, size_t bytes) = 0;
  virtual void copy(void* to, const void* from, size_t bytes) = 0;
  virtual void fill_zero(void* device, size_t bytes) = 0;

  // Returns true if every launch since the last synchronize() could be made; clears the error if
  // not.
  virtual bool launches_succeeded() = 0;
  // Waits for both streams. If a launch could not be made or a kernel failed, aborts the process
  // with CUDA's message, because results are lost and perhaps the device's context, too.
  virtual void synchronize() = 0;

  // Puts an event, 0 .. kEvents - 1, at the present end of the stream; its former place is dropped.
  // wait_for_event() waits until the stream has reached the event, and handles errors like
  // synchronize().
  static constexpr int kEvents = 8;
  virtual void record_event(int event) = 0;
  virtual void wait_for_event(int event) = 0;

  // ---- Transfers

  // These run in the order of the calls, each after everything that is in the first stream at the
  // time of the call. Host memory must come from allocate_host().
  virtual void transfer_in(void* device, const void* host, size_t bytes) = 0;
  virtual void transfer_out(void* host, const void* device, size_t bytes) = 0;
  // Puts one of other events, 0 .. kTransferEvents - 1, after all transfers so far; its former
  // place is dropped.
  static constexpr int kTransferEvents = 8;
  virtual void record_transfer_event(int event) = 0;
  // Makes everything that is put into the first stream after this call run after the event.
  virtual void run_after_transfers(int event) = 0;
  // Returns whether all transfers before the event are done. Does not wait.
  virtual bool transfers_are_done(int event) = 0;

  // Puts everything that is launched between begin and end into a graph instead of running it.
  // These may only be kernels, and copies whose addresses stay valid. end_graph() returns 0 if that
  // failed. A graph may be launched any number of times, in the order of the stream.
  virtual bool has_graphs() const = 0;
  virtual void begin_graph() = 0;
  virtual uint64_t end_graph() = 0;
  virtual void launch_graph(uint64_t graph) = 0;
};

}  // namespace deltaserve::cuda
