#include "http/page.h"

namespace rh::http {

// tools/embed.py makes these of page.html.
extern const std::string_view k_docs_page;
extern const std::string_view k_docs_page_policy;

std::string_view docs_page() { return k_docs_page; }

std::string_view docs_page_policy() { return k_docs_page_policy; }

}  // namespace rh::http
