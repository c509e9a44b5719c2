// An error as the OpenAI API reports it.
#pragma once
#include <string>
#include <utility>

namespace deltaserve {

struct ApiError {
  int status = 400;
  std::string message;
  std::string type = "invalid_request_error";
  std::string param;  // the name of a top-level parameter; empty = null
  std::string code;   // empty = null
};

inline ApiError invalid_parameter(std::string param, std::string message) {
  return {400, std::move(message), "invalid_request_error", std::move(param), ""};
}

inline ApiError server_error(std::string message) {
  return {500, std::move(message), "server_error", "", ""};
}

inline ApiError unavailable_error(std::string message) {
  return {503, std::move(message), "service_unavailable_error", "", ""};
}

}  // namespace deltaserve
