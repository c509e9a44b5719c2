#include "server/service/ports.h"

#include <algorithm>
#include <utility>

namespace deltaserve {

void Ports::set_accepting(std::string_view port, bool accepting, std::string_view why) {
  const std::lock_guard lock(mutex_);
  bool& now = accepting_.try_emplace(std::string(port), true).first->second;
  if (now == accepting) return;
  now = accepting;
  LogFields fields;
  fields.text("port", port);
  if (!accepting) {
    metrics_.deaf_ports.add({port});
    fields.text("error", why);
  }
  log_.write(accepting ? LogLevel::kInfo : LogLevel::kError,
             accepting ? "port_accepts_again" : "port_deaf", fields);
  if (observer_ == nullptr) return;
  observer_(std::all_of(accepting_.begin(), accepting_.end(),
                        [](const auto& entry) { return entry.second; }));
}

std::vector<std::string> Ports::deaf() const {
  const std::lock_guard lock(mutex_);
  std::vector<std::string> ports;
  for (const auto& [port, accepting] : accepting_) {
    if (!accepting) ports.push_back(port);
  }
  return ports;
}

void Ports::set_observer(std::function<void(bool all_accept)> observer) {
  const std::lock_guard lock(mutex_);
  observer_ = std::move(observer);
}

}  // namespace deltaserve
