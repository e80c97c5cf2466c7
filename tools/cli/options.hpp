// Options and positional arguments of one command, declared in a line each. The library that parses
// them is known to options.cpp and main alone. One thread.
//
//   struct Wanted { std::string file; uint64_t requests = 0; bool verify = false; };
//   CommandRun setup(Options& options) {
//     auto wanted = std::make_shared<Wanted>();
//     options.value("FILE", wanted->file, "Trace to replay").required().file();
//     options.value("--requests,-n", wanted->requests, "Stop after this many requests");
//     options.flag("--verify", wanted->verify, "Compare every byte of every hit");
//     return [wanted](CommandContext& context) { return replay(*wanted, context); };
//   }
#pragma once

#include <cstdint>
#include <initializer_list>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace CLI {
class App;
class Option;
}  // namespace CLI

namespace kvtier::tools {

// For shells that complete: what stands behind an option.
enum class ValueHint : uint8_t { kNone, kFile, kFolder, kChoice };

struct OptionRecord {
  std::vector<std::string> names;  // "--requests", "-n"; of a positional: "FILE"
  std::string help;
  bool positional = false;
  bool takes_value = false;
  ValueHint hint = ValueHint::kNone;
  std::vector<std::string> choices;
};

// The option just declared; each call narrows what it takes and returns it again.
class OptionHandle {
 public:
  OptionHandle(CLI::Option* option, OptionRecord* record) : option_(option), record_(record) {}
  OptionHandle& required();
  OptionHandle& choices(std::initializer_list<const char*> words);
  OptionHandle& range(double min, double max);        // both inclusive; numbers
  OptionHandle& whole(uint64_t max);                  // digits only, at most `max`
  OptionHandle& not_empty();                          // an unset variable is no value
  OptionHandle& file();                               // completes file names
  OptionHandle& folder();                             //
  OptionHandle& excludes(const OptionHandle& other);  // not both
  OptionHandle& needs(const OptionHandle& other);     //
  OptionHandle& metavar(const std::string& word);     // how the value is called in the help
  bool given() const;                                 // after parsing

 private:
  CLI::Option* option_;
  OptionRecord* record_;
};

// Names are "--long,-s" or, for a positional argument, a word in capitals. A default is the value
// that the target has when it is declared. Targets must live until the command has run.
class Options {
 public:
  explicit Options(CLI::App& app) : app_(app) {}
  Options(const Options&) = delete;
  Options& operator=(const Options&) = delete;

  OptionHandle flag(const std::string& names, bool& target, const std::string& help);
  OptionHandle value(const std::string& names, std::string& target, const std::string& help);
  OptionHandle value(const std::string& names, uint64_t& target, const std::string& help);
  OptionHandle value(const std::string& names, uint32_t& target, const std::string& help);
  OptionHandle value(const std::string& names, double& target, const std::string& help);
  OptionHandle value(const std::string& names, std::optional<uint64_t>& target,
                     const std::string& help);
  OptionHandle value(const std::string& names, std::optional<double>& target,
                     const std::string& help);
  OptionHandle value(const std::string& names, std::vector<std::string>& target,
                     const std::string& help);
  // Bytes: "64MiB", "1.5GB", "4096".
  OptionHandle size(const std::string& names, uint64_t& target, const std::string& help);
  OptionHandle size(const std::string& names, std::optional<uint64_t>& target,
                    const std::string& help);

  const std::vector<std::unique_ptr<OptionRecord>>& records() const { return records_; }

 private:
  template <typename T>
  OptionHandle add_value(const std::string& names, T& target, const std::string& help);
  OptionRecord* record(const std::string& names, const std::string& help, bool takes_value);

  CLI::App& app_;
  std::vector<std::unique_ptr<OptionRecord>> records_;
};

}  // namespace kvtier::tools
