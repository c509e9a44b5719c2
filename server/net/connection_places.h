// Counts the connections of a port, and those of each address.
#pragma once
#include <atomic>
#include <boost/asio/ip/address.hpp>
#include <chrono>
#include <condition_variable>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <utility>

namespace deltaserve {

// Returns the key under which limits count an address: all of an IPv4 address, but only the first
// half of an IPv6 address, because its owner can choose the other half.
std::string address_key(const boost::asio::ip::address& address);

// Thread-safe.
class ConnectionPlaces {
 public:
  ConnectionPlaces(int most, int most_of_address)
      : most_(most), most_of_address_(most_of_address) {}

  // Counts a connection for as long as it lives.
  class Place {
   public:
    Place(Place&& other) noexcept
        : places_(std::exchange(other.places_, nullptr)), key_(std::move(other.key_)) {}
    ~Place() {
      if (places_ != nullptr) places_->give_back(key_);
    }
    const std::string& key() const { return key_; }  // address_key() of its peer

   private:
    friend class ConnectionPlaces;
    Place(ConnectionPlaces* places, std::string key) : places_(places), key_(std::move(key)) {}

    ConnectionPlaces* places_;
    std::string key_;
  };

  // Returns nullopt if there are too many connections, in all or from this address.
  std::optional<Place> take(const boost::asio::ip::address& address);

  int size() const { return size_.load(std::memory_order_relaxed); }
  double fullness() const { return static_cast<double>(size()) / most_; }
  // Waits until there is none, at most for this long.
  void wait_until_empty(std::chrono::milliseconds most);

 private:
  void give_back(const std::string& key);

  const int most_;
  const int most_of_address_;
  std::atomic<int> size_{0};
  std::mutex mutex_;
  std::condition_variable emptied_;
  std::map<std::string, int> by_address_;  // guarded by mutex_; only addresses with connections
};

}  // namespace deltaserve
