#pragma once

// What is printed, and for whom: a terminal gets colour, aligned columns and progress, a program gets plain text. Writes
// straight to the descriptors; nobody reading any more is no error but a reason to stop. One per process, on its main
// thread.

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace rh::cli {

class Screen {
public:
    Screen();
    ~Screen();

    // To standard output, kept back until flush() or 64 KiB.
    void out(std::string_view text);
    void err(std::string_view text);
    void flush();
    // True when whoever read standard output has closed it.
    bool closed() const { return closed_; }
    // Why standard output could not be written, besides that; empty when all is well.
    const std::string& problem() const { return problem_; }

    // One line of JSON.
    void json(const nlohmann::json& value);
    void table(const std::vector<std::string>& header, const std::vector<std::vector<std::string>>& rows);
    // What goes on just now, on standard error: on a terminal only, in place of what stood there. Empty: nothing more.
    void progress(std::string_view text);
    // The same, to stay.
    void note(std::string_view text);

    bool out_is_terminal() const { return out_terminal_; }
    bool err_is_terminal() const { return err_terminal_; }
    bool asks() const;  // there is somebody who can answer
    bool confirmed(std::string_view question);

    std::string bold(std::string_view text) const { return styled("1", text); }
    std::string dim(std::string_view text) const { return styled("2", text); }
    std::string green(std::string_view text) const { return styled("32", text); }
    std::string yellow(std::string_view text) const { return styled("33", text); }
    std::string red_err(std::string_view text) const;

private:
    std::string styled(std::string_view code, std::string_view text) const;
    void write_out(std::string_view text);

    bool out_terminal_;
    bool err_terminal_;
    bool color_;
    bool color_err_;
    bool closed_ = false;
    bool progress_ = false;
    std::string problem_;
    std::string kept_;
};

// Columns that the text takes on a terminal.
std::size_t width_of(std::string_view text);
// The text without what would steer a terminal.
std::string harmless(std::string_view text);
// "1.5 GiB", "3 min 12 s"
std::string bytes_text(double bytes);
std::string seconds_text(double seconds);

}  // namespace rh::cli
