// Reads and writes small files as a whole. Weights are mapped instead: see safetensors.h.
#pragma once
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace deltaserve {

// Returns the contents of a regular file. NOT_FOUND if there is none; INVALID_ARGUMENT if it is not
// a regular file or longer than `max_bytes`.
absl::StatusOr<std::string> read_file(const std::string& path, size_t max_bytes);

// Writes a new file beside `path` and renames it, so that no reader sees half a file. `write` gets
// a descriptor and returns false with errno set if it fails.
absl::Status replace_file(const std::string& path, const std::function<bool(int)>& write);
absl::Status write_file(const std::string& path, std::string_view contents);

// Opens a regular file for reading and never blocks on a pipe; `*bytes` receives its length. The
// caller closes the descriptor.
absl::StatusOr<int> open_regular_file(const std::string& path, uint64_t* bytes);

// Writes all of `data` to `file_descriptor`. Returns false with errno set if that fails.
bool write_all(int file_descriptor, const char* data, size_t size);

}  // namespace deltaserve
