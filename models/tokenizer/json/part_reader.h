// Reads typed values of one part of tokenizer.json. The first error of a file is kept in a status
// that all its readers share; later reads return defaults.
#pragma once
#include <boost/json/object.hpp>
#include <boost/json/value.hpp>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "models/base/limits.h"

namespace deltaserve::tokenizer_json {

class PartReader {
 public:
  // Reads from `value`, which must outlive the reader, as does `status`. `path` names the part in
  // messages, as "normalizer.normalizers[1]".
  PartReader(const boost::json::value& value, std::string path, absl::Status* status);

  bool ok() const { return status_->ok(); }
  const std::string& path() const { return path_; }

  // These functions read a value. It is required if `absent` is not given; otherwise `absent` is
  // returned if it is absent or null. A text is valid UTF-8.
  bool boolean(std::string_view key, std::optional<bool> absent = std::nullopt);
  int64_t integer(std::string_view key, limits::IntRange range,
                  std::optional<int64_t> absent = std::nullopt);
  std::string text(std::string_view key);
  char32_t character(std::string_view key);
  // Null counts as absent.
  std::optional<std::string> optional_text(std::string_view key);

  // Returns null if the key is absent or null.
  const boost::json::value* find(std::string_view key) const;
  // Returns the list; empty with an error if there is none.
  const boost::json::array& list(std::string_view key);
  const boost::json::object& object(std::string_view key);
  // Returns a reader of a member of the list `key`.
  PartReader item(std::string_view key, size_t index, const boost::json::value& value) const;
  PartReader member(std::string_view key, const boost::json::value& value) const;

  // Sets the error "<path>.<key> <problem>", unless there is already one.
  void fail(std::string_view key, std::string_view problem);
  // Sets the error "<path>: <problem>".
  void fail(std::string_view problem);

 private:
  const boost::json::value* required(std::string_view key);

  const boost::json::object* object_;
  std::string path_;
  absl::Status* status_;
};

}  // namespace deltaserve::tokenizer_json
