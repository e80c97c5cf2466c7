// See terminal.hpp.
#include "tools/cli/terminal.hpp"

#include <poll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>

namespace kvtier::tools {
namespace {

// Set by handlers; a signal also ends poll().
volatile sig_atomic_t g_quit = 0;
volatile sig_atomic_t g_resized = 0;

void on_quit(int) {
  g_quit = 1;
}
void on_resize(int) {
  g_resized = 1;
}

void handle(int signal, void (*handler)(int)) {
  struct sigaction action {};
  action.sa_handler = handler;
  sigaction(signal, &action, nullptr);
}

void put(const std::string& text) {
  size_t at = 0;
  while (at < text.size()) {
    const ssize_t written = write(STDOUT_FILENO, text.data() + at, text.size() - at);
    if (written > 0) {
      at += static_cast<size_t>(written);
    } else if (errno != EINTR) {
      return;
    }
  }
}

}  // namespace

LiveTerminal::LiveTerminal() {
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) handle(signal, on_quit);
  handle(SIGWINCH, on_resize);
  if (tcgetattr(STDIN_FILENO, &before_) == 0) {
    termios raw = before_;
    raw.c_lflag &= ~static_cast<tcflag_t>(ICANON | ECHO);
    raw.c_cc[VMIN] = 0;
    raw.c_cc[VTIME] = 0;
    raw_ = tcsetattr(STDIN_FILENO, TCSANOW, &raw) == 0;
  }
  put("\033[?1049h\033[?25l");
}

LiveTerminal::~LiveTerminal() {
  put("\033[?25h\033[?1049l");
  if (raw_) tcsetattr(STDIN_FILENO, TCSANOW, &before_);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGWINCH}) handle(signal, SIG_DFL);
}

TerminalSize LiveTerminal::size() const {
  winsize found{};
  if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &found) != 0 || found.ws_col == 0) return {};
  return {found.ws_col, found.ws_row};
}

void LiveTerminal::show(const std::string& text) {
  // Each line is erased behind its end, then the rest of the screen: no flicker.
  std::string frame = "\033[H";
  for (const char c : fit_screen(text, size())) {
    if (c == '\n') frame += "\033[K\r";
    frame += c;
  }
  put(frame + "\033[K\033[J");
}

LiveTerminal::Event LiveTerminal::wait(std::chrono::milliseconds timeout) {
  const auto deadline = std::chrono::steady_clock::now() + timeout;
  for (;;) {
    if (g_quit != 0) return Event::kQuit;
    if (g_resized != 0) {
      g_resized = 0;
      return Event::kRefresh;
    }
    const auto left =
        std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now())
            .count();
    if (left <= 0) return Event::kTime;
    pollfd keys{STDIN_FILENO, POLLIN, 0};
    if (poll(&keys, 1, static_cast<int>(left)) <= 0) continue;
    char key = 0;
    if (read(STDIN_FILENO, &key, 1) != 1) return Event::kQuit;  // the terminal is gone
    if (key == 'q' || key == 'Q' || key == 3) return Event::kQuit;
    if (key == ' ') return Event::kRefresh;
  }
}

std::string fit_screen(const std::string& text, TerminalSize size) {
  std::string out;
  unsigned column = 0, line = 1;
  bool in_code = false;
  for (const char c : text) {
    if (c == '\033') in_code = true;
    if (in_code) {
      out += c;
      in_code = c != 'm';
      continue;
    }
    if (c == '\n') {
      if (line++ == size.lines) break;
      out += c;
      column = 0;
      continue;
    }
    const bool continues = (static_cast<unsigned char>(c) & 0xc0) == 0x80;
    if (!continues) ++column;
    if (column <= size.columns) out += c;
  }
  return out;
}

}  // namespace kvtier::tools
