// Every limit of chat templates, in one table. A template comes with a model and its variables come
// from a client: neither may take time, stack or memory without bound. Beyond any of them the
// status is RESOURCE_EXHAUSTED and names the limit.
#pragma once
#include <cstddef>
#include <cstdint>

namespace deltaserve {

struct TemplateLimits {
  // ---- The source.
  size_t source_bytes = 256 * 1024;
  int nesting = 100;  // of blocks and brackets inside each other; of operators in one expression

  // ---- Time. A step is one expression or statement, one element that a filter looks at, or
  // `bytes_per_step` bytes of text that are read or written. A render has
  // min(steps + steps_per_input_byte x size of its variables, total_steps) of them, where a
  // variable has the size of its text and `input_value_bytes` for each JSON value in it.
  int64_t steps = 2'000'000;
  int64_t steps_per_input_byte = 4;
  int64_t total_steps = 400'000'000;
  size_t bytes_per_step = 64;
  size_t input_value_bytes = 64;

  // ---- Stack.
  int evaluation_depth = 600;  // expressions and statements inside each other, through macros
  int macro_depth = 64;        // macros that call macros
  int value_depth = 64;        // lists and dictionaries inside each other, in variables too

  // ---- Memory that a render holds at one time: memory_bytes + memory_per_input_byte x size of its
  // variables, copies of them and the rendered text included.
  size_t memory_bytes = 64u << 20;
  size_t memory_per_input_byte = 6;
  size_t rendered_bytes = 80u << 20;
  size_t range_length = 100'000;

  // ---- Numbers in a template.
  int64_t width = 1000;          // columns of an indentation or of a padded format
  int64_t decimal_places = 100;  // of round and of '%.2f'

  // ---- The message of raise_exception; the rest is cut.
  size_t message_bytes = 1024;
};

}  // namespace deltaserve
