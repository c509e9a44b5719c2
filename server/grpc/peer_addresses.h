// Maps descriptors to addresses, because the library has one end of a socket pair for each
// connection and does not know the client's address.
#pragma once
#include <charconv>
#include <map>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>

namespace deltaserve {

// Thread-safe. It has one entry per descriptor, for the last connection with that descriptor.
class PeerAddresses {
 public:
  void set(int descriptor, std::string address) {
    const std::lock_guard lock(mutex_);
    addresses_[descriptor] = std::move(address);
  }

  // Returns the address for what the library calls the peer of a call, "fd:12"; empty if it is
  // unknown.
  std::string of(std::string_view peer) const {
    constexpr std::string_view kScheme = "fd:";
    if (!peer.starts_with(kScheme)) return {};
    int descriptor = -1;
    std::from_chars(peer.data() + kScheme.size(), peer.data() + peer.size(), descriptor);
    const std::lock_guard lock(mutex_);
    const auto found = addresses_.find(descriptor);
    return found == addresses_.end() ? std::string() : found->second;
  }

 private:
  mutable std::mutex mutex_;
  std::map<int, std::string> addresses_;  // guarded by mutex_
};

}  // namespace deltaserve
