// Small whole files. Weights are mapped instead: see safetensors.h.
#pragma once
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace deltaserve {

// The contents of a regular file. NOT_FOUND when there is none; INVALID_ARGUMENT when it is not a
// regular file or longer than `max_bytes`.
absl::StatusOr<std::string> read_file(const std::string& path, size_t max_bytes);

// Writes beside `path` and renames, so that no reader sees half a file. `write` gets a descriptor
// and returns false with errno set when it fails.
absl::Status replace_file(const std::string& path, const std::function<bool(int)>& write);
absl::Status write_file(const std::string& path, std::string_view contents);

// Opens a regular file for reading, without waiting for the other end of a pipe; `*bytes` is its
// length. The caller closes the descriptor.
absl::StatusOr<int> open_regular_file(const std::string& path, uint64_t* bytes);

// Writes all of `data` to `file_descriptor`; false with errno set.
bool write_all(int file_descriptor, const char* data, size_t size);

}  // namespace deltaserve
