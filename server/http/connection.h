// One HTTP/1.x connection from accept to close.
#pragma once
#include <boost/asio/awaitable.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <string>

#include "server/http/server_context.h"

namespace deltaserve {

// Serves requests one after another until the client or an error ends the connection. Runs on the
// socket's executor, which must be a strand. `address` is the client's, as far as limits go by
// addresses.
boost::asio::awaitable<void> serve_connection(ServerContext& context,
                                              boost::asio::ip::tcp::socket socket,
                                              std::string address);

}  // namespace deltaserve
