#pragma once

// multipart/form-data (RFC 7578), read off a whole body.

#include <string>
#include <string_view>
#include <vector>

#include "http/refusal.h"

namespace rh::http {

struct FormField {
    std::string name;
    bool is_file = false;
    std::string_view content;  // within the body
};

Try<std::vector<FormField>> read_form(std::string_view body, std::string_view boundary);

}  // namespace rh::http
