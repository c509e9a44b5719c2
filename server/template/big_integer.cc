#include "server/template/big_integer.h"

#include <cmath>
#include <limits>

#include "models/base/json_numbers.h"

namespace deltaserve {
namespace {

namespace mp = boost::multiprecision;

// Integers of more bits have more than kMostIntegerDigits digits.
constexpr unsigned kMostBits = 14285;

constexpr size_t kCountedBytes = 32;  // of what the allocator and a shared pointer add

unsigned bits_of(const WholeNumber& magnitude) {
  return magnitude.is_zero() ? 0 : static_cast<unsigned>(mp::msb(magnitude)) + 1;
}

bool is_small(const WholeNumber& number) {
  return number >= std::numeric_limits<int64_t>::min() &&
         number <= std::numeric_limits<int64_t>::max();
}

// Returns magnitude x 2^exponent, rounded once. `inexact`: a fraction below the last bit was cut
// off.
double scaled(const WholeNumber& magnitude, int exponent, bool inexact) {
  constexpr unsigned kKept = 64;
  const unsigned bits = bits_of(magnitude);
  const unsigned cut = bits > kKept ? bits - kKept : 0;
  const WholeNumber kept = magnitude >> cut;
  // The last bit says whether anything was cut off, so that the conversion rounds as if it saw all.
  const bool rest = inexact || (kept << cut) != magnitude;
  const uint64_t mantissa = static_cast<uint64_t>(kept) | (rest ? 1 : 0);
  return std::ldexp(static_cast<double>(mantissa), exponent + static_cast<int>(cut));
}

std::partial_ordering compare_with_real(const WholeNumber& whole, double real) {
  if (std::isnan(real)) return std::partial_ordering::unordered;
  if (std::isinf(real)) {
    return real > 0 ? std::partial_ordering::less : std::partial_ordering::greater;
  }
  const double floor = std::floor(real);
  const int order = whole.compare(WholeNumber(floor));
  if (order != 0) return order < 0 ? std::partial_ordering::less : std::partial_ordering::greater;
  return floor < real ? std::partial_ordering::less : std::partial_ordering::equivalent;
}

}  // namespace

std::optional<WholeNumber> whole_number(const Value& value) {
  if (const bool* truth = value.as<bool>()) return WholeNumber(*truth ? 1 : 0);
  if (const int64_t* number = value.as<int64_t>()) return WholeNumber(*number);
  if (const BigInteger* number = value.as<BigInteger>()) return (*number)->value;
  return std::nullopt;
}

Value constant_integer(const WholeNumber& number) {
  if (is_small(number)) return Value::integer(static_cast<int64_t>(number), true);
  auto node = std::make_shared<BigNode>();
  node->value = number;
  return Value(BigInteger(std::move(node)), true);
}

Value make_integer(Runtime& runtime, const WholeNumber& number, bool trusted) {
  if (is_small(number)) return Value::integer(static_cast<int64_t>(number), trusted);
  static const WholeNumber kBound = mp::pow(WholeNumber(10), kMostIntegerDigits);
  if (mp::abs(number) >= kBound) {
    return runtime.exceed(str_cat("an integer has more than ", kMostIntegerDigits, " digits"));
  }
  auto node = std::make_shared<BigNode>();
  node->value = number;
  node->charge = MemoryCharge(runtime.memory(), sizeof(BigNode) + kCountedBytes +
                                                    number.backend().size() * sizeof(uint64_t));
  return runtime.has_room(0) ? Value(BigInteger(std::move(node)), trusted) : Value();
}

Value truncated_integer(Runtime& runtime, double number, bool trusted) {
  return make_integer(runtime, WholeNumber(std::trunc(number)), trusted);
}

std::optional<double> double_of(const WholeNumber& number) {
  const double magnitude = scaled(mp::abs(number), 0, false);
  if (std::isinf(magnitude)) return std::nullopt;
  return number.sign() < 0 ? -magnitude : magnitude;
}

std::partial_ordering compare_numbers(const Value& a, const Value& b) {
  const double* real_a = a.as<double>();
  const double* real_b = b.as<double>();
  if (real_a != nullptr && real_b != nullptr) return *real_a <=> *real_b;
  const int64_t* small_a = a.as<int64_t>();
  const int64_t* small_b = b.as<int64_t>();
  if (small_a != nullptr && small_b != nullptr) return *small_a <=> *small_b;
  if (real_b != nullptr) return compare_with_real(*whole_number(a), *real_b);
  if (real_a != nullptr) return 0 <=> compare_with_real(*whole_number(b), *real_a);
  return whole_number(a)->compare(*whole_number(b)) <=> 0;
}

std::pair<WholeNumber, WholeNumber> floor_division(const WholeNumber& a, const WholeNumber& b) {
  WholeNumber quotient, rest;
  mp::divide_qr(a, b, quotient, rest);
  if (!rest.is_zero() && (rest.sign() < 0) != (b.sign() < 0)) {
    --quotient;
    rest += b;
  }
  return {quotient, rest};
}

std::optional<double> true_quotient(const WholeNumber& a, const WholeNumber& b) {
  const WholeNumber dividend = mp::abs(a), divisor = mp::abs(b);
  // The quotient has 66 bits or 67, more than a double.
  constexpr int kBits = 66;
  const int shift =
      kBits + static_cast<int>(bits_of(divisor)) - static_cast<int>(bits_of(dividend));
  WholeNumber quotient, rest;
  mp::divide_qr(shift > 0 ? WholeNumber(dividend << shift) : dividend,
                shift > 0 ? divisor : WholeNumber(divisor << -shift), quotient, rest);
  const double magnitude = scaled(quotient, -shift, !rest.is_zero());
  if (std::isinf(magnitude)) return std::nullopt;
  return (a.sign() < 0) != (b.sign() < 0) ? -magnitude : magnitude;
}

std::optional<WholeNumber> whole_power(const WholeNumber& base, const WholeNumber& exponent) {
  const unsigned bits = bits_of(mp::abs(base));
  if (bits <= 1) {  // 0, 1 or -1
    if (exponent.is_zero()) return WholeNumber(1);
    return mp::bit_test(mp::abs(exponent), 0) ? base : WholeNumber(base * base);
  }
  // The power has more than (bits - 1) x exponent bits.
  if (exponent > kMostBits / (bits - 1)) return std::nullopt;
  return mp::pow(base, static_cast<unsigned>(exponent));
}

}  // namespace deltaserve
