// A terminal taken over for a live view: alternate screen, keys without Enter, resizes. One thread,
// one at a time. Gives the terminal back when it ends, by a signal too.
#pragma once

#include <termios.h>

#include <chrono>
#include <string>

namespace kvtier::tools {

struct TerminalSize {
  unsigned columns = 80;
  unsigned lines = 24;
};

class LiveTerminal {
 public:
  LiveTerminal();
  ~LiveTerminal();
  LiveTerminal(const LiveTerminal&) = delete;
  LiveTerminal& operator=(const LiveTerminal&) = delete;

  TerminalSize size() const;
  // Shows the text from the top left, cut to the screen. Colours are allowed in it.
  void show(const std::string& text);
  enum class Event { kTime, kQuit, kRefresh };  // kRefresh: a resize, or the space bar
  Event wait(std::chrono::milliseconds timeout);

 private:
  termios before_{};
  bool raw_ = false;
};

// The text cut to a screen: lines and columns, colour codes not counted.
std::string fit_screen(const std::string& text, TerminalSize size);

}  // namespace kvtier::tools
