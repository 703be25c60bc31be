#include "cli/screen.h"

#include <fmt/format.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <nlohmann/json.hpp>

namespace rh::cli {

namespace {

constexpr std::size_t k_kept_max = 64 * 1024;

// The length of the code point that begins there, and the point itself; 0xfffd, one byte long, for what is no UTF-8.
char32_t next_point(std::string_view text, std::size_t& length) {
    const auto byte = [&](std::size_t at) { return static_cast<unsigned char>(text[at]); };
    const unsigned char first = byte(0);
    const std::size_t size = first < 0x80 ? 1 : (first & 0xe0) == 0xc0 ? 2 : (first & 0xf0) == 0xe0 ? 3 : (first & 0xf8) == 0xf0 ? 4 : 0;
    length = 1;
    if (size == 0 || size > text.size()) return 0xfffd;
    char32_t point = size == 1 ? first : first & (0x7fU >> size);
    for (std::size_t at = 1; at < size; ++at) {
        if ((byte(at) & 0xc0) != 0x80) return 0xfffd;
        point = point << 6 | (byte(at) & 0x3fU);
    }
    length = size;
    return point;
}

struct Range {
    char32_t first, last;
};
// Unicode's East Asian Width "W" and "F", in ranges that are a little generous; glibc's wcwidth needs a locale's files.
constexpr std::array k_wide = {Range{0x1100, 0x115f},   Range{0x2e80, 0x303e},   Range{0x3041, 0xa4cf},  Range{0xa960, 0xa97c},
                               Range{0xac00, 0xd7a3},   Range{0xf900, 0xfaff},   Range{0xfe30, 0xfe6f},  Range{0xff00, 0xff60},
                               Range{0xffe0, 0xffe6},   Range{0x1f300, 0x1f64f}, Range{0x1f680, 0x1f6ff}, Range{0x1f900, 0x1f9ff},
                               Range{0x20000, 0x3fffd}};
constexpr std::array k_none = {Range{0x300, 0x36f}, Range{0x200b, 0x200f}, Range{0x20d0, 0x20ff}, Range{0xfe00, 0xfe0f}, Range{0xfe20, 0xfe2f}};

template <std::size_t N>
bool within(const std::array<Range, N>& ranges, char32_t point) {
    return std::any_of(ranges.begin(), ranges.end(), [&](Range range) { return point >= range.first && point <= range.last; });
}

bool wants_color() {
    const char* const refused = std::getenv("NO_COLOR");
    const char* const kind = std::getenv("TERM");
    return (refused == nullptr || *refused == '\0') && (kind == nullptr || std::strcmp(kind, "dumb") != 0);
}

// 0, or errno.
int write_all(int to, std::string_view text) {
    while (!text.empty()) {
        const auto count = ::write(to, text.data(), text.size());
        if (count >= 0) {
            text.remove_prefix(static_cast<std::size_t>(count));
        } else if (errno == EAGAIN) {
            // Somebody else's flag, on a terminal or pipe that is shared.
            pollfd waited{to, POLLOUT, 0};
            ::poll(&waited, 1, 100);
        } else if (errno != EINTR) {
            return errno;
        }
    }
    return 0;
}

}  // namespace

Screen::Screen()
    : out_terminal_(::isatty(STDOUT_FILENO) == 1), err_terminal_(::isatty(STDERR_FILENO) == 1), color_(out_terminal_ && wants_color()),
      color_err_(err_terminal_ && wants_color()) {}

Screen::~Screen() {
    progress("");
    flush();
}

void Screen::out(std::string_view text) {
    if (closed_) return;
    if (progress_) progress("");
    if (kept_.size() + text.size() <= k_kept_max) {
        kept_.append(text);
        return;
    }
    flush();
    write_out(text);
}

void Screen::flush() {
    if (kept_.empty()) return;
    write_out(kept_);
    kept_.clear();
}

void Screen::write_out(std::string_view text) {
    if (closed_) return;
    const int why = write_all(STDOUT_FILENO, text);
    if (why == 0) return;
    closed_ = true;
    if (why != EPIPE) problem_ = fmt::format("standard output cannot be written: {}", std::strerror(why));
}

void Screen::err(std::string_view text) {
    if (progress_) progress("");
    flush();
    write_all(STDERR_FILENO, text);
}

void Screen::json(const nlohmann::json& value) {
    // What is no UTF-8 came from elsewhere; a replacement is better than no answer.
    out(value.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
    out("\n");
}

void Screen::table(const std::vector<std::string>& header, const std::vector<std::vector<std::string>>& rows) {
    std::vector<std::size_t> widths;
    for (const std::string& title : header) widths.push_back(width_of(title));
    for (const auto& row : rows) {
        for (std::size_t column = 0; column < row.size(); ++column) widths[column] = std::max(widths[column], width_of(harmless(row[column])));
    }
    const auto line = [&](const std::vector<std::string>& cells, bool title) {
        std::string text;
        for (std::size_t column = 0; column < cells.size(); ++column) {
            const std::string cell = harmless(cells[column]);
            text += title ? bold(cell) : cell;
            if (column + 1 < cells.size()) text.append(widths[column] - width_of(cell) + 2, ' ');
        }
        out(text + "\n");
    };
    line(header, true);
    for (const auto& row : rows) line(row, false);
}

void Screen::progress(std::string_view text) {
    if (!err_terminal_ || (text.empty() && !progress_)) return;
    std::string line = "\r\x1b[K";
    if (!text.empty()) line += color_err_ ? fmt::format("\x1b[2m{}\x1b[0m", text) : std::string(text);
    progress_ = !text.empty();
    write_all(STDERR_FILENO, line);
}

void Screen::note(std::string_view text) {
    if (err_terminal_) err(color_err_ ? fmt::format("\x1b[2m{}\x1b[0m\n", text) : fmt::format("{}\n", text));
}

bool Screen::asks() const { return err_terminal_ && ::isatty(STDIN_FILENO) == 1; }

bool Screen::confirmed(std::string_view question) {
    err(fmt::format("{} [y/N] ", question));
    std::string answer;
    for (char letter = 0; ::read(STDIN_FILENO, &letter, 1) == 1 && letter != '\n';) answer += letter;
    return answer == "y" || answer == "Y" || answer == "yes";
}

std::string Screen::styled(std::string_view code, std::string_view text) const {
    return color_ ? fmt::format("\x1b[{}m{}\x1b[0m", code, text) : std::string(text);
}

std::string Screen::red_err(std::string_view text) const { return color_err_ ? fmt::format("\x1b[1;31m{}\x1b[0m", text) : std::string(text); }

std::size_t width_of(std::string_view text) {
    std::size_t width = 0;
    while (!text.empty()) {
        std::size_t length = 0;
        const char32_t point = next_point(text, length);
        width += within(k_none, point) ? 0 : within(k_wide, point) ? 2 : 1;
        text.remove_prefix(length);
    }
    return width;
}

std::string harmless(std::string_view text) {
    std::string shown;
    while (!text.empty()) {
        std::size_t length = 0;
        const char32_t point = next_point(text, length);
        const bool steers = point < 0x20 || (point >= 0x7f && point < 0xa0) || (point >= 0x202a && point <= 0x202e) || (point >= 0x2066 && point <= 0x2069);
        if (point == 0xfffd && length == 1) {
            shown += "\xef\xbf\xbd";
        } else {
            shown += steers ? "?" : text.substr(0, length);
        }
        text.remove_prefix(length);
    }
    return shown;
}

std::string bytes_text(double bytes) {
    constexpr std::array k_units = {"B", "KiB", "MiB", "GiB", "TiB"};
    std::size_t unit = 0;
    for (; bytes >= 1024 && unit + 1 < k_units.size(); ++unit) bytes /= 1024;
    return unit == 0 ? fmt::format("{:.0f} B", bytes) : fmt::format("{:.1f} {}", bytes, k_units[unit]);
}

std::string seconds_text(double seconds) {
    const auto whole = static_cast<std::uint64_t>(seconds);
    if (seconds < 1) return fmt::format("{:.0f} ms", seconds * 1000);
    if (whole < 60) return fmt::format("{} s", whole);
    if (whole < 3600) return fmt::format("{} min {} s", whole / 60, whole % 60);
    if (whole < 86400) return fmt::format("{} h {} min", whole / 3600, whole % 3600 / 60);
    return fmt::format("{} d {} h", whole / 86400, whole % 86400 / 3600);
}

}  // namespace rh::cli
