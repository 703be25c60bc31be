#include "http/refusal.h"

namespace rh::http {

Refusal::Refusal(Error error_in) : status(status_of(error_in)), error(std::move(error_in)) {
    if (status == 429) headers.emplace_back("Retry-After", "1");
}

Refusal Refusal::broken(int status, std::string message) {
    Refusal refusal(status, status == 408 ? Code::timeout : Code::protocol, std::move(message));
    refusal.ends = true;
    return refusal;
}

int status_of(const Error& error) {
    // A value that was returned, and that the caller's Accept has no form for.
    if (error.code == Code::not_serializable && error.fact("of") == "result") return 406;
    return code_http_status(error.code);
}

std::string_view reason_of(int status) {
    switch (status) {
        case 200: return "OK";
        case 201: return "Created";
        case 204: return "No Content";
        case 400: return "Bad Request";
        case 401: return "Unauthorized";
        case 403: return "Forbidden";
        case 404: return "Not Found";
        case 405: return "Method Not Allowed";
        case 406: return "Not Acceptable";
        case 408: return "Request Timeout";
        case 409: return "Conflict";
        case 411: return "Length Required";
        case 413: return "Content Too Large";
        case 414: return "URI Too Long";
        case 415: return "Unsupported Media Type";
        case 417: return "Expectation Failed";
        case 421: return "Misdirected Request";
        case 422: return "Unprocessable Content";
        case 426: return "Upgrade Required";
        case 429: return "Too Many Requests";
        case 431: return "Request Header Fields Too Large";
        case 500: return "Internal Server Error";
        case 501: return "Not Implemented";
        case 502: return "Bad Gateway";
        case 503: return "Service Unavailable";
        case 504: return "Gateway Timeout";
        default: return "Unknown";
    }
}

}  // namespace rh::http
