// The limits of chat templates, in one table. A template comes with a model and its variables come
// from a client: neither may use time, stack or memory without bound. Exceeding a limit gives
// RESOURCE_EXHAUSTED with its name.
#pragma once
#include <cstddef>
#include <cstdint>

namespace deltaserve {

struct TemplateLimits {
  // ---- The source
  size_t source_bytes = 256 * 1024;
  int nesting = 100;  // blocks and brackets inside each other; operators in one expression

  // ---- Time. A step is one expression or statement, one element that a filter looks at, or
  // `bytes_per_step` bytes of text that are read or written. A render has min(steps +
  // steps_per_input_byte x size of its variables, total_steps) steps. The size of a variable is
  // that of its text plus `input_value_bytes` for each JSON value in it.
  int64_t steps = 2'000'000;
  int64_t steps_per_input_byte = 4;
  int64_t total_steps = 400'000'000;
  size_t bytes_per_step = 64;
  size_t input_value_bytes = 64;

  // ---- Stack
  int evaluation_depth = 600;  // nested expressions and statements, through macros
  int macro_depth = 64;        // macros that call macros
  int value_depth = 64;        // nested lists and dictionaries, in variables too

  // ---- Memory that a render may hold at one time: memory_bytes + memory_per_input_byte x size of
  // its variables. Copies of the variables and the rendered text are included.
  size_t memory_bytes = 64u << 20;
  size_t memory_per_input_byte = 6;
  size_t rendered_bytes = 80u << 20;
  size_t range_length = 100'000;

  // ---- Numbers in a template
  int64_t width = 1000;          // columns of an indentation or of a padded format
  int64_t decimal_places = 100;  // for round and '%.2f'

  // ---- The message of raise_exception; the rest is cut off
  size_t message_bytes = 1024;
};

}  // namespace deltaserve
