// What a device does for a model: it loads the model's program once, then runs steps of it. One
// implementation for the CPU (cpu/), one for CUDA in a module that is loaded when it is there.
//
// A step is forward(), draw(), wait(). Work is queued in the order of the calls and may run later.
// The forward pass of the next step may be queued before this step is waited for, as often as
// steps_ahead() says; its draws come after. No call for a step allocates memory.
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

// Bytes that a loaded backend holds.
struct Memory {
  int64_t weights = 0;       // as they stand in memory, scales included
  int64_t step_weights = 0;  // those of them that every decode step reads: not a table of
                             // embeddings that is nothing else
  int64_t slots = 0;
  int64_t scratch = 0;
};

class Backend {
 public:
  virtual ~Backend() = default;

  // ---- At load

  // What of the program the backend cannot do, as a sentence; empty where it can do all. Looks at
  // no weight's data.
  virtual std::string refusal(const Program& program, const Limits& limits) const = 0;
  // Copies the weights and makes room for everything that steps need; the program and what it
  // points to may be released afterwards. Empty: done; else a sentence that says what there was not
  // enough memory for, and the backend is of no further use. Once, for a program that is not
  // refused.
  virtual std::string load(const Program& program, const Limits& limits) = 0;

  // ---- A step

  // Queues the forward pass. Copies what it is given.
  virtual Ticket forward(const Step& step) = 0;
  // Queues the draws of the step that was queued last: once a step, before the next forward(); the
  // array may be empty. Copies the array, but not what its entries point to.
  virtual void draw(Ticket ticket, Array<Draw> draws) = 0;
  // Blocks until the step and its draws are done; `results` receives one entry for each draw. Of a
  // transfer: blocks until it is done; `results` is not looked at.
  virtual void wait(Ticket ticket, DrawResult* results) = 0;
  // How many forward passes may be queued beyond the step that is waited for next. 0 where
  // forward() itself computes.
  virtual int steps_ahead() const = 0;

  // ---- Slots, in the order of the calls. `host` holds Program::slot_bytes until its ticket is
  // waited for.

  virtual void copy_slot(int from, int to) = 0;
  virtual Ticket export_slot(int from, void* host) = 0;
  virtual Ticket import_slot(int to, const void* host) = 0;

  // ---- For logs and metrics

  // For instance "cpu AVX2, 2 threads, 380 MB of int8 weights"; names instructions that failed
  // their self-test at the start and are not used.
  virtual std::string description() const = 0;
  virtual Memory memory() const = 0;
};

// `threads` must outlive the backend. Picks the widest instruction set that the processor has.
std::unique_ptr<Backend> make_cpu_backend(ThreadPool* threads);

}  // namespace deltaserve
