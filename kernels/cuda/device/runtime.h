// One device: its memory, a stream of kernels and copies, and a second stream of transfers that run
// beside them. runtime_device.cc is CUDA's; runtime_host.cc the emulation's, where the device's
// memory is the host's, begins as NaN, and nothing runs before somebody waits for it, so that tests
// see who reads or writes too early.
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "kernels/cuda/device/simt.h"

namespace deltaserve::cuda {

class Runtime {
 public:
  // Null, with the reason in `error`, when there is no usable device.
  static std::unique_ptr<Runtime> create(std::string* error);
  virtual ~Runtime() = default;

  // Says for the log: name, compute capability, memory.
  virtual std::string description() const = 0;
  virtual simt::Stream stream() const = 0;
  // Returns true if blocks can share a cluster (compute capability 9.0, of device and code).
  virtual bool has_clusters() const = 0;
  // Launches can overlap (simt.h) on the same devices; set_overlap() says whether those to come do.
  virtual bool can_overlap() const = 0;
  virtual void set_overlap(bool overlaps) = 0;

  // Returns the bytes that allocate() can give at present.
  virtual size_t free_bytes() const = 0;
  // Both return memory that is 256-byte aligned, or null if there is none or too little would be
  // left for CUDA's own needs: graphs, and kernels that are loaded when they are first launched.
  // The host's can be copied while kernels run.
  virtual void* allocate(size_t bytes) = 0;
  virtual void release(void* memory) = 0;
  virtual void* allocate_host(size_t bytes) = 0;
  virtual void release_host(void* memory) = 0;

  // These run in the order of the stream. Memory of the host must stay as it is until the stream
  // has come there.
  virtual void copy_in(void* device, const void* host, size_t bytes) = 0;
  virtual void copy_out(void* host, const void* device, size_t bytes) = 0;
  virtual void copy(void* to, const void* from, size_t bytes) = 0;
  virtual void fill_zero(void* device, size_t bytes) = 0;

  // Returns true if every launch since the last synchronize() could be made, and forgets if not.
  virtual bool launches_succeeded() = 0;
  // Waits for both streams. A launch that could not be made or a kernel that failed aborts the
  // process with CUDA's message: its results are lost and so may be the device's context.
  virtual void synchronize() = 0;

  // Puts an event, 0 .. kEvents - 1, behind all that is in the stream, taking it from where it was;
  // wait_for_event() waits until the stream has come there, and is otherwise as synchronize().
  static constexpr int kEvents = 8;
  virtual void record_event(int event) = 0;
  virtual void wait_for_event(int event) = 0;

  // ---- Transfers

  // These run in the order of the calls, each after all that the first stream has at the time of
  // the call. Memory of the host must come from allocate_host().
  virtual void transfer_in(void* device, const void* host, size_t bytes) = 0;
  virtual void transfer_out(void* host, const void* device, size_t bytes) = 0;
  // Puts a mark, 0 .. kTransferMarks - 1, behind all transfers so far, taking it from where it was.
  static constexpr int kTransferMarks = 8;
  virtual void mark_transfers(int mark) = 0;
  // Makes what is put into the first stream from now on run after the mark.
  virtual void run_after_transfers(int mark) = 0;
  // Returns whether all transfers before the mark are done. Does not wait.
  virtual bool transfers_are_done(int mark) = 0;

  // Makes a graph of what is launched between begin and end instead of running it: nothing but
  // kernels and copies whose addresses last. end_graph() gives 0 where that failed. A graph is
  // launched any number of times, in the order of the stream.
  virtual bool has_graphs() const = 0;
  virtual void begin_graph() = 0;
  virtual uint64_t end_graph() = 0;
  virtual void launch_graph(uint64_t graph) = 0;
};

}  // namespace deltaserve::cuda
