#include "server/net/connection_places.h"

#include <algorithm>

namespace deltaserve {

std::string address_key(const boost::asio::ip::address& address) {
  namespace ip = boost::asio::ip;
  if (address.is_v4()) return address.to_string();
  const ip::address_v6 v6 = address.to_v6();
  if (v6.is_v4_mapped()) return ip::make_address_v4(ip::v4_mapped, v6).to_string();
  ip::address_v6::bytes_type bytes = v6.to_bytes();
  std::fill(bytes.begin() + static_cast<ptrdiff_t>(bytes.size() / 2), bytes.end(), uint8_t{0});
  return ip::address_v6(bytes).to_string();
}

std::optional<ConnectionPlaces::Place> ConnectionPlaces::take(
    const boost::asio::ip::address& address) {
  std::string key = address_key(address);
  const std::lock_guard lock(mutex_);
  const auto known = by_address_.find(key);
  const int own = known == by_address_.end() ? 0 : known->second;
  if (size() >= most_ || own >= most_of_address_) return std::nullopt;
  by_address_[key] = own + 1;
  ++size_;
  return Place(this, std::move(key));
}

void ConnectionPlaces::give_back(const std::string& key) {
  const std::lock_guard lock(mutex_);
  const auto known = by_address_.find(key);
  if (--known->second == 0) by_address_.erase(known);
  if (--size_ == 0) emptied_.notify_all();
}

void ConnectionPlaces::wait_until_empty(std::chrono::milliseconds most) {
  std::unique_lock lock(mutex_);
  emptied_.wait_for(lock, most, [this] { return size() == 0; });
}

}  // namespace deltaserve
