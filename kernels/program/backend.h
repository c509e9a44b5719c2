// A device that runs models: it loads a model's program once, then runs steps of it. There is one
// implementation for the CPU (cpu/) and one for CUDA, in a module that is loaded if it is present.
//
// A step is forward(), draw(), wait(). Work is queued in the order of the calls and may run later.
// Up to steps_ahead() forward passes may be queued before an earlier step is waited for; a step's
// draws are queued before the next forward pass. No call for a step allocates memory.
//
// Thread safety: one thread at a time. Precondition violations are programmer errors and abort.
#pragma once
#include <cstdint>
#include <memory>
#include <string>

#include "kernels/program/program.h"
#include "kernels/program/step.h"

namespace deltaserve {

class ThreadPool;

// Bytes that a loaded backend holds, by use.
struct Memory {
  int64_t weights = 0;       // in their format in memory, including scales
  int64_t step_weights = 0;  // the part of `weights` that every decode step reads, hence without
                             // a table that is used for embeddings only
  int64_t slots = 0;
  int64_t scratch = 0;
  int64_t host_slots = 0;  // in the host's memory
};

class Backend {
 public:
  virtual ~Backend() = default;

  // ---- At load

  // Returns the bytes of the device's own memory that are free; 0 if its memory is the host's.
  virtual int64_t free_memory() const = 0;
  // Returns a sentence that names the part of the program that the backend does not support; empty
  // if it supports all. It reads no weight's data.
  virtual std::string refusal(const Program& program, const Limits& limits) const = 0;
  // Copies the weights and allocates everything that steps need; the program and the memory it
  // points to may be released afterwards. Returns an empty string, or a sentence that names the
  // part that did not fit in memory; then the backend must not be used. May be called once, with a
  // program that is not refused.
  virtual std::string load(const Program& program, const Limits& limits) = 0;

  // ---- A step

  // Queues the forward pass of a step. Copies its arguments.
  virtual Ticket forward(const Step& step) = 0;
  // Queues the draws of the step that was queued last. Must be called once per step, before the
  // next forward(); the array may be empty. Copies the array, but not the memory its entries point
  // to.
  virtual void draw(Ticket ticket, Array<Draw> draws) = 0;
  // Blocks until the step and its draws are done; `results` receives one entry for each draw. For a
  // transfer it blocks until the transfer is done and ignores `results`.
  virtual void wait(Ticket ticket, DrawResult* results) = 0;
  // Returns how many forward passes may be queued beyond the step that is waited for next. It is 0
  // if forward() itself computes.
  virtual int steps_ahead() const = 0;

  // ---- Slots. Transfers run in the order of the calls. `host` must hold Program::slot_bytes and
  // stay valid until its ticket was waited for.

  virtual void copy_slot(int from, int to) = 0;
  virtual Ticket export_slot(int from, void* host) = 0;
  virtual Ticket import_slot(int to, const void* host) = 0;

  // Gives the memory of `count` slots from `first` on back to the machine, if it is the machine's.
  // Their contents are undefined until they are written, which takes memory again.
  virtual void drop_slots(int /*first*/, int /*count*/) {}

  // ---- Slots in the host's memory. Their transfers run in the order of the calls, beside the work
  // that is queued before and after them. Each begins after the work queued before it. Later work
  // that needs the result of a transfer, or overwrites what it reads, runs after that transfer.

  // Queues a copy of slot `from` to the host's slot `to`.
  virtual void store_slot(int from, int to) = 0;
  // Queues a copy of the host's slot `from` to slot `to`.
  virtual void load_slot(int from, int to) = 0;
  // Returns whether a step that reads the slot can begin without waiting for load_slot().
  virtual bool slot_is_loaded(int slot) = 0;

  // ---- For logs and metrics

  // Returns a description such as "cpu AVX2, 2 threads, 362.4 MiB of int8 weights". The part up to
  // the first comma names the device. It names instructions that failed their self-test at the
  // start and are not used.
  virtual std::string description() const = 0;
  virtual Memory memory() const = 0;
};

// Makes the CPU backend, with the widest instruction set that the processor has. `threads` must
// outlive the backend.
std::unique_ptr<Backend> make_cpu_backend(ThreadPool* threads);

}  // namespace deltaserve
