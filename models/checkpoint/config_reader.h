// Reads typed, bounded values from a JSON object. The first error is kept; later reads return their
// defaults, so that a parser reads like a list of keys and checks status() once. Private to
// models/.
#pragma once
#include <boost/json/object.hpp>
#include <functional>
#include <initializer_list>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "models/base/limits.h"

namespace deltaserve {

class ConfigReader {
 public:
  // Reads from `object`, which must outlive the reader. `origin` begins every message.
  ConfigReader(const boost::json::object& object, std::string_view origin)
      : object_(object), origin_(origin) {}
  // Does the same with members of `overrides`, which must outlive the reader too, replacing those
  // of `object`.
  ConfigReader(const boost::json::object& object, const boost::json::object& overrides,
               std::string_view origin)
      : object_(object), overrides_(&overrides), origin_(origin) {}

  const absl::Status& status() const { return status_; }

  int64_t integer(std::string_view key, limits::IntRange range, int64_t absent);
  // Works like integer(), but null counts as absent.
  std::optional<int64_t> optional_integer(std::string_view key, limits::IntRange range);
  double real(std::string_view key, limits::RealRange range, double absent);
  // Works like real(), but null counts as absent.
  std::optional<double> optional_real(std::string_view key, limits::RealRange range);
  bool boolean(std::string_view key, bool absent);
  // Works like boolean(), but null counts as absent.
  std::optional<bool> optional_boolean(std::string_view key);
  std::string word(std::string_view key, std::string_view absent);
  // Works like word(), but refuses words that are not in `allowed`.
  std::string choice(std::string_view key, std::initializer_list<std::string_view> allowed,
                     std::string_view absent);
  // Reads [lower, upper]. upper may be null or "inf", which means no bound.
  std::pair<double, double> bounds(std::string_view key, limits::RealRange range,
                                   std::pair<double, double> absent);
  // Returns null if the key is absent or null.
  const boost::json::object* object(std::string_view key);
  // Reads one integer or a list of them. Returns nullopt if the key is absent, an empty list if it
  // is null.
  std::optional<std::vector<int32_t>> token_ids(std::string_view key, int64_t vocab_size);

  bool has(std::string_view key) const { return look_up(key) != nullptr; }
  // Returns true if the key is absent or null. Marks the key as known.
  bool is_null(std::string_view key);
  // Returns true if the key is absent, null, false, 0, or empty. Marks the key as known.
  bool is_empty(std::string_view key);
  const std::string& origin() const { return origin_; }
  // Marks a key as known, with any value.
  void ignore(std::string_view key) { known_.insert(std::string(key)); }
  // Sets an error that `feature` is not supported, unless the key is absent or null.
  void refuse_unless_null(std::string_view key, std::string_view feature);
  // Sets the error "<origin>: <key> <problem>", unless there is already an error.
  void fail(std::string_view key, std::string_view problem);
  // Takes over the error of a reader of a part of the object.
  void fail(const absl::Status& status);
  // Adds a remark for the user who loads the model.
  void warn(std::string text) { warnings_.push_back(std::move(text)); }
  // Takes over the known keys and the remarks of a reader of a similar object.
  void merge(const ConfigReader& other);

  // Sets an error for the first key that was not read.
  void refuse_unknown_keys();
  // Adds a remark for each key that was not read and that cannot matter: its value is null, false,
  // 0 or empty, or `is_default` knows it, or `ignored` lists it. Sets an error for any other one,
  // and for a key of `ignored` that was read.
  void check_unknown_keys(
      std::span<const std::string> ignored,
      const std::function<bool(std::string_view key, const boost::json::value& value)>& is_default);
  // Returns true if the key was read.
  bool is_known(std::string_view key) const { return known_.contains(key); }
  const std::vector<std::string>& warnings() const { return warnings_; }

 private:
  const boost::json::value* look_up(std::string_view key) const;
  const boost::json::value* find(std::string_view key);
  void fail_value(std::string_view key, const boost::json::value& value, std::string_view wanted);

  const boost::json::object& object_;
  const boost::json::object* overrides_ = nullptr;
  std::string origin_;
  absl::Status status_;
  std::set<std::string, std::less<>> known_;
  std::vector<std::string> warnings_;
};

}  // namespace deltaserve
