// The parts of the command line that need no process: texts, values and suggestions.
#include <gtest/gtest.h>

#include "server/base/suggestion.h"
#include "server/command_line/completions.h"
#include "server/command_line/help.h"
#include "server/command_line/man_page.h"
#include "server/command_line/table.h"
#include "server/command_line/values.h"

namespace deltaserve {
namespace {

// Returns what the validator makes of a text, or its error after "!".
std::string checked(const CLI::Validator& validator, std::string text) {
  const std::string error = validator(text);
  return error.empty() ? text : "!" + error;
}

TEST(Suggestion, IsTheNearestName) {
  const std::vector<std::string> names = {"serve", "generate", "bench", "bench-serve"};
  EXPECT_EQ(did_you_mean("sevre", names), "; did you mean 'serve'?");
  EXPECT_EQ(did_you_mean("becnh", names), "; did you mean 'bench'?");
  EXPECT_EQ(did_you_mean("gen", names), "; did you mean 'generate'?");
  EXPECT_EQ(did_you_mean("SERVE", names), "; did you mean 'serve'?");
  EXPECT_EQ(did_you_mean("nonsense", names), "");
  EXPECT_EQ(did_you_mean("", names), "");
  EXPECT_EQ(did_you_mean(std::string(100'000, 's'), names), "");
}

TEST(Values, NumbersAreDecimalAndInRange) {
  const CLI::Validator number = whole_number_in(-2, 100);
  EXPECT_EQ(checked(number, "-2"), "-2");
  EXPECT_EQ(checked(number, "0100"), "100");  // not octal
  EXPECT_EQ(checked(number, "101"), "!'101' is not a whole number from -2 to 100");
  EXPECT_EQ(checked(number, "99999999999999999999999999"),
            "!'99999999999999999999999999' is not a whole number from -2 to 100");
  EXPECT_EQ(checked(number, "0x10"), "!'0x10' is not a whole number from -2 to 100");
  EXPECT_EQ(checked(any_number<uint64_t>(), "18446744073709551615"), "18446744073709551615");
  EXPECT_EQ(checked(any_number<uint64_t>(), "18446744073709551616")[0], '!');
  EXPECT_EQ(checked(number_in(0, 2), "0.5"), "0.5");
  EXPECT_EQ(checked(number_in(0, 2), "nan"), "!'nan' is not a number from 0 to 2");
  EXPECT_EQ(checked(number_in(0, 2), "inf")[0], '!');
}

TEST(Values, SizesHaveUnitsOf1024) {
  const CLI::Validator size = size_from(1);
  EXPECT_EQ(checked(size, "1048576"), "1048576");
  EXPECT_EQ(checked(size, "512MiB"), "536870912");
  EXPECT_EQ(checked(size, "1.5 kb"), "1536");
  EXPECT_EQ(checked(size, "4G"), "4294967296");
  EXPECT_EQ(checked(size, "1PiB"), "1125899906842624");
  for (const char* wrong : {"", "0", "-1", "2PiB", "5X", "1e3", "MiB", "1MiB1", "nan", "0.1"}) {
    EXPECT_EQ(checked(size, wrong)[0], '!') << wrong;
  }
  EXPECT_EQ(checked(size_from(0), "0"), "0");
}

TEST(Help, TextIsWrapped) {
  EXPECT_EQ(wrapped("one two three", 9, 2), "  one two\n  three\n");
  EXPECT_EQ(wrapped("a-word-that-is-too-long b", 8, 0), "a-word-that-is-too-long\nb\n");
  EXPECT_EQ(wrapped("", 80, 4), "");
}

TEST(Table, SaysWhatAnOptionTakes) {
  CLI::App app;
  int port = 8080;
  const OptionEntry entry = read_option(app.add_option("--http-port,--port", port, "Port")
                                            ->transform(whole_number_in(0, 65535))
                                            ->capture_default_str()
                                            ->type_name("PORT"));
  EXPECT_EQ(entry.names, (std::vector<std::string>{"--http-port", "--port"}));
  EXPECT_EQ(entry.value, "PORT");
  EXPECT_EQ(entry.least + "," + entry.most + "," + entry.default_value, "0,65535,8080");
  EXPECT_EQ(entry.variable, "DELTASERVE_HTTP_PORT");
  EXPECT_EQ(spelling(entry), "--http-port, --port PORT");
  EXPECT_EQ(remarks(entry), "default: 8080; range: 0 to 65535");
}

TEST(Manual, NothingIsAMacroOrAnOrder) {
  CommandEntry command;
  command.name = "run";
  command.description = ".evil 'quotes' and \\slashes";
  command.details = ".TH again\n\nsecond";
  const std::string page = man_page({command}, "1");
  EXPECT_NE(page.find("\n\\&.evil \\(aqquotes\\(aq and \\eslashes"), std::string::npos);
  EXPECT_EQ(page.find("\n.TH again"), std::string::npos);
  for (const std::string& script :
       {bash_completion({command}), zsh_completion({command}), fish_completion({command})}) {
    EXPECT_EQ(script.find("'quotes'"), std::string::npos);
  }
}

}  // namespace
}  // namespace deltaserve
