#pragma once

// A call of a service's method over HTTP, from the request to the last byte of the answer (protocol/http.md, A call).

#include "http/running.h"

namespace rh::http {

// What a call's answer looks like.
enum class Form { value, events, lines };

struct Target {
    std::string service;
    std::string method;
};

// Whether that call may be made at all, before anything of its body is read.
Try<CallOptions> check_call(const Exchange& exchange, const Target& target);
// The canonical route of a method.
net::asio::awaitable<void> serve_call(Exchange& exchange, Target target);
// What check_call() has let pass, with its arguments.
net::asio::awaitable<void> serve_checked(Exchange& exchange, Target target, CallOptions options, Arguments arguments);
// A call without any more checks.
net::asio::awaitable<void> serve_call_of(Exchange& exchange, Target target, CallOptions options, Arguments arguments);
// What has come of a call: its value, written as it comes, or its failure.
net::asio::awaitable<void> answer_result(Exchange& exchange, Running& running, daemon::CallEvent event, bool generator);
// A class's constructor, or a method whose value is to stay: 201 with its place.
net::asio::awaitable<void> serve_create(Exchange& exchange, Target target, CallOptions options, Arguments arguments);

// The form that the request's Accept asks for; 406 where nothing that it accepts can ever come.
Try<Form> form_of(const Request& request);
Error no_such_service(std::string_view service);

}  // namespace rh::http
